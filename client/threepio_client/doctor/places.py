"""The state directory, the socket's directory, and the disk."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from threepio_client.doctor.finding import Finding, ok, problem
from threepio_client.paths import StateDir

SPACE_WANTED: Final = 256 * 2**20
"""Bytes: journal and store of a suite of 200,000 tests."""
FILES_WANTED: Final = 1_000
SLOW_SYNC_S: Final = 0.1
"""A sync that takes longer than this is no local disk at work."""
PROBES: Final = 3
PROBE_TIME_S: Final = 0.3
"""No further probe after this."""
FILES_LOOKED_AT: Final = 5_000
REMOTE: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs", "ceph", "glusterfs"})
"""File systems of another machine: memory-mapped pages and SQLite's WAL need one of this machine."""


def check_state_dir(path: Path) -> Iterator[Finding]:
    """Yield what is wrong with the state directory and what is in it."""
    found = list(_directory("state", path, "state_dir (THREEPIO_STATE_DIR)"))
    yield from found
    if not os.path.isdir(path) or any(one.state == "problem" for one in found):
        return
    state_dir = StateDir(path)
    for inner in (state_dir.journals, state_dir.logs, state_dir.output("x").parent):
        if os.path.lexists(inner):
            yield from (one for one in _directory("state", inner, "state_dir") if one.state == "problem")
    strangers = [name for name in _files(state_dir) if os.lstat(name).st_uid != os.getuid()]
    if strangers:
        more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
        whose = os.lstat(strangers[0]).st_uid
        text = f"{strangers[0]}{more} of the state directory belongs to uid {whose}, not to you (uid {os.getuid()})"
        yield problem(
            "state", text, f"as root: chown -R {os.getuid()} {path}. Was a suite or the daemon started by sudo?"
        )
        return
    unreadable = [name for name in _files(state_dir) if os.path.exists(name) and not os.access(name, os.R_OK)]
    if unreadable:
        more = f" and {len(unreadable) - 1} more" if len(unreadable) > 1 else ""
        yield problem("state", f"{unreadable[0]}{more} of the state directory cannot be read", f"chmod -R u+rwX {path}")


def check_socket_dir(path: Path) -> Iterator[Finding]:
    """Yield what is wrong with the directory that the socket is in."""
    return _directory("runtime", path, "socket (THREEPIO_SOCKET)")


def _files(state_dir: StateDir) -> Iterator[str]:
    for directory in (state_dir.path, state_dir.journals, state_dir.logs):
        try:
            with os.scandir(directory) as entries:
                yield from (entry.path for entry in islice(entries, FILES_LOOKED_AT))
        except OSError:
            continue  # not there, or said already


def _directory(check: str, path: Path, setting: str) -> Iterator[Finding]:
    """Yield what keeps a directory from being used, or that nothing does."""
    elsewhere = f"set {setting} to another directory"
    try:
        found = path.lstat()
    except FileNotFoundError:
        parent = _existing(path)
        if os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK):
            yield ok(check, f"{path} is not there yet, and can be made")
        else:
            yield problem(check, f"{path} is not there, and you may not make it in {parent}", elsewhere)
        return
    except OSError as error:
        yield problem(check, f"{path} cannot be looked at: {error.strerror}", elsewhere)
        return
    mode = stat.S_IMODE(found.st_mode)
    is_shared = found.st_uid == 0 and bool(mode & stat.S_ISVTX)
    if stat.S_ISLNK(found.st_mode):
        yield problem(check, f"{path} is a link, which is not followed", f"set {setting} to {os.path.realpath(path)}")
    elif not stat.S_ISDIR(found.st_mode):
        yield problem(check, f"{path} is no directory", f"remove it, or {elsewhere}")
    elif is_shared:
        yield ok(check, f"{path}: shared by all, and nobody can rename what is another's")
    elif found.st_uid != os.getuid():
        text = f"{path} belongs to uid {found.st_uid}, not to you (uid {os.getuid()})"
        yield problem(check, text, f"{elsewhere}; or, if sudo made it, as root: chown -R {os.getuid()} {path}")
    elif mode & 0o077:
        may = "write to it" if mode & 0o022 else "look into it"
        yield problem(check, f"{path} has mode {mode:04o}: others may {may}", f"chmod 700 {path}")
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK) and not _is_read_only(path):
        yield problem(check, f"{path} has mode {mode:04o}: you may not write to it", f"chmod 700 {path}")
    else:
        yield ok(check, f"{path}: yours, mode {mode:04o}")


