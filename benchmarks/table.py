"""The accounts of a run side by side, the requirements with their verdicts, and both as text."""

from __future__ import annotations

import dataclasses
from typing import Final

from benchmarks.asks import CLOCK_TOLERANCE_S
from benchmarks.measure import PytestRun, Round, Truth
from benchmarks.outcomes import CATEGORIES, Counts

MIB: Final = 1024 * 1024

RSS_LIMIT: Final = 64 * MIB
"""Bytes of memory that the daemon may have held at most."""

STORED_LIMIT_S: Final = 0.5
"""Seconds from runComplete to all stored."""

ASK_LIMIT_MS: Final = 50.0
"""Milliseconds inside the daemon for 99 of 100 questions."""

Cell = int | str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One number in the words of each witness; those who do not say it have None.

    Attributes:
        ok: all who say it agree.
    """

    label: str
    cells: list[Cell]
    ok: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check:
    """One requirement.

    Attributes:
        found: what was measured.
        wanted: what is required; empty where the number is only shown.
        ok: whether it is met; None where the number is only shown.
    """

    label: str
    found: str
    wanted: str
    ok: bool | None


WITNESSES: Final = ("report log", "pytest", "journal", "status", "store")
"""The columns: pytest-reportlog's file, pytest's last line, the journal read with plain JSON, the daemon's answer, and
the answer from the store after the daemon was stopped."""


def rows_of(result: Round) -> list[Row]:
    """Every count in the words of each witness, and the events."""
    status, offline, verify, journal = result.status, result.offline, result.verify, result.journal
    rows = [
        _row("collected", [result.truth.tests, None, journal.collected, status["collected"], offline["collected"]]),
        _row("node ids collected", [result.truth.tests, None, journal.named_at_collection, None, None]),
        _row("finished", [result.truth.tests, None, None, status["finished"], offline["finished"]]),
    ]
    truth, last, lines = result.truth.counts.as_dict(), result.pytest.counts.as_dict(), journal.counts.as_dict()
    for name in CATEGORIES:
        in_log = None if name == "deselected" else truth[name]
        said: list[Cell] = [in_log, last[name], lines[name], status["counts"].get(name), offline["counts"].get(name)]
        rows.append(_row(name, said))
    events, stored = status["events"], offline["events"]
    rows.append(_row("events journaled", [None, None, journal.lines, events["journaled"], verify["journal_events"]]))
    rows.append(_row("events stored", [None, None, journal.last_seq, events["stored"], verify["stored_events"]]))
    rows.append(_row("  the same, offline", [None, None, journal.last_seq, stored["journaled"], stored["stored"]]))
    return rows


def _row(label: str, cells: list[Cell]) -> Row:
    return Row(label=label, cells=cells, ok=len({cell for cell in cells if cell is not None}) == 1)


def checks_of(result: Round) -> list[Check]:
    """Every requirement that is not a count, and what else was measured."""
    asks, journal, verify, tests = result.asks, result.journal, result.verify, result.tests
    received = result.status["events"]["received"]
    checks = [
        *truth_checks(result.truth, result.pytest, result.expected),
        _zero("tests: outcome missing from the journal", tests.missing),
        _zero("tests: outcome only in the journal", tests.extra),
        _zero("collection outcomes that differ", tests.collection_differs),
        _zero("missing (verify)", verify["missing"]),
        _zero("doubled (verify)", verify["duplicates"]),
        _zero("corrupt (verify)", verify["corrupt"]),
        _zero("journal: lines that are not whole", journal.bad),
        _zero("journal: numbers that no line has", journal.skipped_numbers),
        _zero("journal: numbers that came twice", journal.repeated),
        Check(label="spilled", found=_say(journal.spilled), wanted="", ok=None),
        Check(label="received over the socket", found=_say(received), wanted="> 0", ok=received > 0),
        _is("source while the daemon ran", result.status["source"], "daemon"),
        _at_most("daemon's peak memory", result.daemon_peak_rss / MIB, RSS_LIMIT / MIB, "MiB"),
        _at_most("from runComplete to all stored", asks.stored_after_most, STORED_LIMIT_S, "s"),
        _shown("  not before (last seen not stored)", asks.stored_after_least, "s"),
        Check(
            label="status asked while the run went on",
            found=_say(asks.asked),
            wanted=f">= {result.asks_wanted}" if result.asks_wanted else "",
            ok=asks.asked >= result.asks_wanted if result.asks_wanted else None,
        ),
        _at_most("  p99 inside the daemon", asks.daemon_p99, ASK_LIMIT_MS, "ms"),
        _shown("  slowest inside the daemon", asks.daemon_max, "ms"),
        _shown("  p99 of the round trip", asks.trip_p99, "ms"),
        _shown("  slowest round trip", asks.trip_max, "ms"),
        _zero("  counts that went back", asks.went_back),
    ]
    if asks.named is not None:
        tolerance = f"clocks within {CLOCK_TOLERANCE_S * 1000:g} ms"
        checks += [
            Check(label=f"  tests named in flight ({tolerance})", found=_say(asks.named), wanted="", ok=None),
            _zero("    not in flight then", asks.named_wrong or 0),
            _zero("    in flight and none named", asks.not_named or 0),
            Check(label="    in another phase then", found=_say(asks.phase_wrong), wanted="", ok=None),
        ]
    return [*checks, *process_checks(result.pytest), _shown("journal", journal.bytes / MIB, "MiB")]


def truth_checks(truth: Truth, run: PytestRun, expected: Counts | None) -> list[Check]:
    """Whether the ground truth can be trusted: pytest's file and its last line agree, and nothing is left out."""
    others = sum(truth.other_types.values())
    checks = [_zero("report log: entries of a type not counted here", others)]
    if expected is not None:
        checks.append(agreement("pytest's last line, by what is expected", run.counts, expected))
    return checks


