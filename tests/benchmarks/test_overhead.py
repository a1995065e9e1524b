"""`python -m benchmarks overhead`: every variant runs the same tests, and what is compared is what was measured."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks.__main__ import main
from benchmarks.overhead import Sample, checks_of, rows_of, write_suite
from benchmarks.usage import Spread, Usage, cpu_of, measured, memory_of


def samples(size: int, plain: Usage, ours: Usage, daemon_cpu_s: float) -> list[Sample]:
    return [
        Sample(size=size, variant="plain", round=0, usage=plain, daemon_cpu_s=None),
        Sample(size=size, variant="daemon", round=0, usage=ours, daemon_cpu_s=daemon_cpu_s),
    ]


def usage(cpu_s: float, mebibytes: int = 30) -> Usage:
    return Usage(wall_s=cpu_s, cpu_s=cpu_s, peak_rss=mebibytes << 20)


def test_every_variant_runs_the_suite_beside_plain_pytest(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results.json"
    arguments = ["--sizes", "3", "--rounds", "1", "--variants", "journal", "daemon", "junit"]

    code = main(["overhead", *arguments, "--keep", str(tmp_path / "kept"), "--output", str(output)])

    assert code in (0, 1)  # on a busy machine three tests may cost too much
    assert "3 tests: round 1 of 1" in capfd.readouterr().out
    result = json.loads(output.read_text())["results"][0]
    assert [sample["variant"] for sample in result["samples"]] == ["plain", "daemon", "journal", "junit"]
    assert all(0 < sample["usage"]["cpu_s"] < 60 for sample in result["samples"])
    place = tmp_path / "kept" / "overhead-3"
    for sample in result["samples"]:
        assert "3 passed" in (place / f"{sample['variant']}-0" / "cwd.out").read_text()
    # Each reports to its own place, and nowhere else.
    assert len(list((place / "state/journals").glob("*.jsonl*"))) == 2  # one of them to warm up
    assert len(list((place / "journal-0/state/journals").glob("*.jsonl"))) == 1
    assert (place / "junit-0/junit.xml").is_file()
    assert sorted(path.name for path in (place / "plain-0").iterdir()) == ["cwd", "cwd.out"]


def test_a_large_suite_is_judged_by_its_share_a_small_one_by_milliseconds() -> None:
    fine = checks_of(samples(20_000, usage(10.0), usage(10.2), daemon_cpu_s=0.5))
    slow = checks_of(samples(20_000, usage(10.0), usage(10.4), daemon_cpu_s=0.6))
    small = checks_of(samples(100, usage(0.3), usage(0.34), daemon_cpu_s=0.5))
    late = checks_of(samples(100, usage(0.3), usage(0.36), daemon_cpu_s=0.5))

    assert [check.ok for check in fine] == [True, True, None, True]
    assert [check.ok for check in slow] == [False, False, None, False]
    assert [check.ok for check in small] == [True, None, None, None]
    assert [check.ok for check in late] == [False, None, None, None]


def test_memory_is_judged_where_a_suite_is_huge() -> None:
    fine = checks_of(samples(200_000, usage(100, 400), usage(100, 408), daemon_cpu_s=1))
    more = checks_of(samples(200_000, usage(100, 400), usage(100, 409), daemon_cpu_s=1))

    assert [check.ok for check in (fine[2], more[2])] == [True, False]


def test_a_row_has_medians_and_their_ratio_to_plain() -> None:
    rows = rows_of(samples(100, usage(0.2), usage(0.3), daemon_cpu_s=0.1), {"plain": 2_000_000, "daemon": 2_040_000})

    assert rows[1] == ["plain", "200 (200-200)", "1.000", "0.0", "200 (200-200)", "1.000", "0.0", "2.0", "1.0000"]
    assert rows[2] == ["daemon", "300 (300-300)", "1.500", "100.0", "300 (300-300)", "1.500", "0.0", "2.0", "1.0200"]


def test_a_suite_has_the_tests_that_were_asked_for(tmp_path: Path) -> None:
    write_suite(tmp_path / "suite", 250)

    texts = [path.read_text() for path in sorted((tmp_path / "suite").glob("test_*.py"))]
    assert [text.count("def test_") for text in texts] == [100, 100, 50]


def test_what_a_process_takes_is_that_of_its_children_too(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    (tmp_path / "cwd").mkdir()
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"

    found = measured([sys.executable, "-c", parent], tmp_path / "cwd", {})

    assert 0.2 <= found.cpu_s < 2
    assert found.wall_s >= 0.2


def test_a_living_process_is_read_without_asking_it() -> None:
    while time.process_time() < 0.05:
        pass
    assert abs(cpu_of(os.getpid()) - time.process_time()) < 0.1
    assert memory_of(os.getpid()) <= memory_of(os.getpid(), "VmHWM")


def test_a_spread_is_the_middle_half() -> None:
    assert Spread.of([4, 1, 3, 2, 5]) == Spread(median=3, low=2, high=4)
    assert Spread.of([7]) == Spread(median=7, low=7, high=7)
