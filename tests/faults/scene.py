"""A scene: producers and daemons as processes of their own in one place, and the oracle that watches them.

Owned here: starting, killing and waiting for processes, with a planted bug where one is asked for, and the end of every
trial: the faults stop, a new event must be acked in time, and the oracle compares everything.
"""

from __future__ import annotations

import functools
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.faults.oracle import Oracle
from tests.faults.producer import Job
from tests.faults.row import NotHere
from tests.place import Place, wait_until
from threepio_client.errors import NoDaemon
from threepio_client.query import QueryClient

ROOT: Final = Path(__file__).parents[2]
READY_TIMEOUT_S: Final = 30.0
STORED_TIMEOUT_S: Final = 30.0
FRESH_TIMEOUT_S: Final = 5.0
"""Within this a new event must be acked after the faults stop (faults.md)."""


@functools.cache
def needs_strace() -> None:
    """Raise NotHere where strace cannot inject."""
    tried = shutil.which("strace") and subprocess.run(
        ["strace", "-f", "-o", os.devnull, "-e", "trace=fsync", "true"], capture_output=True, check=False
    )
    if not tried or tried.returncode:
        raise NotHere("needs strace, and the right to trace")


class DaemonProcess:
    """One daemon, started as `threepiod start` starts it, perhaps with a planted bug or under strace."""

    def __init__(self, place: Place, environ: dict[str, str], bug: str = "", wrapper: Sequence[str] = ()) -> None:
        self._place = place
        self._is_wrapped = bool(wrapper)
        self._tracer: subprocess.Popen[bytes] | None = None
        self._ready_fd, write_end = os.pipe()
        module = ["tests.faults.planted", bug, "daemon"] if bug else ["threepiod.lifecycle"]
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            [*wrapper, sys.executable, "-P", "-m", *module, str(write_end)],
            env=environ,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # what it has to say is in its log
            pass_fds=[write_end],
        )
        os.close(write_end)

    def wait_until_ready(self, timeout_s: float = READY_TIMEOUT_S) -> float | None:
        """Return the seconds from the process's start until it answered a question, or None if it ended before."""
        if not select.select([self._ready_fd], [], [], timeout_s)[0]:
            raise AssertionError(f"the daemon was not ready within {timeout_s:g} s")
        if not os.read(self._ready_fd, 64):
            return None
        try:
            with QueryClient.connect(self._place.settings.socket, timeout_s) as client:
                client.ask("daemon")
        except NoDaemon:
            return None
        return time.monotonic() - self.started

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def attach(self, tracer: Sequence[str]) -> None:
        """Have strace trace it from now on; return when it does. It ends with the daemon."""
        pid = self._process.pid
        self._tracer = subprocess.Popen([*tracer, "-p", str(pid)])
        wait_until(lambda: all(_is_traced(status) for status in Path(f"/proc/{pid}/task").glob("*/status")))

    def kill(self) -> None:
        """End it by SIGKILL and return when it is gone."""
        if self._is_wrapped and not self.has_ended:  # strace would leave it running
            pid = self._process.pid
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        if self._tracer is not None:
            self._tracer.wait()

    def send_signal(self, number: int) -> None:
        """Stop the process, or have it go on."""
        self._process.send_signal(number)

    def stop(self) -> int:
        """Ask the daemon itself - it may be below strace - to stop; return its exit code when it is gone."""
        try:
            with QueryClient.connect(self._place.settings.socket, READY_TIMEOUT_S) as client:
                client.ask("stop")
        except NoDaemon:
            pass  # it is gone already, or goes without an answer
        return self._process.wait(READY_TIMEOUT_S)

    def close(self) -> None:
        """Let go of it, ended or not."""
        self.kill()
        os.close(self._ready_fd)


def _is_traced(status: Path) -> bool:
    try:
        return "TracerPid:\t0\n" not in status.read_text()
    except OSError:
        return True  # a thread that has just ended


class Producer:
    """One producer; its parent is the process that forked it, so it is watched through a pidfd."""

    def __init__(self, job: Job, pid: int) -> None:
        self.job = job
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._pidfd = -1  # done already
        self.was_killed = False

    @property
    def has_ended(self) -> bool:
        return self._pidfd < 0 or bool(select.select([self._pidfd], [], [], 0)[0])

    def wait(self, timeout_s: float) -> bool:
        """Return whether it has ended within a time."""
        return self._pidfd < 0 or bool(select.select([self._pidfd], [], [], timeout_s)[0])

    def kill(self) -> None:
        """End it by SIGKILL and return when it is gone."""
        if not self.has_ended:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            self.was_killed = True
            select.select([self._pidfd], [], [])

    def close(self) -> None:
        if self._pidfd >= 0:
            self.kill()
            os.close(self._pidfd)
            self._pidfd = -1


