"""What plays histories itself, and a few of them; many: `python -m tests.histories`."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import pieces
from tests.histories import __main__ as command
from tests.histories.generator import History, Step, generate
from tests.histories.playing import play
from tests.needs import SUBTESTS, needs
from threepio_client import comparing

FIRST = {"test_it.py": "def test_one(): assert 0\ndef test_two(): pass\n", "test_all.py": "raise ValueError\n"}
THEN = {"test_it.py": "def test_one(): pass\ndef test_two(): assert 0\n", "test_all.py": "def test_new(): pass\n"}
SMALL = History(
    seed=0,
    steps=(
        Step(files=FIRST, arguments=("--continue-on-collection-errors",), daemon="start"),
        Step(files=THEN, daemon="stop"),
        Step(files=THEN, again=1, only_failed=True),
    ),
)


def test_a_seed_makes_one_history_of_valid_python() -> None:
    for seed in range(100):
        history = generate(seed)
        assert history == generate(seed)
        for path, text in (item for step in history.steps for item in step.files.items()):
            if path.endswith(".py") and pieces.BROKEN not in text:
                ast.parse(text)


def test_a_small_history_holds() -> None:
    assert play(SMALL) == []


@pytest.mark.thorough
@needs(SUBTESTS, "xdist", "rerunfailures")
@pytest.mark.parametrize("seed", [29, 84])
def test_history_of_a_seed_holds(seed: int) -> None:
    assert play(generate(seed)) == []


def test_a_wrong_answer_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(*asked: Any) -> comparing.Difference:
        found = comparing.compare(*asked)
        return found._replace(fixed=[], gone=[*found.gone, *found.fixed])

    monkeypatch.setattr("threepio_client.cli.diff.compare", compare)
    wrong = play(SMALL, tmp_path / "kept")
    assert "threepio diff run-0 run-1: test_it.py::test_one - said: gone; so: {'fixed'}" in wrong
    assert all(line.startswith("threepio diff ") for line in wrong)
    assert {path.name for path in (tmp_path / "kept").iterdir()} >= {"commands.txt", "project", "state", "wrong.txt"}


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--seconds", "x"], ["more"]])
def test_bad_usage(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["histories", *arguments])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "usage: " in capsys.readouterr().err
