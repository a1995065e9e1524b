"""Which files make up a run's journal: `<run>.jsonl`, `<run>.1.jsonl` ... and those in the spare directory.

A run id may itself end in a number, so the name alone does not say whose a continuation is: its first line does, which is
the runStart again. Files that were compressed have `.gz` behind their name. Reads names and first lines only.
"""

from __future__ import annotations

import os
import re
import time
import zlib
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from threepio_client import clock
from threepio_client.errors import NoSuchRun
from threepio_client.events import LINE_LIMIT, EventType
from threepio_client.files import open_own
from threepio_client.journal import Record, parse, tail_size, whole_lines
from threepio_client.paths import COMPRESSED, FILES_LIMIT, SPARE_FROM, StateDir

NO_RUNS: Final = "there are no runs yet: run your tests with the plugin installed, or with: threepio run -- pytest"
PLAIN: Final = ".jsonl"
ABANDONED_S: Final = 600.0
"""A journal that has no first line after so long has a writer that died before it wrote one. An adapter waits for a daemon
before it, but for minutes only where THREEPIO_BLOCK_MS says so: such a run is taken up when it comes."""
_OF_A_RUN: Final = (PLAIN, PLAIN + COMPRESSED, ".observed" + PLAIN)
"""Endings of a run's first file, compressed or not, and of its observations."""
_NUMBERED: Final = re.compile(r"(?P<base>.+)\.(?P<number>[1-9][0-9]{0,3})")


def journal_files(state_dir: StateDir, run_id: str) -> dict[int, Path]:
    """Return the files of a run's journal that are there now, by number."""
    found = {}
    first = _existing(state_dir.journal(run_id))
    if first is not None:
        found[0] = first
    for start in (1, SPARE_FROM) if state_dir.spare is not None else (1,):
        for number in range(start, start + FILES_LIMIT):
            path = _existing(state_dir.journal(run_id, number))
            if path is None:
                break
            if _owner(path) in (run_id, ""):
                found[number] = path
    return found


def runs_of(state_dir: StateDir, without: Collection[str] = ()) -> dict[str, dict[int, Path]]:
    """Return the files of every run, by run id and number; those in the spare directory included.

    Args:
        state_dir: where to look.
        without: ids of runs of which nothing is wanted.

    Raises:
        OSError: the journals directory cannot be listed.
    """
    found: dict[str, dict[int, Path]] = {}
    # There may be thousands of names, and every question begins here.
    unwanted = {f"{run_id}{end}" for run_id in without for end in _OF_A_RUN}
    listed = {state_dir.journals: set(os.listdir(state_dir.journals)) - unwanted}
    if state_dir.spare is not None and os.path.isdir(state_dir.spare):
        listed[state_dir.spare] = set(os.listdir(state_dir.spare)) - unwanted
    stems = [(directory, name, _stem(name)) for directory, there in listed.items() for name in sorted(there)]
    # Where both are there, compressing was cut short: the plain file counts.
    stems = [
        (directory, name, stem)
        for directory, name, stem in stems
        if stem and not (name.endswith(COMPRESSED) and name.removesuffix(COMPRESSED) in listed[directory])
    ]
    known = {stem for _, _, stem in stems}
    for directory, name, stem in stems:
        path = directory / name
        numbered = _NUMBERED.fullmatch(stem) if stem[-1].isdecimal() else None
        if numbered is None:
            found.setdefault(stem, {})[0] = path
            continue
        base, owner = numbered["base"], _owner(path)
        if owner == base or (owner == "" and (base in known or base in without)):
            found.setdefault(base, {})[int(numbered["number"])] = path
        elif owner is not None or base not in known:
            found.setdefault(stem, {})[0] = path
    return found


