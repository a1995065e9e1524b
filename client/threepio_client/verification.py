"""Verification: a run's journal against the store, line by line, and against the runner's own totals.

The proof that a user can run. It reads both by itself and compares number and checksum of every line, so it does not
depend on what the daemon believes.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from threepio_client.answers import TypeCount, Verification
from threepio_client.archive import Archive
from threepio_client.paths import StateDir
from threepio_client.runfiles import journal_files
from threepio_client.runjournal import RunJournal, Step
from threepio_client.runstate import RunState
from threepio_client.views import VIEW_VERSION

SETTLE_S: Final = 5.0
"""How long a daemon that is there may take to store what was in the journal when it was asked."""

_COUNT_OF_CATEGORY: Final = {"error": "errors", "retried": "rerun"}
"""Category names of pytest, and of pytest-retry, that differ from ours; spaces become underscores."""


def settle_and_verify(archive: Archive, run_id: str, *, wait: bool) -> dict[str, Any]:
    """Verify a run; where a daemon may still be storing it, look again for SETTLE_S before calling anything missing."""
    deadline = time.monotonic() + (SETTLE_S if wait else 0.0)
    while True:
        result = verify_run(archive, run_id)
        if not result["missing"] or time.monotonic() > deadline:
            return result
        time.sleep(0.2)


def verify_run(archive: Archive, run_id: str) -> dict[str, Any]:
    """Return the comparison of a run's journal with the store: see docs/json.md, `verify`.

    `missing` counts events that the journal lacks by its own numbering, that the store lacks, or that the store has with
    other content, and tests that the runner counted and the journal does not have.
    """
    stored_seq = getattr(archive.stored(run_id), "seq", 0)
    stored = archive.stored_lines(run_id)
    journal = _read(archive.state_dir, run_id)
    by_seq, state, problems = journal.by_seq, journal.state, journal.problems
    stored_by_seq = {seq: crc for seq, crc, _ in stored}
    absent = [seq for seq in by_seq if seq not in stored_by_seq]
    live = state.complete is None and archive.is_alive(run_id)
    pending = sum(1 for seq in absent if seq > stored_seq) if live else 0
    different = sum(1 for seq, crc in by_seq.items() if stored_by_seq.get(seq, crc) != crc)
    is_incomplete = journal.corrupt or journal.gaps or journal.is_unreadable
    invented = 0 if is_incomplete else sum(1 for seq in stored_by_seq if seq not in by_seq)
    not_counted = _compare_totals(state, problems)
    if len(absent) - pending:
        problems.append(f"{len(absent) - pending} events of the journal are not stored" + _advice(stored_seq))
    if different:
        problems.append(f"{different} events are stored with other content than the journal's")
    if invented:
        problems.append(f"{invented} events are stored that the journal does not have")
    if state.events_lost:
        problems.append(f"{state.events_lost} events lost, because nothing could be written")
    if state.complete is None and not live and not journal.is_unreadable:
        problems.append("note: the run was cut short, so there are no totals of the runner to compare with")
    torn = 0 if live else archive.torn(run_id)
    if torn:
        problems.append(f"note: {torn} bytes of a last line that was never finished: its writer was killed or cut off")
    missing = journal.gaps + len(absent) - pending + different + invented + not_counted
    duplicates = journal.repeated + len(stored) - len(stored_by_seq)
    answer: Verification = {
        "schema_version": VIEW_VERSION,
        "run_id": run_id,
        "whole": journal.is_there
        and not (journal.is_unreadable or missing or duplicates or journal.corrupt or journal.conflicts)
        and not state.events_lost,
        "journal_events": len(by_seq),
        "stored_events": len(stored),
        "missing": missing,
        "duplicates": duplicates,
        "corrupt": journal.corrupt,
        "conflicts": journal.conflicts,
        "pending": pending,
        "torn_bytes": torn,
        "events_lost": state.events_lost,
        "by_type": _by_type(journal.types, Counter(kind for _, _, kind in stored)),
        "problems": problems,
    }
    return {**answer}


@dataclass(kw_only=True)
class _Journal:
    """What a run's journal has, line by line.

    Attributes:
        is_there: whether there is a file of it.
        is_unreadable: whether one of them could not be read.
        by_seq: the checksum of each event, by its number.
        types: how many events there are of each type.
        state: what the events tell of the run.
        gaps: numbers up to the last one that no event has.
        corrupt: lines that are none.
        repeated: events that stand there again.
        conflicts: events that stand there again with other content.
        problems: all that in words, in the order of the lines.
    """

    is_there: bool
    is_unreadable: bool = False
    by_seq: dict[int, int] = field(default_factory=dict)
    types: Counter[str] = field(default_factory=Counter)
    state: RunState = field(default_factory=RunState)
    gaps: int = 0
    corrupt: int = 0
    repeated: int = 0
    conflicts: int = 0
    problems: list[str] = field(default_factory=list)


def _read(state_dir: StateDir, run_id: str) -> _Journal:
    files = journal_files(state_dir, run_id)
    found = _Journal(is_there=bool(files))
    numbers: Counter[int] = Counter()
    for step in _steps(state_dir, run_id, found):
        event = step.event
        numbers[step.file] += 1
        place = f"line {numbers[step.file]} of {files[step.file].name if step.file in files else 'the journal'}"
        if step.is_cut_off:
            found.problems.append(f"note: {place} and what follows {step.reason}: the machine went down")
        elif event is None:
            found.corrupt += 1
            found.state.fold_bad_line()
            found.problems.append(f"{place} is corrupt: {step.reason}")
        elif event.seq not in found.by_seq:
            found.by_seq[event.seq] = event.crc
            found.types[event.type] += 1
            found.state.fold(event)
        elif found.by_seq[event.seq] != event.crc:
            found.conflicts += 1
            found.problems.append(f"{place} has seq {event.seq} again, with other content")
        elif not step.file:  # a continuation begins with lines that stand in the files before it, too
            found.repeated += 1
            found.problems.append(f"{place} has seq {event.seq} again")
    last = max(found.by_seq, default=0)
    found.gaps = last - len(found.by_seq)
    if found.gaps:
        found.problems.append(f"{found.gaps} events up to number {last} are not in the journal")
    return found


def _steps(state_dir: StateDir, run_id: str, found: _Journal) -> Iterator[Step]:
    with closing(RunJournal(state_dir, run_id)) as journal:
        try:
            if not journal.look():
                place = state_dir.journal(run_id)
                found.problems.append(f"the journal {place} is not there: what is stored cannot be proved")
            yield from journal.steps(0, final=True)
        except OSError as error:
            found.is_unreadable = True
            which = error.filename or state_dir.journal(run_id)
            found.problems.append(f"the journal {which} cannot be read: {error.strerror}")


def _by_type(journal: Counter[str], stored: Counter[str]) -> dict[str, TypeCount]:
    return {name: {"journal": journal[name], "stored": stored[name]} for name in sorted(journal.keys() | stored.keys())}


def _compare_totals(state: RunState, problems: list[str]) -> int:
    """Return by how many tests the journal's lines and the runner's own totals differ."""
    totals = (state.complete or {}).get("totals")
    if not isinstance(totals, dict):
        return 0
    lacking = surplus = 0
    own: dict[str, int] = {}
    differences = []
    for category, total in totals.items():
        name = _COUNT_OF_CATEGORY.get(category, category.replace(" ", "_"))
        counted = state.counts.get(name)
        if type(total) is not int or counted == total:
            continue
        if counted is None:
            own[category] = total
            continue
        lacking += max(total - counted, 0)
        surplus += max(counted - total, 0)
        differences.append(f"the runner counted {total} {category}, the journal has {counted}")
    # What a conftest.py counts under a word of its own (pytest_report_teststatus) has an outcome like any other here.
    if not lacking and 0 < surplus <= sum(own.values()):
        told = ", ".join(f"{total} {category}" for category, total in own.items())
        problems.append(f"note: the runner counted {told}, in words of its own: here they count by their outcome")
        return 0
    problems += differences
    return lacking + max(surplus - sum(own.values()), 0)


def _advice(stored_seq: int) -> str:
    return "" if stored_seq else ": no daemon has taken this run yet, start one with: threepiod start"
