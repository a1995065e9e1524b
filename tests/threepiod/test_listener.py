"""The daemon's claim on a socket and a state directory: what is stale is replaced, what is somebody's is left alone."""

from __future__ import annotations

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.place import Place
from threepio_client.errors import NoPlace, SettingsError
from threepiod.listener import AlreadyRunning, SocketTaken, listen, take_lock, unlink_own


@pytest.fixture
def path(place: Place) -> Path:
    return place.settings.socket


@contextmanager
def bound(path: Path, backlog: int = 8) -> Iterator[socket.socket]:
    """Listen as another program does; the file stays when it ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(str(path))
        sock.listen(backlog)
        yield sock


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


def test_a_socket_is_made_for_its_user_only(path: Path) -> None:
    with listen(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert can_connect(path)


def test_a_stale_socket_is_replaced(path: Path) -> None:
    with bound(path):
        pass
    assert path.is_socket()
    assert not can_connect(path)

    with listen(path):
        assert can_connect(path)


def test_a_live_socket_is_never_stolen(path: Path) -> None:
    with bound(path) as other:
        inode = path.stat().st_ino

        with pytest.raises(SocketTaken, match="another program listens") as caught:
            listen(path)

        assert "THREEPIO_SOCKET" in str(caught.value)
        assert caught.value.exit_code == 5
        assert path.stat().st_ino == inode
        other.accept()[0].close()


def test_a_live_socket_with_a_full_queue_is_not_stolen_either(path: Path) -> None:
    with bound(path, backlog=0):
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with waiting:
            waiting.connect(str(path))  # nobody accepts, and the queue is full
            inode = path.stat().st_ino

            with pytest.raises(SocketTaken):
                listen(path)

            assert path.stat().st_ino == inode


@pytest.mark.parametrize("kind", ["directory", "file", "link"])
def test_what_is_no_socket_is_refused_and_left_as_it_is(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
        (path / "precious").write_text("data")
    elif kind == "file":
        path.write_text("precious data")
    else:
        path.symlink_to(path.parent / "elsewhere")
    before = path.lstat()

    with pytest.raises(NoPlace, match=f"is a {kind}, not a socket: remove it, or set THREEPIO_SOCKET"):
        listen(path)

    after = path.lstat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert kind != "directory" or (path / "precious").read_text() == "data"


def test_a_path_that_the_system_cannot_hold_is_refused_with_its_length(path: Path) -> None:
    with pytest.raises(SettingsError, match="allows 107: set THREEPIO_SOCKET"):
        listen(path.parent / ("x" * 200))


def test_a_directory_that_others_may_write_to_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)
    with pytest.raises(NoPlace, match="others may write") as caught:
        listen(path)
    assert "THREEPIO_SOCKET" in str(caught.value)


def test_a_lock_is_held_by_one_and_names_it(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    held = take_lock(lock)
    try:
        assert lock.read_text() == f"{os.getpid()}\n"
        with pytest.raises(AlreadyRunning, match=rf"pid {os.getpid()}\) holds") as caught:
            take_lock(lock)
        assert caught.value.exit_code == 0
        assert lock.read_text() == f"{os.getpid()}\n"
    finally:
        os.close(held)
    os.close(take_lock(lock))


def test_a_lock_where_there_are_none_names_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("threepiod.listener.fcntl.flock", fail)
    with pytest.raises(NoPlace, match=r"No locks available\. Choose a place on a file system with locks"):
        take_lock(tmp_path / "lock")


def test_the_socket_of_another_daemon_is_left_alone(path: Path) -> None:
    with listen(path):
        first = os.lstat(path)
        path.unlink()  # its directory was removed, and made again by the next daemon
        with listen(path):
            unlink_own(path, first)
            assert path.exists()
            unlink_own(path, os.lstat(path))
            assert not path.exists()
            unlink_own(path, first)


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("data")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(NoPlace):
        take_lock(tmp_path / "lock")
    assert (tmp_path / "victim").read_text() == "data"


def test_of_eight_daemons_started_at_once_exactly_one_runs(place: Place) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-m", "threepiod", "start"],
            env=place.environ,
            cwd=place.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    ends = [(*starter.communicate(timeout=60), starter.returncode) for starter in starters]

    assert [code for _, _, code in ends] == [0] * 8, ends
    assert sum("is ready" in output for output, _, _ in ends) == 1
    assert sum("runs already" in output for output, _, _ in ends) == 7
    pid = place.daemon_pid()
    assert all(f"pid {pid}" in output for output, _, _ in ends)
