"""The daemon's claim on a machine: one daemon a state directory, one a socket. A live socket is never taken over."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import Final

from threepio_client.errors import NoPlace, ThreepioError
from threepio_client.paths import make_private_dir
from threepio_client.query import unix_socket
from threepio_client.settings import check_socket_path

BACKLOG: Final = 128
RECEIVE_BUFFER: Final = 4 * 1024 * 1024


class AlreadyRunning(ThreepioError):
    """Another daemon holds the lock."""

    exit_code = 0


class SocketTaken(ThreepioError):
    """Another program listens at our socket's path."""

    exit_code = 5


def take_lock(path: Path) -> int:
    """Lock a file for as long as this process lives; return its descriptor, which must stay open.

    Raises:
        AlreadyRunning: another process holds it.
        NoPlace: the file cannot be made.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NoPlace(
            f"cannot make the lock file {path}: {error.strerror}. Make its directory writable, or choose another one"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.read(fd, 32).decode(errors="replace").strip()
        os.close(fd)
        raise AlreadyRunning(f"another threepiod (pid {pid or 'not known yet'}) holds {path}") from error
    except OSError as error:
        os.close(fd)
        raise NoPlace(f"cannot lock {path}: {error.strerror}. Choose a place on a file system with locks") from error
    try:
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
    except OSError as error:
        os.close(fd)
        raise NoPlace(
            f"cannot write the lock file {path}: {error.strerror}. Make room, or choose another place"
        ) from error
    return fd


def is_still(path: Path, own: os.stat_result) -> bool:
    """Return whether a path names the file that it named when it was looked at."""
    try:
        return os.path.samestat(os.lstat(path), own)
    except OSError:
        return False


def unlink_own(path: Path, own: os.stat_result) -> None:
    """Remove the socket that a daemon made; another one may have taken its place after its directory was gone."""
    if is_still(path, own):
        path.unlink(missing_ok=True)


def listen(path: Path) -> socket.socket:
    """Return a socket that listens at the path, mode 0600; a stale socket is replaced. The caller holds its lock.

    Raises:
        SocketTaken: another program listens there.
        NoPlace: something else than a socket is there, or the directory cannot be used.
        SettingsError: the path is too long.
        NoDaemon: no Unix socket can be made here.
    """
    check_socket_path(path)
    make_private_dir(path.parent, "THREEPIO_SOCKET")
    _clear(path)
    sock = unix_socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    old = os.umask(0o177)
    try:
        sock.bind(str(path))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise NoPlace(
            f"cannot make the socket {path}: {error.strerror}. Set THREEPIO_SOCKET to a path that can be written"
        ) from error
    finally:
        os.umask(old)
    return sock


def _clear(path: Path) -> None:
    """Remove a socket at which nobody listens any more."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise NoPlace(f"cannot look at {path}: {error.strerror}. Set THREEPIO_SOCKET to another path") from error
    if not stat.S_ISSOCK(mode):
        kind = "directory" if stat.S_ISDIR(mode) else "link" if stat.S_ISLNK(mode) else "file"
        raise NoPlace(f"{path} is a {kind}, not a socket: remove it, or set THREEPIO_SOCKET to another path")
    with unix_socket() as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise SocketTaken(
                f"cannot tell whether somebody listens at {path}: {error.strerror or error}. "
                "Stop what does, or set THREEPIO_SOCKET to another path"
            ) from error
    raise SocketTaken(f"another program listens at {path}: stop it, or set THREEPIO_SOCKET to another path")
