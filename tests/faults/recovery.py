"""Recovery after a crash, by the real daemon in this process, and what may be asked of what it finds.

Whatever the crash left: starting never raises, nothing is invented, what was acked is there, and the store has nothing
that the journal does not have.
"""

from __future__ import annotations

import logging
import random
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import trio
from trio.testing import MockClock

from tests.daemon_here import serving
from tests.faults.crash_states import CrashLog, put_down
from tests.faults.disk_log import CREATE, WRITE, AckSent, Step
from tests.place import Place
from threepio_client.archive import Archive
from threepio_client.journal import parse, records
from threepio_client.paths import StateDir
from threepio_client.verification import verify_run

PATIENCE_S: Final = 20.0
"""Recovery of a small state directory takes some 20 ms; longer than this it hangs."""
LOSE_ALL: Final = 0.4
"""Share of the states in which nothing is left that was not synced."""
AUTOJUMP_S: Final = 0.002
LOOK_EVERY_S: Final = 0.050
_JOURNAL: Final = re.compile(r"(?P<run>[a-z0-9]+)(\.[0-9]+)?\.jsonl")
"""A run's journal files: the first, and those it went on in after a failed sync. Run ids of an emitter have no dot."""

Lines = dict[str, dict[int, int]]
"""run id -> seq -> crc."""


def run_of(name: str) -> str | None:
    """Return the run that a file of the journals directory belongs to, None if it is no journal."""
    match = _JOURNAL.fullmatch(name)
    return match["run"] if match else None


def emitted_lines(steps: list[Step]) -> Lines:
    """Return every line that was written to a journal."""
    files: dict[int, tuple[str, bytearray]] = {}
    for step in steps:
        if step.kind == CREATE:
            files[step.inode] = (step.path.rpartition("/")[2], bytearray())
        elif step.kind == WRITE and run_of(files[step.inode][0]):
            content = files[step.inode][1]
            content[step.offset : step.offset + len(step.data)] = step.data
    found: Lines = defaultdict(dict)
    for name, content in files.values():
        run_id = run_of(name)
        for raw in content.split(b"\n") if run_id else ():
            event = parse(bytes(raw), 0).event
            if event is not None and run_id is not None:
                found[run_id][event.seq] = event.crc
    return found


def readable_lines(state_dir: StateDir) -> Lines:
    """Return what can be read in the journals; of equal seqs the first readable one counts."""
    found: Lines = defaultdict(dict)
    for path in sorted(state_dir.journals.iterdir(), key=lambda path: (len(path.name), path.name)):
        run_id = run_of(path.name)
        for record in records(path) if run_id else ():
            if record.event is not None and run_id is not None:
                found[run_id].setdefault(record.event.seq, record.event.crc)
    return found


