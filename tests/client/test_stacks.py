"""Stacks asked from outside: whom the signal may reach, what py-spy says, and what is said where nobody tells."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scripted import gone, living, sleeper
from threepio_client import stacks
from threepio_client.process import ProcessIdentity, identity_of
from threepio_client.stacks import END, CannotTell, Frame, Stack, first_line, of_process, parse

DUMP = f"""threepio: descriptor 200
Thread 0x00007f0000000001 (most recent call first):
  File "/lib/threading.py", line 331 in wait

Current thread 0x00007f0000000002 (most recent call first):
  File "/suite/test it.py", line 7 in test_hangs
  File "/lib/x.py", line ??? in <lambda>
Task Task-1 (most recent call first):
  File "/suite/test it.py", line 9 in waits
{END}
"""


def tool(path: Path, script: str) -> str:
    """Make a program that stands for py-spy."""
    found = path / "py-spy"
    found.write_text(f"#!/bin/sh\n{script}\n")
    found.chmod(0o755)
    return str(found)


@pytest.fixture
def process() -> Iterator[ProcessIdentity]:
    """A process that lives, and would die of the signal."""
    with sleeper() as (identity, _):
        yield identity


def test_an_answer_is_read_as_faulthandler_writes_it() -> None:
    assert parse(DUMP) == [
        Stack("thread", "0x00007f0000000001", None, [Frame("/lib/threading.py", 331, "wait")]),
        Stack(
            "thread",
            "MainThread",
            None,
            [Frame("/suite/test it.py", 7, "test_hangs"), Frame("/lib/x.py", 0, "<lambda>")],
        ),
        Stack("task", "Task-1", None, [Frame("/suite/test it.py", 9, "waits")]),
    ]


def test_a_process_that_ended_or_is_elsewhere_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_find_tool", lambda: tool(tmp_path, "touch asked"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CannotTell, match="it has ended"):
        of_process(gone(), tmp_path / "agreed")
    with pytest.raises(CannotTell, match="it has ended"):  # another process has its pid by now
        of_process(living()._replace(start_ticks=1), tmp_path / "agreed")
    with pytest.raises(CannotTell, match="cannot be seen from here"):
        of_process(living()._replace(pid_namespace="pid:[1]"), tmp_path / "agreed")

    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize("text", [b"", b"nonsense\n", first_line(0), first_line(999), b"threepio: descriptor -1\n"])
def test_a_file_that_is_not_what_the_process_writes_into_sends_no_signal(
    tmp_path: Path, process: ProcessIdentity, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "_find_tool", lambda: None)
    agreed = tmp_path / "agreed"
    agreed.write_bytes(text)

    with pytest.raises(CannotTell, match="py-spy is not installed"):
        of_process(process, agreed)

    assert process.liveness().name == "ALIVE"


def test_without_a_handler_no_signal_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_find_tool", lambda: None)
    agreed = tmp_path / "agreed"
    with agreed.open("w+b") as file:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[file.fileno()])
        try:
            file.write(first_line(file.fileno()))
            file.flush()
            with pytest.raises(CannotTell):
                of_process(identity_of(child.pid), agreed)
            assert child.poll() is None
        finally:
            child.communicate(b"\n")
    assert child.returncode == 0


SPIED = '[{"pid": 1, "thread_name": null, "os_thread_id": 7, "active": true, "frames": []},' + (
    ' {"pid": 1, "thread_name": "MainThread", "os_thread_id": 1, "active": false,'
    ' "frames": [{"filename": "/a.py", "line": 3, "name": "f"}]}]'
)


def test_what_py_spy_says_with_the_main_thread_first(
    tmp_path: Path, process: ProcessIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "_find_tool", lambda: tool(tmp_path, f"echo '{SPIED}'"))

    assert of_process(process, tmp_path / "agreed") == [
        Stack("thread", "MainThread", False, [Frame("/a.py", 3, "f")]),
        Stack("thread", "thread 7", True, []),
    ]


def test_a_torn_stack_is_asked_for_again(
    tmp_path: Path, process: ProcessIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f"[ -e {tmp_path}/again ] && echo '{SPIED}' && exit; touch {tmp_path}/again; echo torn >&2; exit 1"
    monkeypatch.setattr(stacks, "_find_tool", lambda: tool(tmp_path, script))

    assert len(of_process(process, tmp_path / "agreed")) == 2


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo 'Permission Denied: Try running again with elevated permissions' >&2; exit 1",
            "does not let py-spy look",
        ),
        ("echo 'Error: Operation not permitted (os error 1)' >&2; exit 1", "THREEPIO_STACKS=1"),
        ("echo; echo 'Error: Failed to find python version' >&2; exit 1", "py-spy cannot tell: Error: Failed to find"),
        ("exit 1", "py-spy cannot tell: it does not say why"),
        ("exec sleep 60", "gave no answer within 0.2 s"),
        ("echo nonsense", "py-spy cannot tell: its answer cannot be read"),
        ("echo '[{}]'", "py-spy cannot tell: its answer cannot be read"),
    ],
)
def test_why_py_spy_does_not_tell(
    tmp_path: Path, process: ProcessIdentity, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setattr(stacks, "_find_tool", lambda: tool(tmp_path, script))
    if "sleep" in script:
        monkeypatch.setattr(stacks, "TOOL_TIMEOUT_S", 0.2)

    with pytest.raises(CannotTell, match=said):
        of_process(process, tmp_path / "agreed")


def test_a_tool_that_cannot_be_started(
    tmp_path: Path, process: ProcessIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "_find_tool", lambda: str(tmp_path))

    with pytest.raises(CannotTell, match="py-spy cannot be started: Permission denied"):
        of_process(process, tmp_path / "agreed")


def test_the_tool_is_found_beside_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert stacks._find_tool() is None

    assert tool(tmp_path, "") == stacks._find_tool()
