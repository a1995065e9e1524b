"""The socket and the daemon behind it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from threepio_client.doctor.finding import Finding, ok, problem, unknown
from threepio_client.doctor.places import check_socket_dir
from threepio_client.errors import NoDaemon, Refused, SettingsError, ThreepioError
from threepio_client.paths import StateDir
from threepio_client.query import QueryClient, unix_socket
from threepio_client.settings import check_socket_path

PATIENCE_S: Final = 2.0
"""A daemon that is alive answers within milliseconds; one that systemd starts for this question needs half a second."""
START: Final = "threepiod start"


class Asked(NamedTuple):
    """What the daemon said.

    Attributes:
        finding: how it is.
        version: its version, empty where it said nothing.
    """

    finding: Finding
    version: str = ""


def check_socket(path: Path, state_dir: Path) -> Iterator[Finding]:
    """Yield what is wrong with the socket, its path and its directory, and whether sockets can be had at all.

    Args:
        path: of the socket.
        state_dir: the state directory, which was looked at already.
    """
    try:
        unix_socket().close()
    except NoDaemon as error:
        cure = (
            "allow AF_UNIX in the sandbox, if the daemon is to take runs from here. Without, nothing is lost: runs are kept "
            "in their journals, and threepio reads those"
        )
        yield problem("sandbox", str(error), cure)
    else:
        yield ok("sandbox", "Unix sockets can be made here")
    if path.parent != state_dir:
        yield from check_socket_dir(path.parent)
    try:
        check_socket_path(path)
    except SettingsError as error:
        text, _, cure = str(error).partition(": ")
        yield problem("socket", text, cure)
        return
    try:
        found = path.lstat()
    except FileNotFoundError:
        yield ok("socket", f"none at {path}, so no daemon runs")
        return
    except OSError as error:
        yield problem(
            "socket", f"{path} cannot be looked at: {error.strerror}", "set socket (THREEPIO_SOCKET) to another path"
        )
        return
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISSOCK(found.st_mode):
        what = "link" if stat.S_ISLNK(found.st_mode) else "directory" if stat.S_ISDIR(found.st_mode) else "file"
        cure = f"remove it, or set socket (THREEPIO_SOCKET) to another path; then {START}"
        yield problem("socket", f"{path} is a {what}, not a socket", cure)
    elif found.st_uid != os.getuid():
        text = f"{path} belongs to uid {found.st_uid}, not to you (uid {os.getuid()})"
        yield problem("socket", text, "set socket (THREEPIO_SOCKET) to a path in a directory of your own")
    elif mode & 0o077:
        yield problem("socket", f"{path} has mode {mode:04o}: others may connect to it", f"chmod 600 {path}")
    else:
        yield ok("socket", f"{path}: yours, mode {mode:04o}")


def ask(socket: Path, state_dir: Path, *, is_required: bool) -> Asked:
    """Ask the daemon how it is.

    Args:
        socket: where it listens.
        state_dir: the directory that it should keep.
        is_required: whether pytest refuses to run without it (THREEPIO=require).
    """
    try:
        is_there = socket.is_socket()
    except OSError:
        is_there = False
    if not is_there:
        if elsewhere := _holder(state_dir):
            return Asked(_listens_elsewhere(elsewhere, socket, state_dir))
        if is_required:
            return Asked(
                problem("daemon", "none runs, and THREEPIO=require keeps pytest from running without one", START)
            )
        return Asked(ok("daemon", f"none runs; runs are kept in their journals. Start one with: {START}"))
    try:
        with QueryClient.connect(socket, PATIENCE_S) as client:
            status = client.ask("daemon")
    except ThreepioError as error:
        return Asked(_trouble(error, socket, state_dir))
    version = str(status["version"])
    if status["state_dir"] != str(state_dir):
        text = f"the one at {socket} (pid {status['pid']}) keeps {status['state_dir']}, and {state_dir} is asked for"
        return Asked(problem("daemon", text, "threepiod restart, or set socket and state_dir as it has them"), version)
    return Asked(ok("daemon", f"answers: pid {status['pid']}, {status['runs_active']} runs active"), version)


def _trouble(error: ThreepioError, socket: Path, state_dir: Path) -> Finding:
    cause = error.__cause__
    if "no Unix socket" in str(error):
        return unknown("daemon", "it cannot be asked from here, where no socket can be made")
    if isinstance(error, Refused):
        return problem("daemon", str(error), "run one version everywhere, then: threepiod restart")
    if isinstance(cause, ConnectionRefusedError):
        if elsewhere := _holder(state_dir):
            return _listens_elsewhere(elsewhere, socket, state_dir)
        return problem("daemon", f"it is gone, and left its socket {socket}: nobody listens there", START)
    if isinstance(cause, PermissionError):
        return problem("daemon", f"you may not connect to {socket} ({cause.strerror})", "let the sandbox allow it")
    if isinstance(cause, TimeoutError):
        cure = (
            f"threepiod restart; if that does not help, end process {_pid(state_dir)} and: {START}. Wait instead, if "
            f"{StateDir(state_dir).daemon_log} says that the store is being brought to a new form"
        )
        return problem("daemon", f"it listens at {socket} and does not answer within {PATIENCE_S:g} s", cure)
    return problem("daemon", str(error), "stop what listens there, or set socket (THREEPIO_SOCKET) to another path")


def _listens_elsewhere(pid: str, socket: Path, state_dir: Path) -> Finding:
    text = (
        f"threepiod (pid {pid}) keeps {state_dir} and does not listen at {socket}: it was started with another "
        "XDG_RUNTIME_DIR or socket, or its socket was removed"
    )
    return problem("daemon", text, f"kill {pid} (it stores what it has, and ends), then: {START}")


def _holder(state_dir: Path) -> str:
    """Return the pid of the process that holds the lock of the state directory, empty if none does or it is not seen.

    Asked of the system (proc(5), locks): trying to take the lock could be in the way of a daemon that starts.
    """
    pid = _pid(state_dir)
    try:
        inode = os.stat(StateDir(state_dir).lock).st_ino
        with open("/proc/locks", encoding="ascii") as locks:
            held = [line.split() for line in locks]
    except (OSError, UnicodeDecodeError):
        return ""
    is_held = any("FLOCK" in words and pid in words and words[-3].endswith(f":{inode}") for words in held)
    return pid if is_held else ""


def _pid(state_dir: Path) -> str:
    try:
        text = StateDir(state_dir).lock.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        text = ""
    return text if text.isdigit() else "of the name threepiod"
