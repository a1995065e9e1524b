"""A process with an adapter that does as it is told: one JSON object a line in, one out. Started by `tests.faults.peers`.

    {"emit": 1000, "size": 300}   emit so many events of about so many bytes; answers with seconds and statistics
    {"stop_in_frame": 10}         the tenth frame from now is sent by half, then the process stops itself
    {"close": 0}                  end the run with this exit code; answers whether the daemon has stored all of it

It imports nothing of the tests: it runs by its path, in any directory.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from typing import Any

from threepio_client import link, settings
from threepio_client.adapter import Adapter
from threepio_client.errors import ThreepioError
from threepio_client.events import EventType

FIELD = 60_000
"""Characters of one text: below the limit at which texts are cut."""


def payload(number: int, size: int) -> dict[str, Any]:
    """Return a testCase of about `size` bytes."""
    text = {str(at): "x" * min(FIELD, size - at) for at in range(200, size, FIELD)}
    nodeid = f"test_it.py::test_{number}"
    return {
        "testName": nodeid,
        "parentNames": [],
        "nodeid": nodeid,
        "status": "PASS",
        "phase": "call",
        "duration": 1.0,
        **text,
    }


def emit(adapter: Adapter, number: int, count: int, size: int, slowest: float) -> dict[str, Any]:
    start = time.monotonic()
    for offset in range(count):
        before = time.monotonic()
        adapter.emit(EventType.TEST_CASE, payload(number + offset, size))
        slowest = max(slowest, time.monotonic() - before)
    return {
        "seconds": time.monotonic() - start,
        "slowest": slowest,
        "connected": adapter.is_connected,
        **adapter.stats(),
    }


def stop_in_frame(after: int) -> None:
    """Have this process stopped when half of a frame is sent."""
    send = socket.socket.send
    left = after

    def half(sock: socket.socket, data: bytes, flags: int) -> int:
        nonlocal left
        left -= 1
        if left:
            return send(sock, data, flags)
        sent = send(sock, data[: len(data) // 2], flags)
        os.kill(os.getpid(), signal.SIGSTOP)
        return sent

    link._send = half  # type: ignore[misc, assignment]


def main() -> None:
    try:
        adapter = Adapter(settings.load(), {"runner": {"name": "emitting", "version": "0"}, "argv": [], "rootdir": "/"})
    except ThreepioError:
        sys.exit(1)  # no first line: `Emitter.hello` raises ValueError
    print(json.dumps({"run_id": adapter.run_id, "connected": adapter.is_connected}), flush=True)
    emitted = 0
    for line in sys.stdin:
        order = json.loads(line)
        answer: dict[str, Any] = {}
        if "emit" in order:
            answer = emit(adapter, emitted, order["emit"], order.get("size", 300), 0.0)
            emitted += order["emit"]
        elif "stop_in_frame" in order:
            stop_in_frame(order["stop_in_frame"])
        elif "close" in order:
            totals = {"passed": emitted}
            stored = adapter.close({"exitCode": order["close"], "totals": totals, "deselected": 0, "stopped": None})
            answer = {"stored": stored, "complaints": adapter.complaints}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