def agreement(label: str, found: Counts, wanted: Counts) -> Check:
    """Whether two sets of counts are equal; both are shown if not."""
    same = found == wanted
    return Check(label=label, found="equal" if same else found.line(), wanted="" if same else wanted.line(), ok=same)


def process_checks(run: PytestRun) -> list[Check]:
    """What the pytest process took."""
    return [
        Check(label="pytest's exit code", found=str(run.exit_code), wanted="", ok=None),
        _shown("pytest, start to end", run.wall_s, "s"),
        _shown("pytest, processor time", run.cpu_s, "s"),
        _shown("pytest's peak memory", run.peak_rss / MIB, "MiB"),
    ]


def same_in_all(rounds: list[Round]) -> Check:
    """Whether every round has the same counts as the first."""
    accounts = [(r.truth.counts, r.truth.tests, r.pytest.counts, r.journal.counts, r.status["counts"]) for r in rounds]
    same = all(account == accounts[0] for account in accounts)
    return Check(
        label=f"the same counts in all {len(rounds)} rounds", found="yes" if same else "no", wanted="yes", ok=same
    )


def _zero(label: str, found: int) -> Check:
    return Check(label=label, found=_say(found), wanted="0", ok=found == 0)


def _is(label: str, found: str, wanted: str) -> Check:
    return Check(label=label, found=found, wanted=wanted, ok=found == wanted)


def _at_most(label: str, found: float | None, limit: float, unit: str) -> Check:
    ok = found is not None and found <= limit  # NaN is not
    return Check(label=label, found=_amount(found, unit), wanted=f"<= {limit:g} {unit}", ok=ok)


def _shown(label: str, found: float | None, unit: str) -> Check:
    return Check(label=label, found=_amount(found, unit), wanted="", ok=None)


def _amount(number: float | None, unit: str) -> str:
    return "not seen" if number is None else f"{number:,.3f} {unit}" if unit == "s" else f"{number:,.1f} {unit}"


def _say(cell: Cell) -> str:
    return "-" if cell is None else f"{cell:,}" if isinstance(cell, int) else cell


def _verdict(ok: bool | None) -> str:
    return "" if ok is None else "OK" if ok else "NOT OK"


def render_rows(rows: list[Row]) -> str:
    """The side-by-side table."""
    lines = [["", *WITNESSES, ""]]
    lines += [[row.label, *map(_say, row.cells), _verdict(row.ok)] for row in rows]
    return aligned(lines)


def render_checks(checks: list[Check]) -> str:
    """The requirements and measures, one a line."""
    return aligned([[check.label, check.found, check.wanted, _verdict(check.ok)] for check in checks])


def aligned(lines: list[list[str]]) -> str:
    """Columns of equal width: the first and the last to the left, numbers to the right; long texts stay as they are."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) if lines else 0)]
    said = []
    for line in lines:
        middle = [text.rjust(width) for text, width in zip(line[1:-1], widths[1:-1], strict=True)]
        said.append("  ".join([line[0].ljust(widths[0]), *middle, line[-1]]).rstrip())
    return "\n".join(said)
