"""The Markdown report: a run as one document, and the two kinds of pages that the report tree is made of.

One rendering for both. Not here: where pages lie (`tree.py`), and how a stored run becomes pages (`threepiod/pages.py`).
A test is one line that begins with its symbol, and what more is said of it is indented below that line: no text of a test
can look like a line of ours. Nothing depends on when it was written.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO, TypeVar

from threepio_client.causes import Cause, message_of
from threepio_client.events import BAD, Phase, Status
from threepio_client.printable import inert
from threepio_client.report.model import IN_FLIGHT, NEVER_RAN, Case, Report
from threepio_client.report.texts import code, fenced
from threepio_client.results import Result
from threepio_client.runstate import COUNTS, LIVE_STATES, count_of
from threepio_client.wording import counts_text, duration, relative

OTHER: Final = "OTHER"
"""Standing of a test whose status this version does not know."""
SYMBOLS: Final[dict[str, str]] = {
    Status.FAIL: "✗",
    Status.ERROR: "‼",
    IN_FLIGHT: "▶",
    NEVER_RAN: "·",
    Status.RERUN: "↻",
    OTHER: "?",
    Status.XPASS: "◆",
    Status.XFAIL: "◇",
    Status.SKIP: "○",
    Status.PASS: "✓",
}
"""Every standing with its own symbol, in the order in which a page has its sections."""
CAUSES_SHOWN: Final = 100
"""Causes that are told; the rest of them is counted."""
EXAMPLES_SHOWN: Final = 5
"""Failures of a cause that are named."""
RESULTS_SHOWN: Final = 200
"""Events of one test that are told, subtests and attempts; the rest is counted."""
_in_quotes: Final = json.JSONEncoder(ensure_ascii=False).encode
LONGEST_MS: Final = 1e12
_MESSAGE_SHOWN: Final = 200

Part = TypeVar("Part", str, bytes | str)
"""A part of a page; bytes are UTF-8."""
Link = Callable[[str], str]
"""From a group's name to the relative path of its page; an empty text for none."""


class Group(NamedTuple):
    """The sums of one group.

    Attributes:
        name: the file.
        counts: how many of its tests have each standing.
        spent_us: sum of its own tests' durations, microseconds: whole numbers have one sum in whatever order.
    """

    name: str
    counts: Mapping[str, int]
    spent_us: int

    @property
    def is_bad(self) -> bool:
        """Whether a test of it failed or broke."""
        return any(self.counts.get(standing) for standing in BAD)


class Told(NamedTuple):
    """A cause as it is told.

    Attributes:
        fingerprint, failures, error_type, place: as in `Cause`; `failures` is their number.
        message: the first line of its first failure's message.
        examples: (phase, node id) of its first failures, EXAMPLES_SHOWN at most.
    """

    fingerprint: str
    failures: int
    error_type: str
    place: str
    message: str
    examples: list[tuple[str, str]]


def write(report: Report, out: TextIO) -> None:
    """Write a run as one document.

    Args:
        report: the run.
        out: where to.
    """
    files = by_group(report.tests)
    groups = [group_of(name, cases) for name, cases in files.items()]
    rows = (group_row(group, "") for group in in_order(groups))
    for part in run_page(report.view, groups_totals(groups), told(report.causes), rows):
        out.write(part)
    for group in in_order(groups):
        out.write("\n")
        for part in group_text(group, sections_of(group.name, files[group.name], level=3), level=2):
            out.write(part)


def by_group(tests: Iterable[Case]) -> dict[str, list[Case]]:
    """Return the tests of each group, sorted by node id."""
    files: dict[str, list[Case]] = {}
    for case in sorted(tests):
        files.setdefault(case.file, []).append(case)
    return files


def group_of(name: str, cases: list[Case]) -> Group:
    """Return the sums of a group's tests."""
    counts = Counter(standing_of(case) for case in cases)
    return Group(name, counts, sum(microseconds(case.duration_ms) for case in cases))


def groups_totals(groups: Iterable[Group]) -> Group:
    """Return the sums of all groups; it has no name."""
    counts: Counter[str] = Counter()
    spent = 0
    for group in groups:
        counts.update(group.counts)
        spent += group.spent_us
    return Group("", counts, spent)