def check_disk(state_dir: Path) -> Iterator[Finding]:
    """Yield whether there is room, and how long a sync takes: measured with a probe file, which is removed again."""
    place = _existing(state_dir)
    elsewhere = "set state_dir (THREEPIO_STATE_DIR) to another disk"
    try:
        room = os.statvfs(place)
        sync_s = _probe(place) if os.path.isdir(place) else 0.0
    except OSError as error:
        cures = {
            errno.ENOSPC: f"free space, or {elsewhere}",
            errno.EDQUOT: f"free space, or {elsewhere}",
            errno.EROFS: f"mount it for writing, or {elsewhere}",
            errno.EIO: f"look at the kernel's log, the disk may be failing; {elsewhere}",
        }
        cure = cures.get(error.errno or 0, f"make it writable, or {elsewhere}")
        yield problem("disk", f"a file in {place} cannot be written and synced: {error.strerror}", cure)
        return
    free = room.f_bavail * room.f_frsize
    kind = _file_system(place)
    is_fine = True
    if free < SPACE_WANTED:
        is_fine = False
        cure = f"free space (threepio prune --older-than 30d removes old runs), or {elsewhere}"
        yield problem(
            "disk", f"{free / 2**20:.0f} MiB are free at {place}, {SPACE_WANTED / 2**20:.0f} are wanted", cure
        )
    if room.f_files and room.f_favail < FILES_WANTED:
        is_fine = False
        yield problem(
            "disk", f"only {room.f_favail} more files can be made at {place}", f"remove files, or {elsewhere}"
        )
    if kind in REMOTE:
        is_fine = False
        text = f"{place} is on {kind}, a file system of another machine: the store does not work there reliably"
        yield problem("disk", text, "set state_dir (THREEPIO_STATE_DIR) to a disk of this machine")
    elif sync_s > SLOW_SYNC_S:
        is_fine = False
        cure = f'{elsewhere}, or accept less and set sync = "exit": a power cut may then take a run\'s end'
        yield problem("disk", f"a sync at {place} takes {sync_s * 1000:.0f} ms", cure)
    if is_fine:
        note = "; in memory, so nothing survives a restart of the machine" if kind in {"tmpfs", "ramfs"} else ""
        yield ok("disk", f"{_size(free)} free at {place}, a sync takes {sync_s * 1000:.1f} ms{note}")


def _size(size: float) -> str:
    return f"{size / 2**30:.0f} GiB" if size >= 10 * 2**30 else f"{size / 2**20:.0f} MiB"


def _existing(path: Path) -> Path:
    """Return the directory itself, or the nearest one above it that is there."""
    return next(place for place in (path, *path.parents) if os.path.exists(place))


def _is_read_only(path: Path) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)  # the disk's check says so


def _probe(directory: Path) -> float:
    """Return how many seconds a write and its sync take there, the middle one of some; raises OSError."""
    path = directory / f".doctor-{os.getpid()}.probe"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        times: list[float] = []
        while len(times) < PROBES and sum(times) < PROBE_TIME_S:
            began = time.monotonic()
            os.write(fd, bytes(4096))
            os.fdatasync(fd)
            times.append(time.monotonic() - began)
    finally:
        os.close(fd)
        os.unlink(path)
    return sorted(times)[len(times) // 2]


def _file_system(path: Path) -> str:
    """Return the kind of file system that a path is on, empty where that cannot be told (proc(5), mountinfo)."""
    here = os.path.realpath(path)
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                before, _, after = line.partition(" - ")
                mount = before.split(" ")[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
                if len(mount) >= len(best) and (here == mount or here.startswith(mount.rstrip("/") + "/")):
                    best, kind = mount, after.split(" ")[0]
    except (OSError, IndexError, UnicodeError):
        return ""
    return kind