def find_run(state_dir: StateDir, run_ids: list[str], reference: str) -> str:
    """Return the run id that a reference means among ids, the latest first: an id, or a unique prefix of one.

    Raises:
        NoSuchRun: there is no such run, or several; or it is that of a command that began none.
    """
    if not run_ids:
        raise NoSuchRun(NO_RUNS)
    if reference in run_ids:
        return reference
    if os.sep not in reference and os.path.exists(output := state_dir.output(reference)):
        raise NoSuchRun(f"no run {reference} has begun; what its command printed: {output}")
    found = [run_id for run_id in run_ids if run_id.startswith(reference)]
    if not found:
        raise NoSuchRun(f"no run begins with {reference!r}: see them with: threepio runs")
    if len(found) > 1:
        shown = ", ".join(found[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise NoSuchRun(f"{len(found)} runs begin with {reference!r}: {shown}")
    return found[0]


def started_by(journal: Path) -> float:
    """Return when a run that is not in the store began: by its first line, else by the file's own time."""
    with suppress(OSError):
        first = first_record(journal)
        if first is not None and first.event is not None:
            return first.event.timestamp
    try:
        return journal.stat().st_mtime
    except OSError:
        return 0.0


def open_plain(path: Path) -> int:
    """Return a descriptor of the file's plain bytes; a compressed one is unpacked into a temporary file without a name.

    A plain file that has just been compressed is found under its new name.

    Raises:
        OSError: it cannot be read, another user made it (the directory was left open by mistake), or it is no whole
            compressed file.
    """
    try:
        fd = open_own(path, os.O_RDONLY)
    except FileNotFoundError:
        if path.suffix == COMPRESSED:
            raise
        path = path.with_name(path.name + COMPRESSED)
        fd = open_own(path, os.O_RDONLY)
    if path.suffix != COMPRESSED:
        return fd
    import gzip  # these take time, and are needed for old runs only
    import shutil
    import tempfile

    with os.fdopen(fd, "rb") as file, gzip.open(file) as plain, tempfile.TemporaryFile() as room:
        try:
            shutil.copyfileobj(plain, room)
        except (EOFError, zlib.error) as error:
            raise OSError(None, f"the compressed journal {path} is damaged") from error
        room.flush()
        return os.dup(room.fileno())


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 if it cannot be looked at."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


_BY_FILE: Final = "file-"
"""How the producer of a journal begins whose runStart cannot be read."""
_EARLY: Final = 1024
"""Bytes of a journal in which runStart has named its producer: only numbers and ids come before."""


def producer_of(files: dict[int, Path]) -> str | None:
    """Return the producer that a journal's runStart names; the file's own identity where that is not readable.

    None if the first line is not there yet. A power cut may leave the first file empty, and what the daemon had to write
    again in the next one.

    Raises:
        OSError: a file cannot be read.
    """
    for _, path in sorted(files.items()):
        first = first_record(path)
        if first is None:
            continue
        if first.event is not None and first.event.type == EventType.RUN_START:
            return str(first.event.payload.get("producerId", ""))
        return f"{_BY_FILE}{path.stat().st_ino}"
    return None


def is_of_another(files: dict[int, Path], producer_id: str) -> bool:
    """Return whether a journal is of another run than the one of this producer, whose id it has; unknown is no."""
    try:
        if _says_early(files[min(files)], producer_id):
            return False
        found = producer_of(files)
    except OSError:
        return False
    return bool(found) and found != producer_id and not str(found).startswith(_BY_FILE)


def _says_early(path: Path, producer_id: str) -> bool:
    """Return whether a journal's first bytes name this producer: most often, and much sooner read than its first line."""
    fd = open_own(path, os.O_RDONLY)
    try:
        return f'"producerId":"{producer_id}"'.encode() in os.pread(fd, _EARLY, 0)
    finally:
        os.close(fd)


def was_abandoned(files: dict[int, Path]) -> bool:
    """Return whether a journal, by number of its files, has no first line and is so old that none will come.

    Raises:
        OSError: a file cannot be read.
    """
    if producer_of(files) is not None:
        return False
    # Ours goes on from the time at our start, which may have been set right since: the earlier one gives up less.
    return min(clock.wall(), time.time()) - last_change(files.values()) > ABANDONED_S


def last_change(paths: Iterable[Path]) -> float:
    """Return when the last of these files was changed, in seconds since the epoch; 0 if there is none."""
    times = [0.0]
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)


def has_more(path: Path, offset: int) -> bool:
    """Return whether a plain journal file has whole lines beyond a byte; False if it cannot be looked at."""
    try:
        return size_of(path) > offset and not is_stored(path, offset)
    except OSError:
        return False


def is_stored(path: Path, offset: int) -> bool:
    """Return whether everything in a plain journal file is stored, which it is up to byte `offset`.

    A last line that was begun and never finished, by a writer that is gone, is nothing that could be stored.

    Raises:
        OSError: it cannot be read, or is not ours.
    """
    fd = open_own(path, os.O_RDONLY)
    try:
        return offset >= os.fstat(fd).st_size - tail_size(fd)
    finally:
        os.close(fd)


def first_record(path: Path) -> Record | None:
    """Return the first whole line of a journal file, compressed or not, without unpacking the rest; None if there is none.

    Raises:
        OSError: it cannot be read.
    """
    if path.suffix != COMPRESSED:
        fd = open_plain(path)
        try:
            found = next(whole_lines(fd, 0), None)
        finally:
            os.close(fd)
        return None if found is None else parse(*found)
    import gzip

    with os.fdopen(open_own(path, os.O_RDONLY), "rb") as file, gzip.open(file) as plain:
        try:
            line = plain.readline(LINE_LIMIT + 1)
        except (EOFError, zlib.error) as error:
            raise OSError(None, f"the compressed journal {path} is damaged") from error
    is_whole = line.endswith(b"\n") or len(line) > LINE_LIMIT
    return parse(line.removesuffix(b"\n"), len(line)) if is_whole else None


def _stem(name: str) -> str:
    """Return the name of a journal file without its ends, empty for other files."""
    plain = name.removesuffix(COMPRESSED)
    stem = plain.removesuffix(PLAIN)
    return "" if stem == plain or stem.endswith(".observed") else stem


def _existing(path: Path) -> Path | None:
    packed = path.with_name(path.name + COMPRESSED)
    # A Path's own `exists` raises where a directory cannot be searched.
    return path if os.path.exists(path) else packed if os.path.exists(packed) else None


def _owner(path: Path) -> str | None:
    """Return the run id in the file's runStart; "" if its first line does not tell; None if none is there yet."""
    try:
        first = first_record(path)
    except OSError:
        return ""
    if first is None:
        return None
    event = first.event
    if event is None or event.type != EventType.RUN_START:
        return ""
    return str(event.payload.get("runId", ""))
