"""A run's process looked at from outside: when it ended and how - and nothing where that is not known."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio
import trio.testing

from tests.scripted import gone, in_trio, living, sleeper, until
from threepio_client.process import Liveness, exit_status, identity_of
from threepiod import watch as watch_module
from threepiod.watch import ProcessWatch

KERNEL = tuple(int(number) for number in os.uname().release.split(".")[:2])
TELLS = pytest.mark.skipif(KERNEL < (6, 15), reason="this kernel does not tell how a process ended")

WAYS: dict[str, dict[str, int]] = {
    "import os; os._exit(0)": {"exitCode": 0},
    "import os; os._exit(3)": {"exitCode": 3},
    "import os; os._exit(255)": {"exitCode": 255},
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": {"signal": 9},
    "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)": {"signal": 11},
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": {"signal": 15},
}


def child(code: str) -> subprocess.Popen[bytes]:
    """Start a process that runs some code once its input ends."""
    return subprocess.Popen([sys.executable, "-c", f"input(); {code}"], stdin=subprocess.PIPE)


def let_go(process: subprocess.Popen[bytes]) -> int:
    process.communicate(b"\n")
    return process.returncode


def watched_to_its_end(process: subprocess.Popen[bytes]) -> ProcessWatch:
    """Return what watched a child from before its end on."""
    watch = ProcessWatch(identity_of(process.pid))

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.wait_gone)
            await trio.to_thread.run_sync(let_go, process)

    trio.run(main)
    return watch


@TELLS
@pytest.mark.parametrize("code", WAYS)
def test_how_a_process_ended_is_told_once_its_parent_has_waited_for_it(code: str) -> None:
    process = child(code)
    pidfd = os.pidfd_open(process.pid)
    try:
        assert exit_status(pidfd) is None
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert exit_status(pidfd) is None  # it is a zombie
        process.wait()
        assert exit_status(pidfd) == WAYS[code]
    finally:
        os.close(pidfd)


def test_what_is_no_pidfd_tells_nothing() -> None:
    with open(os.devnull) as file:
        assert exit_status(file.fileno()) is None
    assert exit_status(987654) is None


@TELLS
@pytest.mark.parametrize("code", WAYS)
def test_the_end_is_seen_with_its_time_and_its_way(code: str) -> None:
    process = child(code)
    watch = watched_to_its_end(process)

    assert watch.liveness is Liveness.GONE
    assert watch.ended_at is not None
    how = WAYS[code]
    assert watch.end == {"pid": process.pid, **how, **({"outOfMemory": False} if how.get("signal") == 9 else {})}


def of_process_that_ends(code: str, monkeypatch: pytest.MonkeyPatch, rose: bool) -> dict[str, object]:
    """Return how a process was seen to end in a group whose counter rose, or did not."""

    class Kills:
        def __init__(self, pid: int) -> None:
            self.looks = 0

        def look(self) -> None:
            self.looks += 1

        def rose(self) -> bool:
            assert self.looks  # at the end at least: the group may be gone a moment later
            return rose

    monkeypatch.setattr(watch_module, "OomKills", Kills)
    return watched_to_its_end(child(code)).end


@TELLS
@pytest.mark.parametrize("rose", [True, False])
def test_a_kill_is_for_memory_if_the_counter_rose(monkeypatch: pytest.MonkeyPatch, rose: bool) -> None:
    end = of_process_that_ends("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", monkeypatch, rose)

    assert end["outOfMemory"] is rose


@TELLS
@pytest.mark.parametrize("code", ["import os; os._exit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"])
def test_what_was_no_kill_was_not_for_memory(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    assert "outOfMemory" not in of_process_that_ends(code, monkeypatch, rose=True)


@in_trio
async def test_a_process_that_was_gone_before_has_no_time_and_no_way() -> None:
    watch = ProcessWatch(gone())
    await watch.wait_gone()

    assert (watch.liveness, watch.ended_at, watch.end) == (Liveness.GONE, None, {})


@in_trio
async def test_where_the_kernel_does_not_tell_the_end_is_seen_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "exit_status", lambda pidfd: None)
    monkeypatch.setattr(watch_module, "REAPED_S", 0.05)
    with sleeper() as (identity, kill):
        watch = ProcessWatch(identity)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.wait_gone)
            await trio.testing.wait_all_tasks_blocked()
            kill()

    assert watch.liveness is Liveness.GONE
    assert watch.ended_at is not None
    assert watch.end == {}


@in_trio
async def test_a_process_that_cannot_be_seen_from_here_is_never_called_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "POLL_S", 0.001)
    watch = ProcessWatch(living()._replace(pid_namespace="pid:[1]"))
    with trio.move_on_after(0.1) as scope:
        await watch.wait_gone()

    assert scope.cancelled_caught
    assert watch.liveness is Liveness.UNKNOWN


@in_trio
async def test_without_a_pidfd_it_is_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        tries.append(pid)
        raise OSError(24, "Too many open files")

    tries: list[int] = []
    monkeypatch.setattr(os, "pidfd_open", refuse)
    monkeypatch.setattr(watch_module, "POLL_S", 0.001)
    with sleeper() as (identity, kill):
        watch = ProcessWatch(identity)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch.wait_gone)
            await until(lambda: len(tries) > 2)
            kill()

    assert watch.liveness is Liveness.GONE
