"""`threepio status --watch`: every size of a terminal, every kind of run, and a clean end."""

from __future__ import annotations

import io
import os
import pty
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console

from tests.cli.test_live import read_until
from tests.commands import Call
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import case, event, living, made_state_dir, run_lines, write_journal
from threepio_client.cli.source import Source
from threepio_client.cli.watch import Screen
from threepio_client.events import EventType, Phase
from threepio_client.nowpage import NowPage

HOSTILE = "t.py::test_x[\x1b[2J\n\u202e" + "y" * 300 + "tail]"


def write_live(place: Place, run_id: str, failures: int, workers: int) -> None:
    """Write a run that lives, with failures behind it and workers at tests with a hostile name."""
    made_state_dir(place.state_dir.path)
    names = [f"t.py::test_{number}" for number in range(50)]
    lines = run_lines(run_id, 0, nodeids=names, exit_code=None, identity=living())[:2]
    for seq, name in enumerate(names[:20], start=3):
        lines.append(case(seq, name, "FAIL" if seq - 3 < failures else "PASS"))
    write_journal(place.state_dir, run_id, lines)
    for worker in range(workers):
        page = NowPage(place.state_dir.now_page(run_id), worker, f"gw{worker}", create=worker == 0)
        page.set(HOSTILE, Phase.CALL, 1.0)
        page.close()


def rendered(screen: Screen, width: int, height: int) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), highlight=False, markup=False)
    with console.capture() as capture:
        console.print(screen.render(width, height))
    return capture.get().splitlines()


@pytest.mark.parametrize("failures", [0, 1, 20])
@pytest.mark.parametrize("workers", [0, 1, 8])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (40, 10), (20, 4), (10, 1)])
def test_the_screen_fits(place: Place, failures: int, workers: int, width: int, height: int) -> None:
    write_live(place, "live", failures, workers)

    lines = rendered(Screen(Source(place.settings), "live"), width, height)

    assert 1 <= len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert lines[0].startswith("run live")
    assert all(char.isprintable() for line in lines for char in line)
    if height >= 10:
        text = "\n".join(lines)
        assert "█" * (min(30, width // 2) * 20 // 50) + "░" in text
        assert (f"latest of {failures} failures" in text) is bool(failures)
        assert len([line for line in lines if line.endswith("tail]")]) >= min(workers, 2)
        assert (f"FAIL t.py::test_{failures - 1}" in text) is bool(failures)


def test_every_run_that_lives_is_watched_and_shares_the_screen(place: Place) -> None:
    write_live(place, "one", 20, 2)
    write_live(place, "two", 20, 2)
    write_journal(place.state_dir, "over", run_lines("over", 1))

    screen = Screen(Source(place.settings), "latest")

    assert {view["run_id"] for view in screen.views} == {"one", "two"}
    for height in (50, 11, 2):
        lines = rendered(screen, 80, height)
        assert len([line for line in lines if line.startswith("run ")]) == 2
        assert len(lines) <= height


def test_a_test_is_shown_beside_its_usual_time(place: Place) -> None:
    write_journal(
        place.state_dir, "earlier", [*run_lines("earlier", 0, nodeids=[HOSTILE])[:2], case(3, HOSTILE, duration=500.0)]
    )
    write_live(place, "live", 0, 1)

    screen = Screen(Source(place.settings), "live")

    assert any("of usually 0.5 s" in line for line in rendered(screen, 80, 24))


def test_a_worker_that_is_idle_keeps_its_lane(place: Place) -> None:
    write_live(place, "live", 0, 1)
    workers = [event(22 + n, EventType.WORKER_START, {"worker": f"gw{n}", "process": {}}) for n in (1, 2)]
    write_journal(place.state_dir, "live", workers)

    lines = rendered(Screen(Source(place.settings), "live"), 80, 24)

    assert [line.split()[:2] for line in lines if line.lstrip().startswith("gw")][1:] == [
        ["gw1", "idle"],
        ["gw2", "idle"],
    ]


def test_a_run_that_is_over_is_shown_as_ever(place: Place, call: Call) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 2))

    watched, shown = call(place, "status", "--watch"), call(place, "status", "run")

    assert (watched.exit_code, watched.stdout) == (0, shown.stdout)
    assert call(place, "status", "--watch", "--json").exit_code == 2