def in_order(groups: Iterable[Group]) -> list[Group]:
    """Return groups as they are listed: what is bad comes first."""
    return sorted(groups, key=lambda group: (not group.is_bad, group.name))


def told(causes: Iterable[Cause]) -> list[Told]:
    """Return causes as they are told."""
    return [
        Told(
            cause.fingerprint,
            cause.count,
            cause.error_type,
            cause.place,
            message_of(cause.example["error"]),
            [(failure["phase"], failure["nodeid"]) for failure in cause.failures[:EXAMPLES_SHOWN]],
        )
        for cause in causes
    ]


# A run


def run_page(
    view: dict[str, Any],
    totals: Group,
    causes: list[Told],
    rows: Iterable[str],
    *,
    link: Link | None = None,
    output: Path | None = None,
    note: str = "",
) -> Iterator[str]:
    """Yield the page of a run, in parts.

    Args:
        view: its status answer.
        totals: the sums of its groups.
        causes: the most frequent first: all of them, or the first CAUSES_SHOWN and those after them for their counts.
        rows: of the table of groups, as `group_row` makes them.
        link: says where the groups' pages are; None where there are none.
        output: the file with what its command printed.
        note: why it is not where it is wanted; empty if it is.
    """
    run_id, state, git = view["run_id"], view["state"], view["git"]
    symbol = SYMBOLS[Status.PASS if state == "passed" else IN_FLIGHT if state in LIVE_STATES else Status.FAIL]
    facts = {
        "run_id": run_id,
        "state": state,
        "verdict": view["verdict"]["kind"],
        "exit_code": view["exit_code"],
        "started": _time(view["started"]),
        "duration_s": None if symbol == SYMBOLS[IN_FLIGHT] else view["duration_s"],
        "collected": view["collected"],
        "finished": view["finished"],
        **{name: view["counts"][name] for name in COUNTS},
        "rootdir": view["rootdir"],
        "command": shlex.join(map(str, view["argv"])),
        "branch": git.get("branch"),
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
    }
    yield front_matter(facts)
    yield f"\n# Run {code(run_id)}: {state}\n\n{symbol} {code(view['verdict']['text'])}\n\n"
    collected = "" if view["collected"] is None else f" of {view['collected']}"
    counts = counts_text(view["counts"]) or "nothing counted"
    yield f"- finished: {view['finished']}{collected} tests: {counts}\n"
    for slot in view["in_flight"]:
        worker = f" on {code(slot['worker'])}" if slot["worker"] else ""
        yield f"- in flight: {code(slot['nodeid'] or 'the session')}, {code(slot['phase'])}{worker}\n"
    if view["flaky"]:
        yield f"- flaky: {view['flaky']} passed only after another attempt\n"
    yield f"- rootdir: {code(view['rootdir'])}\n"
    if output is not None:
        yield f"- full output: {code(str(output))}\n"
    if note:
        yield f"- this report is in the state directory, because it cannot be where it is wanted: {code(note)}\n"
    yield f"- more: `threepio failures {run_id}`, `threepio show NODEID {run_id}`, `threepio rerun {run_id}`\n"
    yield "\n## Counts\n\n| | status | tests | counted by the runner |\n|---|---|--:|--:|\n"
    for standing, sign in SYMBOLS.items():
        name = count_of(standing)
        counted = view["counts"][name] if name is not None else ""
        if standing != OTHER or totals.counts.get(OTHER):
            yield f"| {sign} | {standing} | {totals.counts.get(standing, 0)} | {counted} |\n"
    yield from _causes(causes, view["rootdir"], link)
    yield f"\n## Groups\n\n{sum(totals.counts.values())} tests in {duration(totals.spent_us / 1e6)}.\n\n"
    shown = [standing for standing in SYMBOLS if totals.counts.get(standing)]
    yield "| | group | tests | duration | standing of its tests |\n|---|---|--:|--:|---|\n"
    yield from rows
    yield f"| | all | {sum(totals.counts.values())} | {_seconds(totals.spent_us)} | {_counted(totals.counts, shown)} |\n"


