"""Whether the kernel killed for memory: by a counter, in both versions of control groups, and for a real kill."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.crashes import memory
from tests.faults.row import NotHere
from threepio_client import cgroup, clock
from threepio_client.cgroup import LOOK_S, OomKills


@pytest.fixture
def counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The counter's file of the group in which every process is."""
    path = tmp_path / "memory.events"
    write(path, 3)
    monkeypatch.setattr(cgroup, "_counter_of", lambda pid: path)
    return path


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets."""
    found = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: found[0])
    return found


def write(path: Path, kills: int) -> None:
    path.write_text(f"low 0\nhigh 0\nmax 12\noom 7\noom_kill {kills}\n")


def test_only_a_kill_after_the_first_look_counts(counter: Path) -> None:
    kills = OomKills()
    assert not kills.rose()

    write(counter, 4)
    assert kills.rose()
    assert not kills.rose()


def test_each_kill_is_told_once(counter: Path) -> None:
    kills = OomKills()
    write(counter, 5)  # two workers died of it, before either was looked at

    assert [kills.rose() for _ in range(3)] == [True, True, False]


def test_an_old_kill_explains_no_new_end(counter: Path, now: list[float]) -> None:
    kills = OomKills()
    write(counter, 4)  # of a process that a test had started
    kills.look()
    now[0] += 60

    assert not kills.rose()


def test_a_group_that_was_removed_after_the_kill_still_tells(counter: Path) -> None:
    kills = OomKills()
    write(counter, 4)
    kills.look()
    counter.unlink()  # a container's group goes with its last process

    assert kills.rose()


def test_it_looks_no_more_often_than_it_should(counter: Path, now: list[float]) -> None:
    kills = OomKills()
    write(counter, 4)
    kills.look_sometimes()
    now[0] += LOOK_S + 0.1
    write(counter, 6)
    now[0] += 60
    kills.look_sometimes()  # the first look of all: three kills at once, just now

    assert [kills.rose() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill many\n", "oom 3\n"])
def test_a_counter_that_cannot_be_read_shows_no_kill(counter: Path, text: str) -> None:
    kills = OomKills()
    counter.write_text(text)

    assert not kills.rose()


@pytest.mark.parametrize(
    ("lines", "made", "found"),
    [
        (["5:cpu:/x", "4:memory:/a/b", "0::/c"], ["memory/a/b/memory.oom_control", "c/memory.events"], "memory/a/b"),
        (["4:memory:/a/b", "0::/c"], ["unified/c/memory.events"], "unified/c"),
        (["0::/c:d"], ["c:d/memory.events"], "c:d"),
        (["0::/"], [], None),
    ],
    ids=["version 1", "the controller is in version 2", "version 2", "the root group has no counter"],
)
def test_which_groups_counter_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str], made: list[str], found: str | None
) -> None:
    for name in made:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("oom_kill 0\n")
    monkeypatch.setattr(cgroup, "_V1", f"{tmp_path}/memory")
    monkeypatch.setattr(cgroup, "_V2", (str(tmp_path), f"{tmp_path}/unified"))
    monkeypatch.setattr(cgroup, "_lines_of", lambda pid: lines)

    path = cgroup._counter_of("self")

    assert (path.parent if path is not None else None) == (tmp_path / found if found is not None else None)


def test_a_process_that_is_gone_shows_no_kill() -> None:
    assert not OomKills(2**22 + 1).rose()


def test_a_real_kill_is_seen_from_outside() -> None:
    eats = "import sys; sys.stdin.read(); kept = []\nwhile True: kept.append(b'x' * (8 << 20))"
    try:
        with memory.group() as group:
            command = group.inside([sys.executable, "-c", f"print('there', flush=True); {eats}"])
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stdin is not None
                process.stdout.readline()
                kills = OomKills(process.pid)
                assert not kills.rose()
                process.stdin.close()
                assert process.wait() == -9
                assert kills.rose()
    except NotHere as reason:
        pytest.skip(str(reason))