def test_the_run_that_a_command_is_about_to_begin_is_watched_and_no_older_one(place: Place) -> None:
    write_journal(place.state_dir, "older", run_lines("older", 2))
    place.suite("def test_one(): assert 0")
    line = f"touch reached; until test -e go; do sleep 0.01; done; {shlex.join(place.python)} -m pytest -q"
    command = [*place.python, "-m", "threepio_client.cli"]
    environ = {**place.environ, "THREEPIO_RUN_ID": "new"}
    started = subprocess.Popen(
        [*command, "run", "--", "sh", "-c", line], env=environ, cwd=place.path, stdout=subprocess.PIPE
    )
    wait_until((place.path / "reached").exists)
    watch = subprocess.Popen(
        [*command, "status", "--watch"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert watch.stderr is not None
    said = watch.stderr.readline()  # so it has looked
    (place.path / "go").touch()
    started.communicate(timeout=COMMAND_TIMEOUT_S)

    told, _ = watch.communicate(timeout=COMMAND_TIMEOUT_S)

    assert said == "threepio: waiting for the run new, which a command is about to begin\n"
    assert (watch.returncode, "older" in told) == (1, False)
    assert "run new: failed" in told


@contextmanager
def watching(place: Place) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A terminal with the watch of a suite that waits for the file `go on`."""
    place.suite("import os, time\ndef test_it():\n    while not os.path.exists('go on'): time.sleep(0.01)")
    suite = place.start_pytest("-q", THREEPIO_RUN_ID="live")
    wait_until(place.state_dir.journal("live").exists)
    master, slave = pty.openpty()
    command = [*place.python, "-m", "threepio_client.cli", "status", "live", "--watch"]
    # In a group of its own, which we are there to continue: else Ctrl-Z would do nothing.
    process = subprocess.Popen(
        command, env={**place.environ, "TERM": "xterm"}, stdout=slave, stderr=slave, process_group=0
    )
    os.close(slave)
    try:
        yield process, master
    finally:
        (place.path / "go on").touch()
        suite.communicate(timeout=COMMAND_TIMEOUT_S)
        process.kill()
        process.wait()
        os.close(master)


LEAVES_THE_SCREEN = rb"\x1b\[\?1049l"


def test_ctrl_c_leaves_the_screen_as_it_was_and_says_how_the_run_is(served: Place) -> None:
    with watching(served) as (process, terminal):
        read_until(terminal, rb"run live: running")
        process.send_signal(signal.SIGINT)

        seen = read_until(terminal, LEAVES_THE_SCREEN + rb"(?s:.*)run live: running(?s:.*)events: ")

        assert process.wait(COMMAND_TIMEOUT_S) == 0
        assert b"Traceback" not in seen


def test_the_end_of_the_run_ends_the_watch(served: Place) -> None:
    with watching(served) as (process, terminal):
        read_until(terminal, rb"0/1")
        (served.path / "go on").touch()

        read_until(terminal, LEAVES_THE_SCREEN + rb"(?s:.*)run live: passed")

        assert process.wait(COMMAND_TIMEOUT_S) == 0


def test_ctrl_z_gives_the_terminal_back_and_fg_goes_on(served: Place) -> None:
    with watching(served) as (process, terminal):
        read_until(terminal, rb"run live: running")
        process.send_signal(signal.SIGTSTP)

        read_until(terminal, LEAVES_THE_SCREEN + rb"(?s:.*)\x1b\[\?25h")
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])

        process.send_signal(signal.SIGCONT)
        read_until(terminal, rb"\x1b\[\?1049h(?s:.*)run live: running")
        (served.path / "go on").touch()
        read_until(terminal, LEAVES_THE_SCREEN + rb"(?s:.*)run live: passed")
        assert process.wait(COMMAND_TIMEOUT_S) == 0
