"""Crash states: what a disk may hold after a power cut in the middle of a log of changes and syncs.

The model is strict. What was not synced may be missing from the end, and each of its 512-byte sectors may be lost (old
content or a hole) or zeroed. A name may be gone until its directory is synced, whatever was synced of the file. What a
failed sync covered is not durable, and no later sync of that file makes it so. Sectors are written whole: one that holds
something durable keeps it.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.faults import disk_log
from tests.faults.disk_log import Step

SECTOR: Final = 512


@dataclass(eq=False)
class _File:
    changes: list[tuple[int, Step]] = field(default_factory=list)
    syncs: list[tuple[int, int, bool]] = field(default_factory=list)
    """(where it began, where it ended, whether it worked)"""

    def durable(self, cut: int) -> list[bool]:
        """Return for each change before the cut whether a sync has made it durable."""
        found = []
        for index, _ in self.changes:
            if index >= cut:
                break
            is_durable = False
            for begin, end, worked in self.syncs:
                if index < begin < cut:
                    if worked and end < cut:
                        is_durable = True
                    if is_durable or not worked:
                        break  # after a failure no later sync covers it
            found.append(is_durable)
        return found


@dataclass(frozen=True, kw_only=True)
class _NameChange:
    """A change of a directory: a name that comes, goes, or comes in another's place."""

    index: int
    directory: str
    gone: str = ""
    come: str = ""
    thing: _File | None = None
    """The file that comes; None for a directory."""


class CrashLog:
    """All crash states of one log.

    Attributes:
        root: the directory that everything happened in; it was there before and stays.
        steps: the log.
    """

    def __init__(self, root: Path, steps: list[Step]) -> None:
        self.root = str(root)
        self.steps = steps
        self._names: list[_NameChange] = []
        self._directory_syncs: dict[str, list[tuple[int, int]]] = defaultdict(list)
        self._read()

    def state(self, cut: int, chance: random.Random, *, lose_all: bool = False) -> dict[str, bytes | None]:
        """Return one of the states that a power cut after `cut` steps may leave: path -> content, None for a directory.

        With `lose_all` it is the hardest one for a promise: nothing is left that was not synced.
        """
        tree: dict[str, _File | None] = {}
        skipped: set[str] = set()
        for change in self._names:
            if change.index >= cut:
                break
            touched = {change.gone, change.come} - {""}
            is_durable = any(
                change.index < begin and end < cut for begin, end in self._directory_syncs[change.directory]
            )
            if not is_durable and (touched & skipped or lose_all or chance.random() < 0.3):
                skipped |= touched
                continue
            skipped -= touched
            tree.pop(change.gone, None)
            if change.come:
                tree[change.come] = change.thing
        found: dict[str, bytes | None] = {}
        for path in sorted(tree):
            parent = path.rpartition("/")[0]
            if parent == self.root or parent.removeprefix(self.root + "/") in found:
                thing = tree[path]
                found[path.removeprefix(self.root + "/")] = (
                    None if thing is None else _content(thing, cut, chance, lose_all=lose_all)
                )
        return found

    def _read(self) -> None:
        files: dict[int, _File] = {}
        begun: dict[tuple[int, int, int], int] = {}
        tree: dict[str, _File] = {}
        for index, step in enumerate(self.steps):
            directory = step.path.rpartition("/")[0]
            if step.kind in (disk_log.CREATE, disk_log.MKDIR):
                thing = None
                if step.kind == disk_log.CREATE:
                    thing = files[step.inode] = tree[step.path] = _File()
                self._names.append(_NameChange(index=index, directory=directory, come=step.path, thing=thing))
            elif step.kind == disk_log.UNLINK:
                self._names.append(_NameChange(index=index, directory=directory, gone=step.path))
            elif step.kind == disk_log.RENAME:
                come = step.data.decode()
                assert come.rpartition("/")[0] == directory, "a rename between directories is not modelled"
                tree[come] = tree.pop(step.path)
                self._names.append(
                    _NameChange(index=index, directory=directory, gone=step.path, come=come, thing=tree[come])
                )
            elif step.kind in (disk_log.WRITE, disk_log.TRUNCATE):
                files[step.inode].changes.append((index, step))
            elif step.kind == disk_log.SYNC_BEGIN:
                begun[step.pid, step.fd, step.inode] = index
            elif step.kind == disk_log.SYNC_END:
                begin = begun.pop((step.pid, step.fd, step.inode))
                if step.inode in files:
                    files[step.inode].syncs.append((begin, index, step.result == 0))
                elif step.result == 0:
                    self._directory_syncs[step.path].append((begin, index))


def _content(file: _File, cut: int, chance: random.Random, *, lose_all: bool) -> bytes:
    durable = file.durable(cut)
    changes = [step for _, step in file.changes[: len(durable)]]
    if all(durable) or lose_all:
        return _applied(changes, durable)
    volatile = [number for number, is_durable in enumerate(durable) if not is_durable]
    mode = chance.choice(("all", "none", "torn", "sectors", "sectors"))
    if mode == "none":
        return _applied(changes, durable)
    if mode == "all":
        return _applied(changes, [True] * len(changes))
    last = chance.choice(volatile)
    kept = [is_durable or number <= last for number, is_durable in enumerate(durable)]
    if mode == "torn":
        cut_short = list(changes)
        size = len(cut_short[last].data)
        cut_short[last] = cut_short[last]._replace(data=cut_short[last].data[: chance.randrange(size + 1)])
        return _applied(cut_short, kept)
    return _lost_sectors(changes, durable, kept, chance)


def _lost_sectors(changes: list[Step], durable: list[bool], kept: list[bool], chance: random.Random) -> bytes:
    """Return the content where each not-synced sector was written, lost or zeroed by itself."""
    size = len(_applied(changes, kept))  # the size may have reached the disk without what is in it
    old, new = (_applied(changes, which).ljust(size, b"\0")[:size] for which in (durable, [True] * len(changes)))
    touched: set[int] = set()
    held: set[int] = set()
    for step, is_durable in zip(changes, durable, strict=True):
        end = step.offset + len(step.data) if step.kind == disk_log.WRITE else size
        sectors = range(step.offset // SECTOR, -(-end // SECTOR))
        if is_durable:
            held.update(sectors)
        else:
            touched.update(sectors)
            if step.kind == disk_log.WRITE:  # wholly overwritten: nothing durable is in it any more
                held.difference_update(range(-(-step.offset // SECTOR), end // SECTOR))
    found = bytearray(old)
    for sector in sorted(touched):
        part = slice(sector * SECTOR, min((sector + 1) * SECTOR, size))
        fate = chance.random()
        if fate < 0.5:
            found[part] = new[part]
        elif fate < 0.6 and sector not in held:
            found[part] = bytes(len(found[part]))
    return bytes(found)


def _applied(changes: list[Step], which: list[bool]) -> bytes:
    found = bytearray()
    for step, wanted in zip(changes, which, strict=True):
        if not wanted:
            continue
        if step.kind == disk_log.TRUNCATE:
            found[:] = found[: step.offset].ljust(step.offset, b"\0")
        else:
            if len(found) < step.offset:
                found += bytes(step.offset - len(found))
            found[step.offset : step.offset + len(step.data)] = step.data
    return bytes(found)


def put_down(state: dict[str, bytes | None], root: Path) -> None:
    """Make a state's directories and files in an empty directory."""
    root.mkdir(mode=0o700)
    for name, content in state.items():
        path = root / name
        if content is None:
            path.mkdir(mode=0o700)
        else:
            path.write_bytes(content)
            path.chmod(0o600)
