"""The page of one group, as its tests are told one after the other: in little memory, whatever their number.

Nearly all tests just passed, so that is done in the shortest way, many lines at a time. Not here: where the rows come from
(`pages.py`), and how a test looks that has more to say (`threepio_client.report.markdown`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from heapq import merge
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

from threepio_client.events import Payload, Status
from threepio_client.report.markdown import (
    BAD,
    LONGEST_MS,
    RESULTS_SHOWN,
    SYMBOLS,
    case_lines,
    microseconds,
    section_head,
    shown_ms,
    standing_of,
)
from threepio_client.report.model import IN_FLIGHT, NEVER_RAN, Case
from threepio_client.results import Result, of_row

SPOOL_SIZE: Final = 512 * 1024
"""Bytes of one section of a page that are kept in memory."""
READ_SIZE: Final = 64 * 1024
LINES: Final = 500
"""Lines of a page that are looked at and written together: less than the allocator gives back each time."""
_SHORT_US: Final = 99_900
_SHOWN: Final = [shown_ms(us) for us in range(0, _SHORT_US + 100, 100)]
"""Most durations, as they are shown."""
_PASS: Final = str(Status.PASS)
_SKIP: Final = str(Status.SKIP)
_PLAIN_SYMBOLS: Final = {standing: SYMBOLS[standing] for standing in (_PASS, _SKIP)}
_PASSED_BEGIN: Final = f"- {SYMBOLS[Status.PASS]} `".encode()
_REASON: Final = ('{"skipReason":"', '"}')
"""What stands before and behind the reason of a test that was skipped, in the JSON of its details, if that is all of it."""
_TO_ESCAPE: Final = ("``", "`::", "` ::", "`  ", "##[")
"""What `texts.code` would not show as it is."""
Row = tuple[Any, ...]
"""(node id, seq, started, duration, worker, crc) of a test that passed, or (node id, seq, status, phase, started, duration,
worker, crc, details): `Batch.passed` and `Batch.results`."""


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
        self._lines: dict[str, list[str]] = {standing: [] for standing in _PLAIN_SYMBOLS}
        self._rows: dict[str, list[Row]] = {standing: [] for standing in _PLAIN_SYMBOLS}
        self._without_outcome: list[Case] = []

    def add_passed(self, rows: list[Row]) -> None:
        """Add tests of `Batch.passed`, sorted; this runs for nearly every test.

        Their names are ASCII without control characters other than DEL, their durations are not negative: `line.Passed`.
        """
        at, section = self._at, self._section(_PASS)
        workers = {row[4] for row in rows}
        # They are sorted: if the first name begins with a letter, all do, and none with what `texts.code` looks for.
        are_usual = all(worker is None or _is_plain_word(worker) for worker in workers) and rows[0][0][at:] >= "A"
        for first in range(0, len(rows), LINES):
            some = rows[first : first + LINES]
            spent = [int(row[3] * 1000 + 0.5) for row in some]
            if workers == {None} and max(spent) < _SHORT_US:
                lines = [f"{row[0][at:]}` {_SHOWN[(us + 50) // 100]}" for row, us in zip(some, spent, strict=True)]
            else:
                spent = [microseconds(row[3]) for row in some]
                lines = [
                    f"{row[0][at:]}` {shown_ms(us)}{f' on {row[4]}' if row[4] else ''}"
                    for row, us in zip(some, spent, strict=True)
                ]
            text = "\n".join(lines)
            if are_usual and text.count("`") == len(some) and "\x7f" not in text and "##[" not in text:
                # ASCII so far, which is quick; the symbol would make each line one of wide characters.
                section.write(_PASSED_BEGIN + text.encode("ascii").replace(b"\n", b"\n" + _PASSED_BEGIN) + b"\n")
            else:
                section.write("".join(map(self._escaped, some)))
            self.spent += sum(spent)
        self.counts[_PASS] += len(rows)
        self.results += len(rows)
        self.ran += len(rows)

    def add_plain(self, row: Row) -> bool:
        """Add a test that has only this result, if that is told by a line alone; return whether it is."""
        reason = ""
        if len(row) == 6:
            nodeid, _, _, duration, worker, _ = row
            standing = _PASS
        else:
            nodeid, _, standing, _, _, duration, worker, crc, details = row
            if standing == _SKIP and details is not None and crc is not None:
                reason = details[len(_REASON[0]) : -len(_REASON[1])]
                if details != reason.join(_REASON) or not reason or '"' in reason or "\\" in reason:
                    return False  # there is more in it, or it is not as it stands there
            elif standing != _PASS or details is not None:
                return False
        if type(duration) is not float or not nodeid.startswith(self._begin):
            return False
        if worker is not None and not _is_plain_word(worker):
            return False
        spent = int(duration * 1000 + 0.5) if 0 <= duration < LONGEST_MS else microseconds(duration)
        took = _SHOWN[(spent + 50) // 100] if spent < _SHORT_US else shown_ms(spent)
        told = f"{took} on {worker}" if worker else took
        lines = self._lines[standing]
        begin = f"- {_PLAIN_SYMBOLS[standing]} `{nodeid[self._at :]}` {told}"
        lines.append(f"{begin}: `{reason}`\n" if reason else f"{begin}\n")
        self._rows[standing].append(row)
        self.results += 1
        self.ran += 1
        self.spent += spent
        if len(lines) >= LINES:
            self._write_lines(standing)
        return True

    def _write_lines(self, standing: str) -> None:
        lines, rows = self._lines[standing], self._rows[standing]
        if lines:
            self._write_text(standing, "".join(lines), rows)
            lines.clear()
            rows.clear()

    def _write_text(self, standing: str, text: str, rows: list[Row]) -> None:
        """Write the lines of plain tests; where something is to be escaped, each is made anew."""
        ticks = 2 if standing == _PASS else 4
        is_inert = (
            text.count("\n") == len(rows)
            and text.count("`") == ticks * len(rows)
            and text.replace("\n", "").isprintable()
            and not any(found in text for found in _TO_ESCAPE)
        )
        self._section(standing).write(text if is_inert else "".join(map(self._escaped, rows)))
        self.counts[standing] += len(rows)

    def _escaped(self, row: Row) -> str:
        if len(row) == 6:
            nodeid, seq, _, duration, worker, _ = row
            return case_lines(self.name, Case(nodeid, Status.PASS, 1, None, duration, worker, ()))
        nodeid, seq, standing, phase, _, duration, worker, _, details = row
        said = (of_row((nodeid, seq, standing, phase, None, duration, worker, details)),) if details else ()
        return case_lines(self.name, Case(nodeid, standing, 1, None, duration, worker, said))

    def add(self, case: Case, left_out: int = 0) -> None:
        """Add a test that is told at length, or has no outcome; `left_out` of its results are not in it."""
        if case.standing in (IN_FLIGHT, NEVER_RAN):
            self._without_outcome.append(case)
        else:
            self._add(case, left_out)

    def add_rest(self, never_ran: Iterable[Case]) -> None:
        """Add the tests without an outcome: those that were given before, and these, which are sorted."""
        for standing in self._lines:
            self._write_lines(standing)
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
        if standing in self._lines:
            self._write_lines(standing)  # those before it
        self._section(standing).write(case_lines(self.name, case, left_out))
        self.counts[standing] += 1
        self.spent += microseconds(case.duration_ms)

    def _section(self, standing: str) -> _Section:
        section = self._sections.get(standing)
        if section is None:
            section = self._sections[standing] = _Section(self._stack, self._spool_dir)
        return section


class _Section:
    """The text of a section: in memory as long as it is small, then in a file that has no name."""

    def __init__(self, stack: ExitStack, spool_dir: Path) -> None:
        self._stack = stack
        self._spool_dir = spool_dir
        self._parts: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def write(self, text: str | bytes) -> None:
        """Add to it; bytes are UTF-8."""
        data = text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
        self._parts.append(data)
        self._size += len(data)
        if self._size > SPOOL_SIZE:
            if self._file is None:
                self._file = TemporaryFile(dir=self._spool_dir)  # noqa: SIM115 - it is closed with the page
                self._stack.enter_context(self._file)
            self._file.writelines(self._parts)
            self._parts, self._size = [], 0

    def read(self) -> Iterator[bytes]:
        """Yield it, once."""
        if self._file is not None:
            self._file.seek(0)
            while data := self._file.read(READ_SIZE):
                yield data
        yield from self._parts


def _is_plain_word(worker: object) -> bool:
    return isinstance(worker, str) and worker.isascii() and worker.isalnum()
