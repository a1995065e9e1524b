"""Which process is meant: alive, gone, or not to be told from here - whatever became of its number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from threepio_client import process
from threepio_client.process import Liveness, ProcessIdentity, current


@contextmanager
def child(name: str = "child") -> Iterator[tuple[subprocess.Popen[str], ProcessIdentity]]:
    """Start a process that calls itself by a name and waits for its end."""
    script = """
        import json, sys
        from threepio_client.process import current
        with open("/proc/self/comm", "w") as comm:
            comm.write(sys.argv[1])
        print(json.dumps(current().to_payload()), flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), name],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        identity = ProcessIdentity.from_payload(json.loads(started.stdout.readline()))
        assert identity is not None
        yield started, identity


def test_this_process_is_alive() -> None:
    me = current()

    assert me.pid == os.getpid()
    assert me.start_ticks > 0
    assert me.liveness() is Liveness.ALIVE
    assert ProcessIdentity.from_payload(json.loads(json.dumps(me.to_payload()))) == me


@pytest.mark.parametrize("name", ["child", "a) Z 1 2 3 (b", ") X", "\n"])
def test_an_ended_process_is_gone_waited_for_or_not(name: str) -> None:
    with child(name) as (started, identity):
        assert identity.pid == started.pid
        assert identity.liveness() is Liveness.ALIVE

        started.kill()
        os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
        assert identity.liveness() is Liveness.GONE

        started.wait()
        assert identity.liveness() is Liveness.GONE


def test_another_process_of_the_same_number_is_not_meant() -> None:
    me = current()

    assert me._replace(start_ticks=me.start_ticks - 1).liveness() is Liveness.GONE
    assert me._replace(boot_id="another boot").liveness() is Liveness.GONE


@pytest.mark.parametrize("unknown", [{"pid_namespace": "pid:[1]"}, {"boot_id": ""}, {"start_ticks": 0}])
def test_what_cannot_be_seen_from_here_is_never_called_gone(unknown: dict[str, str | int]) -> None:
    identity = ProcessIdentity(**{**current().to_payload(), **unknown})

    assert identity.liveness() is Liveness.UNKNOWN


def test_without_proc_nothing_is_called_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = current()
    monkeypatch.setattr(process, "_boot_id", lambda: "")
    monkeypatch.setattr(process, "_pid_namespace", lambda: "")
    monkeypatch.setattr(process, "_state_and_start", lambda pid: None)

    assert identity.liveness() is Liveness.UNKNOWN
    assert current().liveness() is Liveness.UNKNOWN
    assert current().pid == os.getpid()


@pytest.mark.parametrize(
    "payload",
    [
        None,
        [],
        {},
        {"pid": 1},
        {"pid": 0, "start_ticks": 1, "boot_id": "b", "pid_namespace": "n"},
        {"pid": -5, "start_ticks": 1, "boot_id": "b", "pid_namespace": "n"},
        {"pid": "1", "start_ticks": 1, "boot_id": "b", "pid_namespace": "n"},
        {"pid": True, "start_ticks": 1, "boot_id": "b", "pid_namespace": "n"},
        {"pid": 1, "start_ticks": 1.5, "boot_id": "b", "pid_namespace": "n"},
        {"pid": 1, "start_ticks": 1, "boot_id": None, "pid_namespace": "n"},
        {"pid": 1, "start_ticks": 1, "boot_id": "b", "pid_namespace": 3},
    ],
    ids=str,
)
def test_another_payload_is_no_identity(payload: object) -> None:
    assert ProcessIdentity.from_payload(payload) is None


def test_without_a_descriptor_to_look_with_nobody_is_called_dead() -> None:
    script = """
        import resource
        from threepio_client import process
        me = process.current()
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
        boot_id, process._boot_id = process._boot_id(), lambda: boot_id  # as if a descriptor was left for that
        print(me.liveness().name, process.current().start_ticks)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["UNKNOWN", "0"]