class Judge:
    """Recovers crash states and says what does not hold."""

    def __init__(self, emitted: Lines, acks: list[AckSent]) -> None:
        self._emitted = emitted
        self._acks = acks
        self._log = _Kept()

    def judge(self, state: dict[str, bytes | None], cut: int, directory: Path) -> str:
        """Recover one state in an empty directory; return what does not hold, empty if all does."""
        place = Place(directory)
        put_down(state, place.state_dir.path)
        logger = logging.getLogger("threepiod")
        logger.addHandler(self._log)
        logger.propagate = False
        self._log.errors.clear()
        try:
            # The daemon looks again for what is not there yet after a quarter of a second: here that passes at once.
            trio.run(_recover, place, clock=MockClock(autojump_threshold=AUTOJUMP_S))
            found = self._compare(place.state_dir, cut)
        except (Exception, ExceptionGroup) as error:  # noqa: BLE001 - that nothing raises is what is asked
            found = f"recovery raises {error!r}"
        finally:
            logger.removeHandler(self._log)
            logger.propagate = True
        return found or "; ".join(text for text in self._log.errors if "ended by an error" in text)

    def _compare(self, state_dir: StateDir, cut: int) -> str:
        archive = Archive(state_dir)
        journal = readable_lines(state_dir)
        acked: dict[str, int] = defaultdict(int)
        for ack in self._acks:
            if ack.at < cut:
                acked[ack.run_id] = max(acked[ack.run_id], ack.seq)
        runs = set(archive.run_ids())
        if archive.trouble:
            return archive.trouble
        for run_id in sorted(runs | acked.keys()):
            stored = {seq: crc for seq, crc, _ in archive.stored_lines(run_id)} if run_id in runs else {}
            emitted = self._emitted.get(run_id, {})
            recovered = journal[run_id] | stored
            if invented := sorted(seq for seq, crc in recovered.items() if emitted.get(seq) != crc):
                return f"run {run_id}: seqs {invented[:5]} are recovered and were never emitted so"
            if lost := sorted(set(range(1, acked[run_id] + 1)) - recovered.keys()):
                return f"run {run_id}: acked up to {acked[run_id]}, {len(lost)} of them lost: {lost[:5]}"
            if ahead := sorted(stored.keys() - journal[run_id].keys()):
                return f"run {run_id}: seqs {ahead[:5]} are stored and not in the journal"
            if run_id in runs:
                verify_run(archive, run_id)
        return ""


def judge_states(
    log: CrashLog,
    judge: Judge,
    acks: list[AckSent],
    count: int,
    seed: int,
    *,
    enough: int = 3,
    within: tuple[int, int] | None = None,
) -> tuple[int, list[str]]:
    """Recover `count` crash states; return how many were tried and what does not hold.

    First come the hardest ones, a cut right after each ack and at the end; the others are chosen by the seed. It ends
    early at `enough` failures: more say no more. `within` names the steps between which all cuts are to lie.
    """
    chance = random.Random(seed)
    cuts = [*((ack.at + 1, True) for ack in acks), (len(log.steps), True)]
    if within is not None:
        cuts = [(chance.randint(*within), chance.random() < LOSE_ALL) for _ in range(count)]
    while len(cuts) < count:
        near_ack = bool(acks) and chance.random() < 0.5
        cut = chance.choice(acks).at + 1 if near_ack else chance.randrange(len(log.steps) + 1)
        cuts.append((cut, chance.random() < LOSE_ALL))
    failures: list[str] = []
    base = Path(tempfile.mkdtemp(prefix="cut-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    tried = 0
    try:
        for cut, lose_all in cuts:
            if len(failures) == enough:
                break
            directory = base / str(tried)
            directory.mkdir()
            state = log.state(cut, random.Random(seed * 1_000_003 + tried), lose_all=lose_all)
            found = judge.judge(state, cut, directory)
            if found:
                failures.append(f"seed {seed}, state {tried}, after {cut} of {len(log.steps)} steps: {found}")
            shutil.rmtree(directory)
            tried += 1
    finally:
        shutil.rmtree(base)
    return tried, failures


async def _recover(place: Place) -> None:
    deadline = time.monotonic() + PATIENCE_S
    async with serving(place) as served:
        archive = Archive(served.state_dir)
        while not all(_is_over(archive, path) for path in _first_files(served.state_dir)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"recovery does not end within {PATIENCE_S:g} s")
            await trio.sleep(LOOK_EVERY_S)


def _first_files(state_dir: StateDir) -> Iterable[Path]:
    return [path for path in state_dir.journals.iterdir() if run_of(path.name) == path.name.removesuffix(".jsonl")]


def _is_over(archive: Archive, journal: Path) -> bool:
    """Whether a run whose beginning can be read is wholly recovered; its process is gone, so that has an end."""
    first = next(records(journal), None)
    if first is None or first.event is None:
        return True
    stored = archive.stored(run_of(journal.name) or "")
    return stored is not None and stored.final


class _Kept(logging.Handler):
    """Keeps what the daemon logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(record.getMessage())
