"""Stacks on request: what a process writes when it is asked, and that it does nothing else to it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from threepio_client.stacks import END, parse

ENVIRON = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
PREAMBLE = """
import os, signal, sys
from pathlib import Path
from pytest_threepio.stackdump import StackDump
from threepio_client.stacks import SIGNAL
path = Path(sys.argv[1]) / "stacks" / "run.1"
dump = StackDump(path)
def ask(): os.kill(os.getpid(), SIGNAL)
"""


def run(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script that has agreed; its file is `stacks/run.1`."""
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script), str(tmp_path)],
        env=ENVIRON,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def answer(tmp_path: Path) -> str:
    return (tmp_path / "stacks" / "run.1").read_text()


def test_threads_and_where_they_are(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import threading
        gate = threading.Event()
        def waits(): there.set(); gate.wait()
        there = threading.Event()
        threading.Thread(target=waits, daemon=True).start()
        there.wait()
        ask()
        print("went on")
        """,
    )

    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
    assert answer(tmp_path).endswith(END + "\n")
    main, *others = sorted(parse(answer(tmp_path)), key=lambda stack: stack.name != "MainThread")
    assert main.frames[0].function == "ask"
    assert any("waits" in [frame.function for frame in stack.frames] for stack in others)


def test_the_tasks_of_asyncio(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import asyncio
        async def inner(): await asyncio.Event().wait()
        async def outer(): await inner()
        async def main():
            task = asyncio.create_task(outer(), name="the one")
            await asyncio.sleep(0.01)
            ask()
            await asyncio.sleep(0.01)
            task.cancel()
        asyncio.run(main())
        """,
    )

    assert done.returncode == 0, done.stderr
    tasks = {stack.name: stack for stack in parse(answer(tmp_path)) if stack.kind == "task"}
    assert [frame.function for frame in tasks["the one"].frames] == ["wait", "inner", "outer"]


def test_the_tasks_of_trio(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import trio
        async def waits(): await trio.sleep_forever()
        async def main():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(waits)
                await trio.testing.wait_all_tasks_blocked()
                ask()
                nursery.cancel_scope.cancel()
        import trio.testing
        trio.run(main)
        """,
    )

    assert done.returncode == 0, done.stderr
    tasks = [stack for stack in parse(answer(tmp_path)) if stack.kind == "task"]
    assert any("waits" in [frame.function for frame in stack.frames] for stack in tasks)


@pytest.mark.parametrize(
    "breaks",
    [
        "sys.modules['asyncio'] = object()",
        "import types; sys.modules['trio'] = types.ModuleType('trio')",
        "os.write = os.fstat = None",
    ],
)
def test_whatever_the_suite_replaced_nothing_is_raised_into_it(tmp_path: Path, breaks: str) -> None:
    done = run(tmp_path, f"{breaks}\nask()\nprint('went on')")

    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")
    assert answer(tmp_path).endswith(END + "\n")


def test_a_descriptor_that_was_closed_is_not_written_to(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        os.closerange(3, 4096)
        own = os.fdopen(os.dup2(os.open("own", os.O_WRONLY | os.O_CREAT), 200), "w")
        dump._add_tasks(0, None)
        dump.close()
        own.write("mine")  # it is open still
        own.close()
        """,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "own").read_text() == "mine"


def test_after_the_end_a_signal_that_is_on_its_way_does_nothing(tmp_path: Path) -> None:
    done = run(tmp_path, "dump.close()\nask()\nprint('went on')")

    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr
    assert not list((tmp_path / "stacks").iterdir())


def test_a_forked_child_takes_nothing_back(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        if not os.fork():
            dump.close()
            os._exit(0)
        os.wait()
        ask()
        """,
    )

    assert done.returncode == 0, done.stderr
    assert answer(tmp_path).endswith(END + "\n")


def test_the_file_is_private_and_never_another_one(tmp_path: Path) -> None:
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "run.1").symlink_to(tmp_path / "victim")

    done = run(tmp_path, "")

    assert "FileExistsError" in done.stderr
    assert not (tmp_path / "victim").exists()
