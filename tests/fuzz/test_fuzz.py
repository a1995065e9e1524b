"""The fuzzer itself, and a few of its suites; many of them: `python -m tests.fuzz`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz import pieces
from tests.fuzz.generator import Suite, generate
from tests.fuzz.shrinking import shrink
from tests.fuzz.trial import run
from tests.needs import needs
from tests.suites import truth

SEEDS = (2, 5, 1003)
SMALL = Suite(seed=0, files={"test_it.py": "def test_fails(): assert 0\ndef test_passes(): pass\n"})


def test_a_seed_makes_one_suite_of_valid_python() -> None:
    for seed in range(300):
        suite = generate(seed)
        assert suite == generate(seed)
        for path, text in suite.files.items():
            if path.endswith(".py") and pieces.BROKEN not in text:
                ast.parse(text)


@needs("pytest_reportlog")
@pytest.mark.parametrize("seed", SEEDS)
def test_suite_of_a_seed_holds(seed: int) -> None:
    complaint = run(generate(seed))
    assert complaint is None, complaint.text


@needs("pytest_reportlog")
def test_an_outcome_that_differs_is_found_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "of_reportlog", lambda path: {"test_it.py::test_fails": ["PASS"]})
    complaint = run(SMALL, tmp_path / "kept")
    assert complaint is not None
    assert complaint.kind == "(ours, reportlog"
    assert {path.name for path in (tmp_path / "kept").iterdir()} >= {"complaint.txt", "command.txt", "state"}


def test_shrinking_leaves_what_the_complaint_needs() -> None:
    wanted = "class TestA:\n    def test_2():\n        1 / 0\n"
    text = wanted.replace("    def", "    def test_1(self): pass\n    @staticmethod\n    def").replace(
        "1 /", "id(1)\n        1 /"
    )
    files = {"conftest.py": "import os\n", "test_it.py": text}
    suite = Suite(seed=0, files=files, arguments=(("-x",), ("-n", "2")), plugins=("xdist",), runs_alone=True)
    smallest = shrink(suite, lambda smaller: "1 / 0" in "".join(smaller.files.values()) and "-x" in smaller.line)
    assert smallest.files == {"test_it.py": wanted}
    assert (smallest.arguments, smallest.plugins, smallest.runs_alone) == ((("-x",),), (), False)


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--count", "x"], ["--shrink", "1", "--seed", "2"], ["more"]])
def test_bad_usage(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["fuzz", *arguments])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "usage: " in capsys.readouterr().err
