"""`python -m benchmarks suite`: a small suite with every outcome, test by test, in one process and with workers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.reportlog import count_log
from tests.needs import SUBTESTS, needs

SUITE = """
import time
import unittest
import pytest

@pytest.fixture
def bad(): assert 0

def test_error(bad): pass
@pytest.mark.parametrize("n", range(5))
def test_n(n):
    time.sleep(0.1)  # so that it can be asked about several times
    assert n != 3
def test_subtests(subtests):
    for n in range(3):
        with subtests.test(n=n):
            assert n != 1

class TestUnit(unittest.TestCase):
    def test_sub(self):
        for n in range(3):
            with self.subTest(n=n):
                if n == 1:
                    self.skipTest("one")
"""


@needs(SUBTESTS)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_every_account_of_a_suite_agrees(tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str) -> None:
    (tmp_path / "test_it.py").write_text(SUITE)
    output = tmp_path / "results.json"
    arguments = ["suite", "mine", "-n", workers, "--ask-every", "0.05", "--output", str(output), "--", str(tmp_path)]

    code = main(arguments)

    said = capsys.readouterr().out
    assert code == 0, said
    counts = json.loads(output.read_text())["results"][0]["truth"]["counts"]
    assert {name: number for name, number in counts.items() if number} == {
        "failed": 3,
        "passed": 5,
        "skipped": 1,
        "errors": 1,
        "subtests_passed": 4,
    }


def test_an_outcome_that_the_journal_lacks_is_not_ok(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_it.py").write_text("def test_one(): pass\ndef test_two(): pass\n")
    log = count_log

    def with_one_more(path: Path) -> object:
        found = log(path)
        found.outcomes["test_it.py::test_three", "passed"] += 1
        return found

    monkeypatch.setattr("benchmarks.suite.count_log", with_one_more)

    code = main(["suite", "mine", "--output", str(tmp_path / "results.json"), "--", str(tmp_path)])

    assert code == 1
    assert "missing: test_it.py::test_three passed" in capsys.readouterr().out


def test_an_unknown_suite_without_arguments_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suite", "nobody"]) == 2
    assert "no suite nobody; one of numpy, " in capsys.readouterr().err
