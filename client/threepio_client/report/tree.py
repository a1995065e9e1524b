"""The report tree as files: where a run's folder lies, how its pages are named, and that nothing is written outside of it.

    <base>/.gitignore               so that nobody commits it
    <base>/latest                   a link to the newest run's folder
    <base>/runs/<run id>/test-run.md
    <base>/runs/<run id>/groups/tests/test_shop.py.md

Everything is done relative to open directories that are ours, and no link is followed below the base. A page is written
to a temporary name in the run's folder and renamed. Not here: what stands in a page (`markdown.py`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from threepio_client.settings import REPORTS_DIR

RUN_PAGE: Final = "test-run.md"
GROUPS: Final = "groups"
_PART: Final = ".part"
_LINK_PART: Final = ".latest.part"
_PLAIN: Final = re.compile(r"[a-z0-9_][a-z0-9_.+-]{0,99}")
"""A part of a path that is its own name: in small letters, because a file system may take `A` and `a` for one."""
_DEPTH: Final = 24
"""Directories of a group's name that a page has, too."""
_SHOWN: Final = 60
"""Characters that a name which is not plain has in common with what it stands for."""
_WRITE_SIZE: Final = 32 * 1024
"""Bytes that are written at once."""
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@lru_cache(maxsize=256)
def page_of(group: str) -> str:
    """Return the path of a group's page, relative to the run's folder; no two groups have the same, whatever their names."""
    parts = group.split("/")
    if len(parts) > _DEPTH:
        return f"{GROUPS}/{_marked(group)}.md"
    # A directory never ends like a page: `a.md/b` is a group, too.
    names = [part if _PLAIN.fullmatch(part) and not part.endswith(".md") else _marked(part) for part in parts[:-1]]
    last = parts[-1] if _PLAIN.fullmatch(parts[-1]) else _marked(parts[-1])
    return "/".join([GROUPS, *names, f"{last}.md"])


def _marked(name: str) -> str:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', name)[-_SHOWN:]}~{digest}"


def back_from(page: str) -> str:
    """Return the path of the run's page as a link from this one."""
    return "../" * page.count("/") + RUN_PAGE


