"""The page of one group, as its tests are told one after the other: in little memory, whatever their number.

Nearly all tests just passed, so that is done in the shortest way, many lines at a time. Not here: where the rows come from
(`grouptests.py`), and how a test looks that has more to say (`threepio_client.report.markdown`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from heapq import merge
from math import fsum
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

from threepio_client.events import BAD, Payload, Status
from threepio_client.line import NAME_LIMIT
from threepio_client.report.markdown import (
    RESULTS_SHOWN,
    SYMBOLS,
    case_lines,
    microseconds,
    section_head,
    shown_ms,
    standing_of,
    worker_text,
)
from threepio_client.report.model import IN_FLIGHT, NEVER_RAN, Case
from threepio_client.report.texts import code
from threepio_client.results import Result, of_row

SPOOL_SIZE: Final = 512 * 1024
"""Bytes of one section of a page that are kept in memory."""
READ_SIZE: Final = 64 * 1024
LINES: Final = 500
LINES_SIZE: Final = 128 * 1024
"""Lines of a page that are looked at and written together, and their characters: less than the allocator gives back each
time."""
_SHORT_US: Final = 99_900
_SHOWN: Final = [shown_ms(us) for us in range(0, _SHORT_US + 100, 100)]
"""Most durations, as they are shown."""
_PASS: Final = str(Status.PASS)
_SKIP: Final = str(Status.SKIP)
_BEGIN: Final = {standing: f"- {SYMBOLS[standing]} `".encode() for standing in (_PASS, _SKIP)}
"""How the line of a test begins that is told by a line alone."""
_TICKS: Final = {_PASS: b"`\n", _SKIP: b"```\n"}
"""What is left of such a line, after its beginning, without the characters that need no escaping."""
_HARMLESS: Final = bytes(byte for byte in range(0x20, 0x7F) if byte != ord("`"))
_REASON: Final = ('{"skipReason":"', '"}')
"""What stands before and behind the reason of a test that was skipped, in the JSON of its details, if that is all of it."""
Row = tuple[Any, ...]
"""(node id, seq, started, duration, worker, crc) of a test that passed, or (node id, seq, status, phase, started, duration,
worker, crc, details): `Batch.passed` and `Batch.results`."""
_duration: Final = itemgetter(3)
nodeid_of: Final = itemgetter(0)
"""Return the node id of a row."""


class Several:
    """The results of one test: as many as are told, and of the others those that decide what became of it.

    Attributes:
        nodeid: the test.
        results: the first ones.
        deciding: of those that are not told.
        left_out: how many are not told.
        stored: how many there are; what could not be collected is none.
    """

    def __init__(self, nodeid: str) -> None:
        self.nodeid = nodeid
        self.results: list[Result] = []
        self.deciding: list[Result] = []
        self.left_out = 0
        self.stored = 0
        self._is_bad = self._is_decided = self._is_passing_by = False

    def add(self, result: Result, row: Row) -> None:
        """Add the next one, made of this row."""
        self.stored += len(row) == 6 or row[7] is not None
        if len(self.results) < RESULTS_SHOWN:
            self.results.append(result)
            return
        self.left_out += 1
        # `results.outcomes` asks for attempts, what was bad first in the last one, what came before that, and the last.
        is_rerun, is_bad = result.status == Status.RERUN, result.status in BAD
        decides = is_rerun or (is_bad and not self._is_bad) or (result.subtest is None and not self._is_decided)
        if self._is_passing_by and not decides:
            self.deciding.pop()
        kept: Payload = {name: result.details[name] for name in ("subtest", "countedAs") if name in result.details}
        self.deciding.append(result._replace(details=kept))
        self._is_passing_by = not decides
        self._is_bad = not is_rerun and (self._is_bad or is_bad)
        self._is_decided = not is_rerun and (self._is_decided or result.subtest is None)


class GroupPage:
    """The sections of a page, as they grow.

    Attributes:
        name: the group.
        counts: how many tests have each standing.
        spent: sum of the tests' durations, microseconds.
        results: how many results they have.
        ran: tests that have any.
    """

    def __init__(self, name: str, stack: ExitStack, spool_dir: Path) -> None:
        self.name = name
        self.counts: Counter[str] = Counter()
        self.spent = 0
        self.results = 0
        self.ran = 0
        self._stack = stack
        self._spool_dir = spool_dir
        self._begin = f"{name}::"
        self._at = len(self._begin)
        self._sections: dict[str, _Section] = {}
        self._plain = {standing: _Plain() for standing in _BEGIN}
        self._without_outcome: list[Case] = []

    @property
    def size(self) -> int:
        """Bytes of its text that are in memory."""
        return sum(section.size for section in self._sections.values())

    def add_passed(self, rows: list[Row]) -> None:
        """Add tests that passed, sorted; this runs for nearly every test. Their durations are whole microseconds."""
        at = self._at
        has_workers = any(map(itemgetter(4), rows))
        for first in range(0, len(rows), LINES):
            some = rows[first : first + LINES]
            took = list(map(_duration, some))
            if not has_workers and max(took) < _SHORT_US / 1000:
                lines = [f"{row[0][at:]}` {_SHOWN[int(row[3] * 10 + 0.5)]}" for row in some]
            else:
                lines = [f"{row[0][at:]}` {_took(microseconds(row[3]), row[4])}" for row in some]
            self._write_lines(_PASS, lines, some, round(fsum(took) * 1000))

    def add_skipped(self, rows: list[Row]) -> bool:
        """Add tests that were skipped, sorted, each with this result only; return whether a line alone tells each.

        If it does not, none is added.
        """
        ends = {details: _end(details) for details in {row[8] for row in rows}}
        if None in ends.values() or not all(row[0].startswith(self._begin) for row in (rows[0], rows[-1])):
            return False
        if max(map(len, map(nodeid_of, rows))) > NAME_LIMIT:
            return False
        at = self._at
        for first in range(0, len(rows), LINES):
            some = rows[first : first + LINES]
            spent = [microseconds(row[5]) for row in some]
            lines = [f"{row[0][at:]}` {_took(us, row[6])}{ends[row[8]]}" for row, us in zip(some, spent, strict=True)]
            self._write_lines(_SKIP, lines, some, sum(spent))
        return True

    def add_plain(self, row: Row) -> bool:
        """Add a test that has only this result, if that is told by a line alone; return whether it is."""
        end: str | None = ""
        if len(row) == 6:
            nodeid, _, _, duration, worker, _ = row
            standing = _PASS
        else:
            nodeid, _, standing, _, _, duration, worker, crc, details = row
            if standing == _SKIP and crc is not None:
                end = _end(details)
            elif standing != _PASS or details is not None:
                return False
        if end is None or type(duration) is not float or not nodeid.startswith(self._begin):
            return False
        spent = microseconds(duration)
        plain = self._plain[standing]
        plain.lines.append(f"{nodeid[self._at :]}` {_took(spent, worker)}{end}")
        plain.rows.append(row)
        plain.spent += spent
        plain.size += len(plain.lines[-1])
        if len(plain.lines) >= LINES or plain.size >= LINES_SIZE:
            self._write_plain(standing)
        return True

    def _write_plain(self, standing: str) -> None:
        plain = self._plain[standing]
        if plain.lines:
            self._plain[standing] = _Plain()
            self._write_lines(standing, plain.lines, plain.rows, plain.spent)

    def _write_lines(self, standing: str, lines: list[str], rows: list[Row], spent: int) -> None:
        """Write the lines of tests that are told by a line alone, sorted and from their names on, as `_BEGIN` begins them.

        Where something may have to be escaped in a name, each line is made anew. Done with ASCII bytes, which is quickest:
        the symbol would make each line one of wide characters.
        """
        text = "\n".join(lines)
        data = text.encode("ascii") if text.isascii() else b""
        if (
            data.translate(None, _HARMLESS) == (_TICKS[standing] * len(lines))[:-1]
            and (b"#" not in data or b"##" not in data)
            and data[:1] != b"`"  # an empty name
            and b"\n`" not in data
            and (data[:1] >= b";" or not (data[:1] in b" :" or b"\n:" in data or b"\n " in data))
        ):
            begin = _BEGIN[standing]
            self._section(standing).write(begin + data.replace(b"\n", b"\n" + begin) + b"\n")
        else:
            self._section(standing).write("".join(map(self._escaped, rows)))
        self.counts[standing] += len(rows)
        self.results += len(rows)
        self.ran += len(rows)
        self.spent += spent

    def _escaped(self, row: Row) -> str:
        if len(row) == 6:
            nodeid, seq, _, duration, worker, _ = row
            return "".join(case_lines(self.name, Case(nodeid, Status.PASS, 1, None, duration, worker, ())))
        nodeid, seq, standing, phase, _, duration, worker, _, details = row
        said = (of_row((nodeid, seq, standing, phase, None, duration, worker, details)),) if details else ()
        return "".join(case_lines(self.name, Case(nodeid, standing, 1, None, duration, worker, said)))

    def add(self, case: Case, left_out: int = 0) -> None:
        """Add a test that is told at length, or has no outcome; `left_out` of its results are not in it."""
        if case.standing in (IN_FLIGHT, NEVER_RAN):
            self._without_outcome.append(case)
        else:
            self._add(case, left_out)

    def add_rest(self, never_ran: Iterable[Case]) -> None:
        """Add the tests without an outcome: those that were given before, and these, which are sorted."""
        for standing in self._plain:
            self._write_plain(standing)
        if self._without_outcome or never_ran:
            for case in merge(sorted(self._without_outcome), never_ran):
                self._add(case)

    def sections(self) -> Iterator[str | bytes]:
        """Yield the sections."""
        for standing in SYMBOLS:
            section = self._sections.get(standing)
            if section is not None:
                yield section_head(standing, self.counts[standing])
                yield from section.read()

    def _add(self, case: Case, left_out: int = 0) -> None:
        standing = standing_of(case)
        if standing in self._plain:
            self._write_plain(standing)  # those before it
        section = self._section(standing)
        for text in case_lines(self.name, case, left_out):
            section.write(text)
        self.counts[standing] += 1
        self.spent += microseconds(case.duration_ms)

    def _section(self, standing: str) -> _Section:
        section = self._sections.get(standing)
        if section is None:
            section = self._sections[standing] = _Section(self._stack, self._spool_dir)
        return section


@dataclass(slots=True)
class _Plain:
    """Tests that are told by a line alone and are not written yet.

    Attributes:
        lines: from their names on.
        rows: they.
        spent: sum of their durations, microseconds.
        size: characters of the lines.
    """

    lines: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    spent: int = 0
    size: int = 0


class _Section:
    """The text of a section: in memory as long as it is small, then in a file that has no name.

    Attributes:
        size: bytes that are in memory.
    """

    def __init__(self, stack: ExitStack, spool_dir: Path) -> None:
        self._stack = stack
        self._spool_dir = spool_dir
        self._parts: list[bytes] = []
        self.size = 0
        self._file: IO[bytes] | None = None

    def write(self, text: str | bytes) -> None:
        """Add to it; bytes are UTF-8."""
        data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
        self._parts.append(data)
        self.size += len(data)
        if self.size > SPOOL_SIZE:
            if self._file is None:
                self._file = TemporaryFile(dir=self._spool_dir)  # noqa: SIM115 - it is closed with the page
                self._stack.enter_context(self._file)
            self._file.writelines(self._parts)
            self._parts, self.size = [], 0

    def read(self) -> Iterator[bytes]:
        """Yield it, once."""
        if self._file is not None:
            self._file.seek(0)
            while data := self._file.read(READ_SIZE):
                yield data
        yield from self._parts


def _took(spent: int, worker: str | None) -> str:
    took = _SHOWN[(spent + 50) // 100] if spent < _SHORT_US else shown_ms(spent)
    return f"{took}{worker_text(worker)}" if worker else took


def _end(details: str | None) -> str | None:
    """Return how the line of a test that was skipped ends; None if there is more in its details, or it needs escaping."""
    reason = (details or "")[len(_REASON[0]) : -len(_REASON[1])]
    if details != reason.join(_REASON) or '"' in reason or "\\" in reason or code(reason) != f"`{reason}`":
        return None
    return f": `{reason}`"
