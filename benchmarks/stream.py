"""One measured process: emit made-up events through the real adapter, as fast as it takes them.

    python -m benchmarks.stream --run ID --tests N [--runs N] [--names N] [--failing N]    (with THREEPIO_... set)

Each run has N tests: an event for each, and two for every file of 100, as in a real suite. It says `ready` once all is
imported, waits for a line on standard input, emits, and prints one line of JSON: when it began and ended by the machine's
monotonic clock - a run ends when all of it is stored, synced and acked, or the adapter's budget is used up - and what it
took.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from typing import Any, Final

from benchmarks.altered import alter

_PASSED: Final = {"status": "PASS", "duration": 19.2, "totals": {"PASS": 100}, "remaining": 0}
"""What is said of every file when it is over; nothing is made of it."""


def main() -> None:
    """Emit, and say what it took."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--run", required=True, help="id of the run; of several, -1, -2 ... follows")
    parser.add_argument("--tests", type=int, required=True, help="tests of a run")
    parser.add_argument("--runs", type=int, default=1, help="runs, one after the other")
    parser.add_argument("--names", type=int, help="different tests in all (default: every test is another one)")
    parser.add_argument("--failing", type=int, default=0, help="every so many tests one fails")
    options = parser.parse_args()
    alter()  # before the adapter is imported
    from threepio_client.adapter import Adapter
    from threepio_client.settings import load

    print("ready", flush=True)
    sys.stdin.readline()
    cpu = time.process_time()
    found: dict[str, Any] = {"begin": time.monotonic(), "events": 0, "blocked_ms": 0.0, "spilled": 0}
    for number in range(options.runs):
        run_id = options.run if options.runs == 1 else f"{options.run}-{number + 1}"
        settings = load()._replace(run_id=run_id)
        adapter = Adapter(settings, {"runner": {"name": "stream"}, "rootdir": "/suite"})
        emit_run(adapter, options.tests, options.names or options.tests, options.failing)
        found["emitted"] = time.monotonic()
        failed = options.tests // options.failing if options.failing else 0
        totals = {"passed": options.tests - failed, "failed": failed}
        adapter.close({"exitCode": int(failed > 0), "totals": totals, "deselected": 0})
        stats = adapter.stats()
        found["events"] += stats["written"]
        found["blocked_ms"] += stats["blockedMs"]
        found["spilled"] += stats["spilled"]
        found["unacked"] = stats["written"] - stats["acked"]
    found |= {"end": time.monotonic(), "cpu_s": time.process_time() - cpu}
    found["peak_rss"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(found))


def emit_run(adapter: Any, tests: int, names: int, failing: int) -> None:
    """Emit the tests of one run as the plugin does; every 100 are in a file of their own."""
    from threepio_client import clock
    from threepio_client.line import encode_parents, encode_passed

    adapter.emit("collectionFinish", {"collected": tests, "deselected": 0})
    emit_encoded = adapter.emit_encoded
    file, parents = "", ""
    for number in range(tests):
        name = number % names
        if not name % 100 or not file:
            if file:
                adapter.emit("testGroupResult", _group(file) | _PASSED)
            file = f"tests/test_{name // 100:06}.py"
            parents = encode_parents([file])
            adapter.emit("testGroupStart", _group(file))
        if failing and number % failing == failing - 1:
            adapter.emit("testCase", _failed(file, name, number % 25))
            continue
        body = encode_passed(f"test_{name}", parents, time.time(), 0.192)
        emit_encoded("testCase", body, clock.monotonic(), can_wait=True)
    adapter.emit("testGroupResult", _group(file) | _PASSED)


def _group(file: str) -> dict[str, Any]:
    return {"groupName": file, "parentNames": []}


def _failed(file: str, name: int, value: int) -> dict[str, Any]:
    return {
        "testName": f"test_{name}",
        "parentNames": [file],
        "nodeid": f"{file}::test_{name}",
        "status": "FAIL",
        "phase": "call",
        "started": time.time(),
        "duration": 0.192,
        "error": {
            "message": f"assert {name} == {value}",
            "stack": f">   assert value == other\nE   assert {name} == {value}\n\n{file}:2: AssertionError",
            "location": f"/suite/{file}:{value}",
            "errorType": "AssertionError",
        },
    }


if __name__ == "__main__":
    main()
