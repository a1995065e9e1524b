"""Row 13: clients that never read, connections without a HELLO, and no descriptors left: ingest goes on all the same."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from tests.faults.peers import (
    MIB,
    PATIENCE_S,
    Cost,
    Emitter,
    RawClient,
    descriptors_for,
    differences,
    emitters,
    raw_query,
    stored_seq,
)
from tests.faults.row import NotHere, Result, Scale
from tests.place import Place, wait_until
from tests.scripted import case, gone, run_lines, write_journal
from threepio_client.archive import Archive
from threepio_client.errors import RemoteProtocolError
from threepio_client.protocol import Ask, Hello, Role, to_frame
from threepio_client.wire import HELLO_LIMIT
from threepiod.daemon import TICK_S
from threepiod.run import RETRY_S

FAULT = "clients that never read; 1,000 half-open connections; no descriptors left"
PASSES_WHEN = "memory + <= 32 MiB; no busy loop; ingest goes on"

HALF_OPEN: Final = 1_000
DEAF: Final = {Scale.SHORT: 20, Scale.LONG: 100}
"""Clients that ask for long answers and read none."""
FAILURES: Final = {Scale.SHORT: 700, Scale.LONG: 3_000}
"""Of the run that they ask about."""
EVENTS: Final = {Scale.SHORT: 1_000, Scale.LONG: 20_000}
FEW: Final = 64
"""Descriptors of the daemon that has too few."""
MORE_MEMORY: Final = 32 * MIB
MOST_CPU: Final = 0.5
"""Of one core, once what was asked is answered and nothing happens any more: a busy loop takes all of it."""
WATCHED_S: Final = {Scale.SHORT: 0.4, Scale.LONG: 5.0}


def run(scale: Scale, seed: int, place: Place) -> Result:
    try:
        with descriptors_for(HALF_OPEN + DEAF[scale] + 100):
            figures, failures = _crowd(scale, place)
    except ValueError:
        raise NotHere(f"needs {HALF_OPEN + DEAF[scale] + 100} descriptors") from None
    place.stop_daemon()
    more_figures, more_failures = _few_descriptors(scale, place)
    return Result(
        figures=f"{figures}; {more_figures}",
        failures=tuple(f"seed {seed}: {text}" for text in failures + more_failures),
    )


def _crowd(scale: Scale, place: Place) -> tuple[str, list[str]]:
    """Many connections at once that do nothing good."""
    failures: list[str] = []
    pid = place.start_daemon()
    _make_failures(place, FAILURES[scale])
    cost = Cost(pid)
    patient = {"THREEPIO_BLOCK_TOTAL_MS": "inf", "THREEPIO_BLOCK_MS": "inf"}
    with emitters(place, 1, **patient) as (emitter,), ExitStack() as clients:
        emitter.do(emit=EVENTS[scale])
        with raw_query_closed(place) as asking:  # what one answer takes that is read is no client's fault
            size = len(repr(asking.ask("failures", run="failing")))
        before = cost.peak()
        for number in range(HALF_OPEN):
            _half_open(place, clients, number)
        for number in range(DEAF[scale]):
            _deaf(place, clients, number)
        cpu = cost.quiet_share(MOST_CPU, WATCHED_S[scale])
        seconds = emitter.do(emit=EVENTS[scale])["seconds"]
        stored = emitter.do(close=0)["stored"]
        failures += differences(place, emitter.run_id, 2 * EVENTS[scale])
        grown = cost.peak() - before
    if not stored:
        failures.append("the run that was connected was not stored when it ended")
    if grown > MORE_MEMORY:
        failures.append(f"memory grew by {grown / MIB:.1f} MiB")
    if cpu > MOST_CPU:
        failures.append(f"{cpu:.0%} of a core used while nothing happened")
    figures = (
        f"{HALF_OPEN:,} half-open connections and {DEAF[scale]} clients that read no answer ({size / MIB:.1f} MiB): "
        f"memory +{grown / MIB:.1f} MiB at most, {cpu:.0%} of a core, {EVENTS[scale]:,} events of a run in {seconds:.2f} s"
    )
    return figures, failures


def _half_open(place: Place, clients: ExitStack, number: int) -> None:
    """Connect and say nothing, or nearly all of the longest HELLO."""
    client = RawClient(place.settings.socket, Role.QUERY)
    clients.callback(client.close)
    if number % 2:
        longest = Hello(versions=[1], role="query", run={}, place="x" * (HELLO_LIMIT - 100))
        with suppress(BrokenPipeError, ConnectionResetError):
            client.sock.sendall(to_frame(longest)[:-1])


def _deaf(place: Place, clients: ExitStack, number: int) -> None:
    """Ask again and again and read nothing."""
    client = RawClient(place.settings.socket, Role.QUERY)
    clients.callback(client.close)
    client.say(Hello(versions=[1], role="query", run={}, place=""))
    client.sock.settimeout(0.2)
    with suppress(OSError, RemoteProtocolError):
        if client.hear() is not None and client.protocol.state.name == "OPEN":
            client.sock.sendall(
                b"".join(to_frame(Ask(id=n, name="failures", params={"run": "failing"})) for n in range(2))
            )


@contextmanager
def raw_query_closed(place: Place) -> Iterator[RawClient]:
    client = raw_query(place)
    try:
        yield client
    finally:
        client.close()


def _make_failures(place: Place, count: int) -> None:
    """Have a run with many long failures stored."""
    start, collection, *_ = run_lines("failing", 0, exit_code=None, identity=gone())
    error = {"error": {"message": "assert 1 == 2", "stack": "def test_it():\n    assert 1 == 2\n" * 80}}
    cases = [case(seq, f"test_it.py::test_{seq}", "FAIL", **error) for seq in range(3, count + 3)]
    write_journal(place.state_dir, "failing", [start, collection, *cases])
    wait_until(lambda: stored_seq(place, "failing") >= count + 2)


def _none_for_long(place: Place, emitter: Emitter, pid: int) -> list[str]:
    """Leave the daemon without descriptors until it has tried again and failed again; 2,000 events are emitted."""
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, FEW))
    emitter.do(emit=1000)
    time.sleep(3 * RETRY_S)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, FEW))
    written = emitter.do(emit=1000)["written"]
    try:
        wait_until(lambda: stored_seq(place, emitter.run_id) >= written)
    except AssertionError:
        return [
            f"20 s after descriptors were to be had again, {stored_seq(place, emitter.run_id)} of {written} are stored"
        ]
    return []


def _few_descriptors(scale: Scale, place: Place) -> tuple[str, list[str]]:
    """A daemon that may open only a few descriptors, and then for a while none at all."""
    failures: list[str] = []

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))

    subprocess.run(
        [sys.executable, "-m", "threepiod", "start"],
        env=place.environ,
        cwd=place.path,
        preexec_fn=limit,
        check=True,
        capture_output=True,
        timeout=PATIENCE_S,
    )
    pid = place.daemon_pid()
    cost = Cost(pid)
    with emitters(place, 1) as (emitter,), ExitStack() as clients:
        for number in range(2 * FEW):
            _half_open(place, clients, number)
        open_then = cost.descriptors()
        cpu = cost.quiet_share(MOST_CPU, WATCHED_S[scale])
        written = emitter.do(emit=EVENTS[scale])["written"]
        wait_until(lambda: stored_seq(place, emitter.run_id) >= written)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, FEW))  # not one more
        emitter.do(emit=EVENTS[scale])
        emitted = 2 * EVENTS[scale]
        if scale is Scale.LONG:
            emitted += 2000
            failures += _none_for_long(place, emitter, pid)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (1, FEW))
        with emitters(place, 1) as (newcomer,):  # its journal is a new one, which the daemon cannot open now
            newcomer.do(emit=10)
            time.sleep(2.5 * TICK_S)  # the daemon looks at its directory twice
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (FEW, FEW))
            newcomer.do(close=0)
        emitter.do(close=0)
        with suppress(AssertionError):
            wait_until(lambda: not differences(place, emitter.run_id, emitted))
        failures += differences(place, emitter.run_id, emitted)
        wait_until(lambda: not differences(place, newcomer.run_id, 10))
    state = Archive(place.state_dir).view(emitter.run_id)["state"]
    if state != "passed":
        failures.append(f"the run is shown as {state}")
    if cpu > MOST_CPU:
        failures.append(f"{cpu:.0%} of a core used without descriptors")
    os.kill(pid, signal.SIGCONT)  # it is still there
    return (
        f"with {FEW} descriptors and {2 * FEW} half-open connections: {open_then} open, {cpu:.0%} of a core, "
        f"{EVENTS[scale]:,} events stored; {EVENTS[scale]:,} more while none was left, stored when there were some again"
    ), failures
