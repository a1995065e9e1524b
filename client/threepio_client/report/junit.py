"""JUnit XML: a testsuite for each file, and one before them for the run itself.

Streamed, and well-formed whatever the text: what XML 1.0 forbids is escaped visibly. What the counts mean: `entries.py`.
The names of classes are those of pytest's own `--junitxml`, so that a history goes on when the writer changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple, TextIO
from xml.sax.saxutils import escape

from threepio_client.line import clip
from threepio_client.printable import inert
from threepio_client.report.entries import PASSED, Entries, Entry, Kind, is_flaky, sums, verdict_text
from threepio_client.report.model import Case, Report
from threepio_client.report.texts import inert_lines, iso_time
from threepio_client.results import Result

RUN_SUITE: Final = "threepio"
"""Name of the suite of the run itself."""
MESSAGE_LIMIT: Final = 4096
"""Characters of the attribute `message`: the whole of it is in the text below."""
_SPECIAL: Final = re.compile(r"[^ !#-%'-;=?-~]")
"""All but printable ASCII that means nothing in XML: most texts have none of it."""
_MARKS: Final = {'"': "&quot;", "\n": "&#10;", "\t": "&#9;"}
_TAG_OF: Final = {
    Kind.FAILED: "failure",
    Kind.ERROR: "error",
    Kind.SKIPPED: "skipped",
    Kind.UNFINISHED: "skipped",
}
_TYPE_OF: Final = {"skipped": "pytest.skip", "xfailed": "pytest.xfail", "subtests_skipped": "pytest.skip",
                   "subtests_xfailed": "pytest.xfail"}  # fmt: skip


class _Suite(NamedTuple):
    """A file, the entries of each of its tests, and how many of each kind these are."""

    name: str
    tests: list[tuple[Case, list[Entry]]]
    found: dict[Kind, int]


def write(report: Report, out: TextIO) -> None:
    """Write the report of a run.

    Args:
        report: of any run, of a running one too.
        out: a text file whose encoding is UTF-8.
    """
    made = Entries(report)
    suites = []
    for file, cases in report.files.items():
        tests = [(case, made.of(case)) for case in cases]
        suites.append(_Suite(file, tests, sums(entry for _, entries in tests for entry in entries)))
    verdict = made.verdict
    found = {kind: sum(suite.found[kind] for suite in suites) for kind in Kind}
    found[Kind.ERROR] += verdict is not None
    out.write('<?xml version="1.0" encoding="utf-8"?>\n')
    name = f"run {report.view['run_id']}"
    out.write(f"<testsuites {_attributes(name=name)} {_numbers(found, report.view['duration_s'])}>\n")
    _write_run(report, verdict, out)
    for suite in suites:
        _write_suite(suite, report, out)
    out.write("</testsuites>\n")


def _write_run(report: Report, verdict: Entry | None, out: TextIO) -> None:
    """Write what is said of the run as a whole, and a test that did not pass if it did not come to its end."""
    view = report.view
    found = sums([verdict] if verdict is not None else [])
    out.write(_suite_tag(RUN_SUITE, found, view["duration_s"], view["started"], report))
    git, ci = view["git"], view["ci"] or {}
    properties = {
        "run_id": view["run_id"],
        "state": view["state"],
        "verdict": view["verdict"]["text"],
        "exit_code": view["exit_code"],
        "collected": view["collected"],
        "finished": view["finished"],
        **{f"counts.{name}": number for name, number in view["counts"].items() if number},
        "commit": git.get("commit"),
        "branch": git.get("branch"),
        "dirty": git.get("dirty"),
        "rootdir": view["rootdir"],
        "argv": " ".join(map(str, view["argv"])),
        "python": report.start.get("python"),
        "ci": ci.get("name"),
        "build": ci.get("build"),
    }
    _write_properties(properties, out)
    if verdict is not None:
        out.write(f'<testcase {_attributes(classname=RUN_SUITE, name="the whole run")} time="0.000">')
        text = _text(verdict_text(report))
        kind = f"{view['state']}.{view['verdict']['kind']}"
        out.write(f"<error {_attributes(message=verdict.reason, type=kind)}>{text}</error></testcase>\n")
    out.write("</testsuite>\n")


def _write_suite(suite: _Suite, report: Report, out: TextIO) -> None:
    seconds = sum(case.duration_ms for case, _ in suite.tests) / 1000
    started = min((case.started for case, _ in suite.tests if case.started is not None), default=0.0)
    out.write(_suite_tag(suite.name, suite.found, seconds, started or report.view["started"], report))
    file = _attributes(file=suite.name)
    classes: dict[tuple[str, ...], str] = {}
    for case, entries in suite.tests:
        parents, name = case.names
        key = tuple(parents or [case.nodeid])
        place = classes.get(key)
        if place is None:
            place = classes[key] = f"<testcase {_attributes(classname=_classname(key))} {file}"
        if entries is PASSED and case.worker is None:
            out.write(f'{place} {_attributes(name=name)} time="{case.duration_ms / 1000:.3f}"/>\n')
            continue
        for entry in entries:
            _write_case(
                case, entry, f"{place} {_attributes(name=f'{name} {entry.label}' if entry.label else name)}", out
            )
    out.write("</testsuite>\n")


def _write_case(case: Case, entry: Entry, tag: str, out: TextIO) -> None:
    """Write a test, whose tag was begun."""
    result = entry.result
    out.write(f'{tag} time="{(case.duration_ms if result is None else result.duration_ms) / 1000:.3f}"')
    out.write(">")
    worker = case.worker if result is None else result.worker
    if worker:
        _write_properties({"worker": worker}, out)
    _write_outcome(entry, out)
    for attempt in entry.reruns:
        _write_rerun(attempt, entry, out)
    if result is not None:
        _write_output(result, out)
    out.write("</testcase>\n")


def _write_outcome(entry: Entry, out: TextIO) -> None:
    tag, result = _TAG_OF.get(entry.kind), entry.result
    if tag is None:
        return
    if result is None:
        kind = f"threepio.{entry.counted.lower()}"
        out.write(f"<{tag} {_attributes(message=entry.reason, type=kind)}>{_text(entry.reason)}</{tag}>")
    elif entry.kind is Kind.SKIPPED:
        reason, stack = result.reason, str(result.error.get("stack") or "")
        text = _text(stack or reason)
        out.write(
            f"<{tag} {_attributes(message=clip(reason, MESSAGE_LIMIT), type=_TYPE_OF[entry.counted])}>{text}</{tag}>"
        )
    else:
        out.write(f"<{tag} {_error_attributes(result)}>{_text(_trace(result))}</{tag}>")


def _write_rerun(result: Result, entry: Entry, out: TextIO) -> None:
    """Write an attempt before the one that counts, as Maven's surefire does it."""
    tag = ("flaky" if is_flaky(entry) else "rerun") + ("Failure" if result.phase == "call" else "Error")
    out.write(f"<{tag} {_error_attributes(result)}>")
    out.write(f"<stackTrace>{_text(_trace(result))}</stackTrace>")
    _write_output(result, out)
    out.write(f"</{tag}>")