def _causes(causes: list[Told], rootdir: str, link: Link | None) -> Iterator[str]:
    failures = sum(cause.failures for cause in causes)
    yield f"\n## Failures: {failures}, causes: {len(causes)}\n"
    for cause in causes[:CAUSES_SHOWN]:
        message = cause.message[:_MESSAGE_SHOWN] or cause.error_type or "no message"
        place = f" at {code(relative(cause.place, rootdir))}" if cause.place else ""
        kind = f", {code(cause.error_type)}" if cause.error_type and message != cause.error_type else ""
        yield f"\n### {cause.failures}x {code(message)}{place}{kind} [{code(cause.fingerprint)}]\n\n"
        for phase, nodeid in cause.examples:
            path = link(nodeid.partition("::")[0]) if link is not None else ""
            name = f"[{code(nodeid)}]({path})" if path else code(nodeid)
            yield f"- {name}" + ("\n" if phase == Phase.CALL else f" in {code(str(phase))}\n")
        if cause.failures > len(cause.examples):
            yield f"- and {cause.failures - len(cause.examples)} more\n"
    if rest := causes[CAUSES_SHOWN:]:
        yield f"\nAnd {sum(cause.failures for cause in rest)} failures of {len(rest)} rarer causes.\n"


def group_row(group: Group, path: str) -> str:
    """Return a group's row; `path` is that of its page, relative to the run's, or empty."""
    present = [standing for standing in SYMBOLS if group.counts.get(standing)]
    worst = next((one for one in (*list(SYMBOLS)[:6], Status.PASS, *SYMBOLS) if one in present), Status.PASS)
    name = cell(code(group.name))
    name = f"[{name}]({path})" if path else name
    tests = sum(group.counts.values())
    return f"| {SYMBOLS[worst]} | {name} | {tests} | {_seconds(group.spent_us)} | {_counted(group.counts, present)} |\n"


def cell(text: str) -> str:
    """Return a text for a cell of a table: a `|` in it has an odd number of backslashes before it."""
    if "|" not in text:
        return text
    return re.sub(r"(\\*)\|", lambda found: found[1] + "\\" * (1 - len(found[1]) % 2) + "|", text)


# A group


def group_page(run_id: str, group: Group, sections: Iterable[str | bytes], back: str) -> Iterator[str | bytes]:
    """Yield the page of a group, in parts.

    Args:
        run_id: its run.
        group: its sums.
        sections: its tests, as `sections_of` gives them.
        back: path of the run's page, relative to this one.
    """
    facts = {
        "run_id": run_id,
        "group": group.name,
        "tests": sum(group.counts.values()),
        "duration_s": round(group.spent_us / 1e6, 3),
        **{standing: group.counts[standing] for standing in SYMBOLS if group.counts.get(standing)},
    }
    yield front_matter(facts)
    yield "\n"
    yield from group_text(group, sections, level=1)
    yield f"\nOf run [{code(run_id)}]({back}).\n"


def group_text(group: Group, sections: Iterable[Part], *, level: int) -> Iterator[str | Part]:
    """Yield a group with its tests below a heading of this level."""
    present = [standing for standing in SYMBOLS if group.counts.get(standing)]
    tests = sum(group.counts.values())
    yield f"{'#' * level} {code(group.name)}\n\n"
    yield f"{tests} tests in {_seconds(group.spent_us)}: {_counted(group.counts, present)}\n"
    yield from sections


def sections_of(name: str, cases: Iterable[Case], *, level: int = 2) -> Iterator[str]:
    """Yield the sections of a group's tests, one for each standing that there is, below headings of this level."""
    sections: dict[str, list[str]] = {}
    for case in cases:
        sections.setdefault(standing_of(case), []).append("".join(case_lines(name, case)))
    for standing in SYMBOLS:
        if standing in sections:
            yield section_head(standing, len(sections[standing]), level=level)
            yield from sections[standing]


def section_head(standing: str, count: int, *, level: int = 2) -> str:
    """Return what stands before so many tests of this standing."""
    return f"\n{'#' * level} {SYMBOLS[standing]} {standing}: {count}\n\n"


def standing_of(case: Case) -> str:
    """Return the standing of a test, as it has a symbol."""
    return case.standing if case.standing in SYMBOLS else OTHER