class Scene:
    """Use it as a context: every process that it started is gone at its end.

    Attributes:
        place: where all of it happens.
        oracle: who watches.
        rng: the one source of randomness.
        failures: promises that did not hold so far.
    """

    def __init__(self, place: Place, seed: int, bug: str = "") -> None:
        from tests.faults.planted import BUGS  # it may be ours to start a module that imports this one

        self.place = place
        self.seed = seed
        self.oracle = Oracle(place)
        self.rng = random.Random(seed)
        self.failures: list[str] = []
        role = BUGS[bug].role if bug else ""
        self._daemon_bug = bug if role == "daemon" else ""
        self._stderr = (place.path / "producers.stderr").open("w+")
        module = ["tests.faults.planted", bug, "producer"] if role == "producer" else ["tests.faults.producer"]
        self._producer_command = [sys.executable, "-P", "-m", *module]
        self._forker = subprocess.Popen(
            self._producer_command,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self._forker_is_ready = False
        self.daemons: list[DaemonProcess] = []
        self.producers: list[Producer] = []

    @property
    def environ(self) -> dict[str, str]:
        """What every process gets."""
        path = os.environ.get("PYTHONPATH")
        return {**self.place.environ, "PYTHONPATH": f"{path}:{ROOT}" if path else str(ROOT)}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes: list[DaemonProcess | Producer] = [*self.daemons, *self.producers]
        for process in processes:
            process.close()
        self._forker.communicate()  # the end of its input ends it
        self._stderr.close()

    def start_daemon(self, *, wrapper: Sequence[str] = ()) -> DaemonProcess:
        """Start a daemon, perhaps below a command such as strace; it is not ready yet."""
        for daemon in self.daemons:
            daemon.close()
        self.daemons = [DaemonProcess(self.place, self.environ, self._daemon_bug, wrapper)]
        return self.daemons[0]

    def recover(self) -> None:
        """Start a daemon and return when all that is in the journals is stored; the producers are gone."""
        self.start_daemon().wait_until_ready()
        self.failures += self.oracle.wait_until_stored(STORED_TIMEOUT_S)

    def start_producer(self, job: Job) -> Producer:
        """Have a producer forked."""
        forker = self._forker
        assert forker.stdin is not None
        assert forker.stdout is not None
        if not self._forker_is_ready:
            assert forker.stdout.readline() == "ready\n", "the producers' parent did not start"
            self._forker_is_ready = True
        forker.stdin.write(json.dumps(asdict(job)) + "\n")
        forker.stdin.flush()
        producer = Producer(job, int(forker.stdout.readline()))
        self.producers.append(producer)
        return producer

    def run_producer(self, job: Job, wrapper: Sequence[str]) -> bool:
        """Run a producer below a command such as strace, to its end; return whether it came to its own end."""
        command = [*wrapper, *self._producer_command, "--one", json.dumps(asdict(job))]
        subprocess.run(command, env=self.environ, stderr=self._stderr, check=False, timeout=STORED_TIMEOUT_S)
        return self.oracle.reported(job).closed

    def wait_for_producers(self, timeout_s: float = STORED_TIMEOUT_S) -> None:
        """Wait until every producer has ended; one that ended neither by our hand nor as it should is a failure."""
        for producer in self.producers:
            if not producer.wait(timeout_s):
                self.failures.append(f"the producer of run {producer.job.run_id} did not end within {timeout_s:g} s")
            elif not producer.was_killed and not self.oracle.reported(producer.job).closed:
                self._stderr.seek(0)
                said = self._stderr.read()[-1000:]
                self.failures.append(f"the producer of run {producer.job.run_id} ended by itself: {said}")
            producer.close()
        self.producers = []

    def forget_ended(self) -> None:
        """Let go of the producers that have come to their end."""
        ended = [producer for producer in self.producers if producer.has_ended]
        going = [producer for producer in self.producers if not producer.has_ended]
        self.producers = ended
        self.wait_for_producers()
        self.producers = going

    def check_acks(self) -> None:
        """With the daemon dead: what the producers know as acked is stored."""
        self.failures += self.oracle.check_acks([producer.job for producer in self.producers])

    def conclude(self) -> tuple[str, ...]:
        """The faults have stopped: have everything stored, a new event acked, all of it compared; return the failures."""
        self.wait_for_producers()
        if not self.daemons or self.daemons[0].has_ended:
            self.start_daemon()
        self.daemons[0].wait_until_ready()
        fresh = self.oracle.new_job(
            1, self.seed, THREEPIO="require", THREEPIO_BLOCK_MS="30000", THREEPIO_BLOCK_TOTAL_MS="30000"
        )
        start = time.monotonic()
        self.start_producer(fresh).wait(FRESH_TIMEOUT_S)
        seconds = time.monotonic() - start
        if seconds >= FRESH_TIMEOUT_S or not self.oracle.reported(fresh).is_stored:
            self.failures.append(f"a new event was not acked within {FRESH_TIMEOUT_S:g} s after the faults stopped")
        self.wait_for_producers()
        self.failures += self.oracle.wait_until_stored(STORED_TIMEOUT_S) or self.oracle.check()
        return tuple(f"seed {self.seed}: {failure}" for failure in self.failures)
