"""`latency` and `buffers`: every question is asked and answered, and changed constants have an effect."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks import latency
from benchmarks.__main__ import main
from benchmarks.buffers import measure
from benchmarks.emitting import WAITING
from benchmarks.latency import quantile


def test_every_question_is_timed_idle_and_under_ingest(tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    arguments = ["--earlier", "2", "--tests", "400", "--asks", "3", "--starts", "1"]

    assert main(["latency", *arguments, "--output", str(output)]) in (0, 1)

    result = json.loads(output.read_text())["results"][0]
    assert list(result["times_ms"]) == ["idle", "full ingest"]
    for times in result["times_ms"].values():
        assert list(times) == ["status", "failures", "show", "diff", "slow", "history"]
        assert all(len(numbers) == 3 and min(numbers) > 0 for numbers in times.values())
    assert [len(numbers) for numbers in result["command_cpu_s"].values()] == [1, 1]


def test_quantiles_are_measured_numbers() -> None:
    numbers = [float(number) for number in range(1, 101)]

    assert [quantile(numbers, share) for share in (0.5, 0.99)] == [50.0, 99.0]
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([7.0], 0.99) == 7.0


def test_both_quantiles_are_judged() -> None:
    commands = {"threepio status": [0.12], "empty command": [0.1]}
    fine = latency.checks_of({"idle": {"status": [2.0] * 50 + [20.0] * 50, "show": [20.0, 100.0]}}, commands)
    slow = latency.checks_of({"idle": {"status": [1.0] * 98 + [21.0] * 2, "show": [21.0, 21.0]}}, commands)

    assert [check.ok for check in fine] == [True, True, True]
    assert [check.ok for check in slow] == [False, False, True]


def test_a_small_credit_blocks_and_a_slow_daemon_makes_the_adapter_spill(tmp_path: Path) -> None:
    python = Path(sys.executable)
    for name in ("blocked", "spilled"):
        (tmp_path / name).mkdir()
    credit = {"THREEPIO_EVENT_BUFFER_SIZE": "10"}

    blocked, _ = measure(python, tmp_path / "blocked", credit | WAITING, 60)
    spilled, _ = measure(
        python, tmp_path / "spilled", credit | {"BENCH_EVENTS_PER_S": "20", "THREEPIO_BLOCK_TOTAL_MS": "300"}, 50
    )

    assert blocked.blocked_ms > 0
    assert blocked.spilled == blocked.unacked == 0
    assert spilled.spilled > 0