def case_lines(group: str, case: Case, left_out: int = 0) -> tuple[str, str]:
    """Return the line of a test, and what more is said of it, indented: apart, because most often only that is ASCII.

    Args:
        group: the file that it is in.
        case: the test.
        left_out: events that it has beside those in `case`.
    """
    name = case.nodeid.removeprefix(f"{group}::") if case.nodeid != group else case.nodeid
    line = f"- {SYMBOLS[standing_of(case)]} {code(name)}"
    if case.standing != NEVER_RAN:
        line += f" {shown_ms(microseconds(case.duration_ms))}"
    line += worker_text(case.worker)
    if case.attempts > 1:
        line += f", attempt {case.attempts}"
    if standing_of(case) == OTHER:
        line += f", {code(case.standing)}"
    left_out += max(len(case.results) - RESULTS_SHOWN, 0)
    if len(case.results) == 1 and not left_out and not _is_told_at_length(case.results[0]):
        return line + (f": {code(reason)}\n" if (reason := case.results[0].reason) else "\n"), ""
    parts = [part for result in case.results[:RESULTS_SHOWN] for part in _result_parts(result)]
    if left_out:
        parts.append(f"and {left_out} more results: `threepio show` has them")
    if not parts:
        return f"{line}\n", ""
    return f"{line}\n\n", "\n\n".join(map(_indented, parts)) + "\n\n"


def _is_told_at_length(result: Result) -> bool:
    return bool(result.error or result.output or result.subtest is not None or "\n" in result.reason)


def _result_parts(result: Result) -> Iterator[str]:
    """Yield what an event of a test says, in paragraphs."""
    head = f"{code(result.status)} in {code(str(result.phase) or 'no phase')}"
    if result.subtest is not None:
        head += f", subtest {code(result.subtest_text)}"
    error = result.error
    if error.get("errorType"):
        head += f", {code(str(error['errorType']))}"
    if error.get("location"):
        head += f" at {code(str(error['location']))}"
    yield head
    if result.reason:
        yield fenced(result.reason)
    message, stack = str(error.get("message") or ""), str(error.get("stack") or "")
    # Most often the stack has the message, line by line with pytest's mark before it.
    if message and not all(line.strip() in stack for line in message.splitlines()):
        yield fenced(message)
    if stack:
        yield fenced(stack)
    for title, text in result.output:
        yield f"{code(title)}:\n\n{fenced(text)}"


# Small things


def front_matter(facts: Mapping[str, Any]) -> str:
    """Return facts as the YAML that a page begins with; those that are None are not known."""
    lines = [f"{name}: {_yaml(value)}\n" for name, value in facts.items()]
    return f"---\n{''.join(lines)}---\n"


def _yaml(value: object) -> str:
    if type(value) is int or type(value) is float:
        return str(value)
    return _in_quotes(inert(value)) if isinstance(value, str) else json.dumps(value)


def _indented(text: str) -> str:
    return "  " + text.replace("\n", "\n  ")


def _counted(counts: Mapping[str, int], shown: Iterable[str]) -> str:
    return ", ".join(f"{SYMBOLS[standing]} {counts[standing]} {standing}" for standing in shown) or "none"


def _seconds(spent_us: int) -> str:
    return f"{spent_us / 1e6:.3f} s"


def microseconds(milliseconds: object) -> int:
    """Return a duration in whole microseconds, as adapters measure it; a foreign writer may have put anything there."""
    if type(milliseconds) is float and 0.0 <= milliseconds <= LONGEST_MS:
        return int(milliseconds * 1000 + 0.5)
    if not isinstance(milliseconds, int | float):
        return 0
    return int(min(max(milliseconds, 0.0), LONGEST_MS) * 1000 + 0.5)


def worker_text(worker: str | None) -> str:
    """Return what a line says of the worker that a test ran on; a foreign writer may have put anything there."""
    if not worker:
        return ""
    shown = str(worker)
    return f" on {shown if shown.isascii() and shown.isalnum() else code(shown)}"


def shown_ms(spent_us: int) -> str:
    """Return microseconds as milliseconds with one digit behind the point."""
    return f"{(spent_us + 50) // 1000}.{(spent_us + 50) // 100 % 10} ms"


def _time(seconds: float) -> str | None:
    if not 0 < seconds < 1e11:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
