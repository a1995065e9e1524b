"""`python -m benchmarks answers`: the suites have the causes that they claim, and what is counted is what was printed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import answers
from benchmarks.__main__ import main
from benchmarks.answers import Answer, checks_of, compare, count, truth_of_suite
from benchmarks.failing import KINDS, TrueCause, write_failing_suite
from benchmarks.readings import Reading
from benchmarks.recorded_causes import groups_of, named
from benchmarks.reportlog import read_log
from benchmarks.service import clean_environment


def test_a_suite_fails_where_and_as_often_as_it_was_made_to(tmp_path: Path) -> None:
    causes = write_failing_suite(tmp_path / "suite", 100, 2 * len(KINDS))
    log = tmp_path / "log.jsonl"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:threepio", "--report-log", str(log), "."]

    text = subprocess.run(
        command, cwd=tmp_path / "suite", env=clean_environment(), capture_output=True, text=True, check=False
    ).stdout

    failing, places = set(), {}
    passed = 0
    for entry in read_log(log):
        if entry["$report_type"] == "TestReport":
            passed += entry["outcome"] == "passed" and "::test_passes[" in entry["nodeid"] and entry["when"] == "call"
            if entry["outcome"] == "failed":
                failing.add(entry["nodeid"])
                crash = entry["longrepr"]["reprcrash"]
                places[entry["nodeid"]] = f"{Path(crash['path']).name}:{crash['lineno']}"
    assert passed == 100
    assert failing == {nodeid for cause in causes for nodeid in cause.nodeids}
    assert len(failing) == 100
    assert all(places[nodeid] == cause.place for cause in causes if cause.place for nodeid in cause.nodeids)
    assert len({cause.place for cause in causes if cause.place}) == 2 * len(KINDS) - 4
    # pytest's whole account names every cause; its list of failed tests alone names none.
    assert all(cause.is_named(text) for cause in causes)
    assert not any(cause.is_named("\n".join(failing)) for cause in causes)


def test_a_suite_is_the_same_every_time(tmp_path: Path) -> None:
    one, other = (write_failing_suite(tmp_path / name, 60, 20) for name in "ab")

    assert one == other
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_a_cause_is_named_by_its_word_or_by_its_own_line() -> None:
    cause = TrueCause(word="lavomi", place="code_001.py:7", nodeids=frozenset({"t"}))
    shared = TrueCause(word="lavomi", place=None, nodeids=frozenset({"t"}))

    assert cause.is_named("ValueError: no lavomi here")
    assert cause.is_named("at src/code_001.py:71 and src/code_001.py:7: ValueError")
    assert not cause.is_named("at src/code_001.py:71")
    assert not shared.is_named("at src/code_001.py:7")


def test_bytes_are_counted_not_characters() -> None:
    truth = truth_of_suite([TrueCause(word="lavomi", place=None, nodeids=frozenset({"t"}))])

    found = count("pytest", Reading(command="pytest", text="… lavomi\n".encode(), files=2), truth)

    assert (found.size, found.named, found.files) == (11, 1, 2)


def test_causes_that_mix_and_those_that_are_split_are_counted() -> None:
    truth = truth_of_suite(
        [
            TrueCause(word=word, place=None, nodeids=frozenset(tests))
            for word, tests in {"a": ["1", "2"], "b": ["3"], "c": ["4"]}.items()
        ]
    )
    failures = [
        {"nodeid": nodeid, "phase": "call", "cause": cause}
        for nodeid, cause in (("suite/1", "x"), ("2", "y"), ("3", "y"), ("4", "z"))
    ]

    found = compare(failures, truth)

    assert (found.causes, found.mixing, found.split) == (3, 1, 1)
    assert found.examples == ["y mixes 1x a, 1x b", "a is split into 1x x, 1x y"]


def test_only_tools_that_name_every_cause_are_compared() -> None:
    ours = Answer(tool="threepio", command="threepio failures", size=500, named=10, files=0, digest="")
    partly = dataclasses.replace(ours, tool="3pio", command="3pio", size=100, named=9)
    whole = dataclasses.replace(ours, tool="pytest", command="pytest -q", size=600)

    assert [check.ok for check in checks_of([ours, partly, whole], None, 10)] == [True, True]
    assert [check.ok for check in checks_of([ours, dataclasses.replace(whole, size=500)], None, 10)] == [True, False]
    assert [check.ok for check in checks_of([dataclasses.replace(ours, named=9), partly], None, 10)] == [False]
    budget = dataclasses.replace(ours, command="threepio failures --budget 2000", size=8001)
    assert [check.ok for check in checks_of([budget], None, 10)] == [True, False]


def entry(nodeid: str, message: str, line: int) -> dict[str, object]:
    crash = {"path": "/src/a.py", "lineno": line, "message": f"{message}\nmore"}
    return {
        "$report_type": "TestReport",
        "nodeid": nodeid,
        "when": "call",
        "outcome": "failed",
        "longrepr": {"reprcrash": crash},
    }


def test_a_recording_is_grouped_by_words_and_place(tmp_path: Path) -> None:
    fixture = "def test_x(db):\nE       fixture 'db' not found\n>       available fixtures: x\n\na.py:3"
    entries = [
        entry("1", "ValueError: no file /tmp/a/1.csv", 7),
        entry("2", "ValueError: no file /tmp/b/2.csv", 7),
        entry("3", "ValueError: no column 'a'", 7),
        entry("4", "assert 3 == 4", 9),
        {**entry("5", "", 0), "when": "setup", "longrepr": fixture},
        {**entry("6", "", 0), "outcome": "passed", "longrepr": None},
    ]
    recording = tmp_path / "log.jsonl"
    recording.write_text("".join(json.dumps(line) + "\n" for line in entries))

    groups = groups_of(recording)

    assert [group.failures.total() for group in groups] == [2, 1, 1, 1]
    assert [group.is_alone for group in groups] == [False, False, True, False]
    assert named(groups, "2x ValueError: no file <path> at src/a.py:7\nat a.py:99") == [True, False, False, False]
    assert named(groups, "1x assert N == N a.py:9\n1x fixture 'db' not found") == [False, False, True, True]


def test_all_of_it_on_a_small_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(answers.SUITES, "1000/25", (60, 16))
    output = tmp_path / "results.json"
    arguments = ["answers", "--jobs", "1000/25", "--tools", "threepio", "pytest", "--output", str(output)]

    code = main([*arguments, "--keep", str(tmp_path / "kept")])

    result = json.loads(output.read_text())["results"][0]
    assert code == 0, result
    assert {(answer["tool"], answer["named"]) for answer in result["answers"]} == {("threepio", 16), ("pytest", 16)}
    assert [result["grouping"][name] for name in ("causes", "mixing", "split")] == [16, 0, 0]
    for answer in result["answers"]:
        kept = (tmp_path / "kept/answers-1000-25" / answer["tool"]).glob("*.out")
        assert answer["size"] in {path.stat().st_size for path in kept}
