"""A generated suite is recorded by a real pytest with pytest-reportlog, then replayed by another."""

from __future__ import annotations

import json
import lzma
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.generated import FILE_COUNTS, FILE_TESTS, expected_counts, write_suite
from benchmarks.measure import PytestRun, Suite, run_plain
from benchmarks.reportlog import count_log, read_log

FILES = 2


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PytestRun]:
    work = tmp_path_factory.mktemp("recorded")
    log = work / "log.jsonl"
    write_suite(work / "suite", FILES * FILE_TESTS)
    (work / "suite" / "test_9999.py").write_text("import pytest; pytest.skip('all of it', allow_module_level=True)\n")
    suite = Suite(
        name="recorded",
        python=Path(sys.executable),
        arguments=lambda _: ["-c", str(work / "suite/pytest.ini"), "--report-log", str(log), str(work / "suite")],
        truth=lambda _: count_log(log),
        own_times=True,
        imports_benchmarks=False,
        ask_every=1.0,
        asks_wanted=0,
        expected=None,
    )
    run, truth = run_plain(suite, work)
    assert truth.counts == run.counts
    assert (truth.tests, truth.other_types, truth.finished) == (FILES * FILE_TESTS, {}, True)
    compressed = work / "log.jsonl.xz"
    compressed.write_bytes(lzma.compress(log.read_bytes()))
    return compressed, run


def test_a_generated_suite_has_the_counts_it_was_made_to_have(recorded: tuple[Path, PytestRun]) -> None:
    _, run = recorded
    expected = expected_counts(FILES * FILE_TESTS).as_dict()
    assert run.counts.as_dict() == expected | {"skipped": expected["skipped"] + 1}  # the skipped file
    assert FILE_COUNTS.errors == 2


def test_the_replay_ends_like_the_run(recorded: tuple[Path, PytestRun], tmp_path: Path) -> None:
    recording, run = recorded
    output = tmp_path / "results.json"
    arguments = ["replay", "--plain", "--recording", str(recording), "--expect", run.last_line, "--output", str(output)]
    assert main(arguments) == 0
    result = json.loads(output.read_text())["results"][0]["pytest"]
    assert result["last_line"].partition(" in ")[0] == run.last_line.partition(" in ")[0]
    assert result["exit_code"] == run.exit_code


def test_another_expected_line_is_not_ok(recorded: tuple[Path, PytestRun], tmp_path: Path) -> None:
    recording, _ = recorded
    arguments = ["replay", "--plain", "--recording", str(recording), "--expect", "1 passed", "--limit", "1"]
    assert main([*arguments, "--output", str(tmp_path / "o.json")]) == 1


OBSERVER = """
import json, pytest

seen = open({path!r}, "w")

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    kinds = [type(node).__mro__[1].__name__ for node in item.listchain()[1:]]
    names = [node.name for node in item.listchain()]
    print(json.dumps([item.nodeid, names, kinds, item.location]), file=seen, flush=True)
"""


@pytest.mark.skipif(pytest.version_tuple < (8, 4), reason="`-p` does not look at the setting pythonpath")
def test_other_plugins_see_real_nodes(recorded: tuple[Path, PytestRun], tmp_path: Path) -> None:
    recording, _ = recorded
    (tmp_path / "observer.py").write_text(OBSERVER.format(path=str(tmp_path / "seen")))
    suite = Suite(
        name="observed",
        python=Path(sys.executable),
        arguments=lambda _: ["-p", "benchmarks.replay_plugin", "--replay", str(recording), "--replay-limit", "20",
                             "--rootdir", str(tmp_path), "-c", str(tmp_path / "pytest.ini"), "-p", "observer",
                             "-o", f"pythonpath={tmp_path}"],
        truth=lambda _: count_log(recording, limit=20),
        own_times=False,
        imports_benchmarks=True,
        ask_every=1.0,
        asks_wanted=0,
        expected=None,
    )  # fmt: skip
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    run, truth = run_plain(suite, tmp_path)
    assert run.counts == truth.counts
    seen = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    setups = [entry for entry in read_log(recording) if entry.get("when") == "setup"][:20]
    assert [(nodeid, location) for nodeid, _, _, location in seen] == [(e["nodeid"], e["location"]) for e in setups]
    by_id = {nodeid: (names[1:], kinds) for nodeid, names, kinds, _ in seen}
    assert by_id["test_0000.py::test_parametrised[a::b[c]]"] == (
        ["test_0000.py", "test_parametrised[a::b[c]]"],
        ["File", "Item"],
    )
    assert by_id["test_0000.py::TestInClass::TestNested::test_plain"] == (
        ["test_0000.py", "TestInClass", "TestNested", "test_plain"],
        ["File", "Class", "Class", "Item"],
    )


def test_a_recording_in_another_order_is_refused(
    recorded: tuple[Path, PytestRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording, _ = recorded
    entries = [entry for entry in read_log(recording) if entry["$report_type"] == "TestReport"][:6]
    shuffled = tmp_path / "shuffled.jsonl"
    shuffled.write_text("".join(json.dumps(entries[i]) + "\n" for i in (0, 3, 1, 4, 2, 5)))
    assert main(["replay", "--plain", "--recording", str(shuffled), "--output", str(tmp_path / "o.json")]) == 1
    assert "in its recorded order" in capsys.readouterr().err


def test_what_is_missing_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THREEPIO_RECORDING", raising=False)
    assert main(["replay"]) == 2
    assert main(["generated", "--python", str(tmp_path / "python")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "--report-log" in said[0]
    assert "cannot be run" in said[1]