class Folder:
    """A run's folder.

    Attributes:
        was_empty: whether nothing was in it when it was opened, so that all pages in it are of this one.
    """

    def __init__(self, fd: int) -> None:
        """Take an open directory, which `close` closes."""
        self.was_empty = not os.listdir(fd)
        self._fd = fd
        self._below: list[tuple[str, int]] = []

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory; a second call does nothing."""
        self._leave(0)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def write(self, page: str, parts: Iterable[str | bytes]) -> None:
        """Write a page: whole or not at all.

        Args:
            page: its path, as `page_of` returns it, or RUN_PAGE.
            parts: its text; bytes are UTF-8.

        Raises:
            OSError: it cannot be written; what was there before stays.
        """
        directory, _, name = page.rpartition("/")
        into = self._directory(directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            part = os.open(_PART, flags, 0o666, dir_fd=self._fd)
        except FileExistsError:  # of a process that was killed
            os.unlink(_PART, dir_fd=self._fd)
            part = os.open(_PART, flags, 0o666, dir_fd=self._fd)
        try:
            try:
                for data in _encoded(parts):
                    while data:  # on a disk that is nearly full, only a part of it may be written
                        data = data[os.write(part, data) :]
            finally:
                os.close(part)
            os.replace(_PART, name, src_dir_fd=self._fd, dst_dir_fd=into)
        except BaseException:
            with suppress(OSError):
                os.unlink(_PART, dir_fd=self._fd)
            raise

    def remove_others(self, is_kept: Callable[[str], bool]) -> None:
        """Remove the groups' pages that are not to be there, and what a killed process left; nothing that is no page.

        Args:
            is_kept: whether a page, by its path, is to stay.

        Raises:
            OSError: one cannot be removed.
        """
        with suppress(FileNotFoundError):
            os.unlink(_PART, dir_fd=self._fd)
        try:
            for path, _, files, fd in os.fwalk(GROUPS, topdown=False, dir_fd=self._fd):
                removed = [name for name in files if name.endswith(".md") and not is_kept(f"{path}/{name}")]
                for name in removed:
                    os.unlink(name, dir_fd=fd)
                if path != GROUPS and len(removed) == len(files):
                    with suppress(OSError):  # it has directories
                        os.rmdir(path, dir_fd=self._fd)
        except FileNotFoundError:
            return

    def _directory(self, path: str) -> int:
        """Return a directory, made if it is not there; those on the way to it stay open for the next one."""
        names = path.split("/") if path else []
        common = 0
        while common < min(len(names), len(self._below)) and names[common] == self._below[common][0]:
            common += 1
        self._leave(common)
        for name in names[common:]:
            self._below.append((name, _made(self._below[-1][1] if self._below else self._fd, name, replaces=True)))
        return self._below[-1][1] if self._below else self._fd

    def _leave(self, depth: int) -> None:
        """Close the directories that are deeper than this."""
        while len(self._below) > depth:
            os.close(self._below.pop()[1])


def open_run(base: Path, run_id: str, *, is_new: Callable[[str], bool] = lambda _: True) -> Folder:
    """Return a run's folder below a base, made if it is not there, with the base's ignore file and its link.

    Args:
        base: REPORTS_DIR in a rootdir, which is to be there, or another directory; the last part of it is made.
        run_id: the run.
        is_new: whether the run is newer than the one that `latest` points at, given its id.

    Raises:
        OSError: it cannot be made, or a directory of it is not ours.
    """
    fd = os.open(base.parent, _DIRECTORY)
    try:
        if base.name == REPORTS_DIR:
            _check_ours(fd)
        is_made = not os.path.lexists(base)
        found = _made(fd, base.name)
        os.close(fd)
        fd = found
        if is_made or base.name == REPORTS_DIR:
            _ignore(fd)
        runs = _made(fd, "runs")
        try:
            folder = Folder(_made(runs, _own_name(run_id)))
        finally:
            os.close(runs)
        try:
            _point_at(fd, _own_name(run_id), is_new)
        except OSError:
            folder.close()
            raise
        return folder
    finally:
        os.close(fd)


def remove_run(base: Path, run_id: str, latest_of: Callable[[list[str]], str] = lambda _: "") -> None:
    """Remove a run's folder as far as it was written by us; what is not there is fine. The link goes to the newest one left.

    Args:
        base: as for `open_run`.
        run_id: the run.
        latest_of: which of the runs that have a folder there is the latest one; empty for that whose page was written last.

    Raises:
        OSError: something cannot be removed.
    """
    opened: list[int] = []
    try:
        opened.append(os.open(base, _DIRECTORY | os.O_NOFOLLOW))
        was_latest = _pointed_at(opened[0]) == _own_name(run_id)
        if was_latest:
            os.unlink("latest", dir_fd=opened[0])
        opened.append(os.open("runs", _DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[0]))
        fd = os.open(_own_name(run_id), _DIRECTORY | os.O_NOFOLLOW, dir_fd=opened[1])
        with Folder(fd) as folder:
            folder.remove_others(lambda _: False)
            with suppress(FileNotFoundError):
                os.unlink(RUN_PAGE, dir_fd=fd)
            with suppress(OSError):  # somebody else's files are in it
                os.rmdir(GROUPS, dir_fd=fd)
        with suppress(OSError):
            os.rmdir(_own_name(run_id), dir_fd=opened[1])
        if was_latest and (left := latest_of(os.listdir(opened[1])) or _newest(opened[1])):
            _point_at(opened[0], left, lambda _: True)
    except FileNotFoundError:
        return
    finally:
        for fd in opened:
            os.close(fd)


def _newest(runs: int) -> str:
    """Return the name of the folder whose page was written last; empty if there is none."""
    found: list[tuple[int, str]] = []
    for name in os.listdir(runs):
        with suppress(OSError):
            found.append((os.stat(f"{name}/{RUN_PAGE}", dir_fd=runs, follow_symlinks=False).st_mtime_ns, name))
    return max(found, default=(0, ""))[1]


def _encoded(parts: Iterable[str | bytes]) -> Iterator[bytes]:
    """Yield texts as bytes, many small ones together."""
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "backslashreplace")
        gathered.append(data)
        size += len(data)
        if size > _WRITE_SIZE:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)


def _made(parent: int, name: str, *, replaces: bool = False) -> int:
    """Open a directory of ours, made if it is not there; a link or file in its place is removed if it is to be replaced."""
    for _ in range(3):
        try:
            fd = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        except FileNotFoundError:
            with suppress(FileExistsError):
                os.mkdir(name, 0o777, dir_fd=parent)
            continue
        except OSError as error:
            if not replaces or error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            os.unlink(name, dir_fd=parent)
            continue
        try:
            _check_ours(fd)
        except OSError:
            os.close(fd)
            raise
        return fd
    raise NotADirectoryError(errno.ENOTDIR, "it is no directory", name)


def _own_name(run_id: str) -> str:
    """Return the name of a run's folder: the run's id, unless that is `.` or `..`, as a foreign writer may call a run."""
    return run_id if run_id.strip(".") else f"{run_id}~"


def _check_ours(fd: int) -> None:
    owner = os.fstat(fd).st_uid
    if owner != os.getuid():
        raise PermissionError(errno.EPERM, f"a directory belongs to uid {owner}, not to you (uid {os.getuid()})")


def _ignore(base: int) -> None:
    with suppress(FileExistsError):
        fd = os.open(".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=base)
        with open(fd, "w", encoding="utf-8") as file:
            file.write("# Made by threepiod.\n*\n")


def _pointed_at(base: int) -> str:
    try:
        return os.readlink("latest", dir_fd=base).rpartition("/")[2]
    except OSError:
        return ""


def _point_at(base: int, name: str, is_new: Callable[[str], bool]) -> None:
    known = _pointed_at(base)
    if known == name or (known and not is_new(known)):
        return
    with suppress(FileNotFoundError):
        os.unlink(_LINK_PART, dir_fd=base)
    os.symlink(f"runs/{name}", _LINK_PART, dir_fd=base)
    try:
        os.replace(_LINK_PART, "latest", src_dir_fd=base, dst_dir_fd=base)
    except OSError:
        os.unlink(_LINK_PART, dir_fd=base)
        raise