def _write_output(result: Result, out: TextIO) -> None:
    texts: dict[str, list[str]] = {}
    for title, text in result.output:
        tag = "system-err" if "stderr" in title else "system-out"
        texts.setdefault(tag, []).append(f"--- {inert(title)} ---\n{inert_lines(text)}")
    for tag in sorted(texts, reverse=True):  # system-out is the first in every schema
        out.write(f"<{tag}>{escape(chr(10).join(texts[tag]))}</{tag}>")


def _write_properties(properties: dict[str, object], out: TextIO) -> None:
    out.write("<properties>")
    for name, value in properties.items():
        if value is not None and value != "":
            out.write(f"<property {_attributes(name=name, value=_plain(value))}/>")
    out.write("</properties>")


def _suite_tag(name: str, found: dict[Kind, int], seconds: float, started: float, report: Report) -> str:
    host = str(report.start.get("host", ""))
    attributes = _attributes(name=name, timestamp=iso_time(started), hostname=host)
    return f"<testsuite {attributes} {_numbers(found, seconds)}>\n"


def _numbers(found: dict[Kind, int], seconds: float) -> str:
    skipped = found[Kind.SKIPPED] + found[Kind.UNFINISHED]
    return (
        f'tests="{sum(found.values())}" failures="{found[Kind.FAILED]}" errors="{found[Kind.ERROR]}" '
        f'skipped="{skipped}" time="{seconds:.3f}"'
    )


def _error_attributes(result: Result) -> str:
    message = clip(str(result.error.get("message", "")), MESSAGE_LIMIT)
    return _attributes(message=message, type=str(result.error.get("errorType") or f"{result.phase} failed"))


def _trace(result: Result) -> str:
    return str(result.error.get("stack") or result.error.get("message") or "")


def _classname(parents: Iterable[str]) -> str:
    file, *classes = parents
    return ".".join([file.removesuffix(".py").replace("/", "."), *classes])


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _attributes(**values: str) -> str:
    """Return attributes of a tag; only a `message` may have several lines."""
    return " ".join(
        f'{name}="{value if _SPECIAL.search(value) is None else _quoted(value, name)}"'
        for name, value in values.items()
    )


def _quoted(value: str, name: str) -> str:
    return escape(inert_lines(value) if name == "message" else inert(value), _MARKS)


def _text(text: str) -> str:
    return text if _SPECIAL.search(text) is None else escape(inert_lines(text))
