"""A step of GitHub Actions: its summary in Markdown, and annotations as commands of the workflow.

GitHub takes 1 MiB of summary and shows ten errors of a step, so what is there is chosen by cause. Not here: where the
summary is written to (`cli/report.py`). https://docs.github.com/actions/reference/workflow-commands-for-github-actions
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, TextIO

from threepio_client.causes import Cause, message_of
from threepio_client.printable import inert, number_of, one_line
from threepio_client.report.entries import Entries
from threepio_client.report.model import NEVER_RAN, Report
from threepio_client.report.texts import code, fenced, inert_lines
from threepio_client.runstate import COUNTS
from threepio_client.wording import counts_text, duration, status_lines

SUMMARY_LIMIT: Final = 1024 * 1024
"""Bytes that GitHub takes of the summary of a step."""
ERRORS_SHOWN: Final = 10
"""Annotations of this kind that GitHub shows of a step."""
MESSAGE_SHOWN: Final = 4000
"""Characters of an annotation, and of a traceback in the summary: its end says most."""
TESTS_SHOWN: Final = 20
"""Of the tests of a cause, and of those that never ran."""
_RESERVE: Final = 1000
"""Bytes kept for the line that says what was left out."""


def write(report: Report, out: TextIO, room: int = SUMMARY_LIMIT) -> None:
    """Write the summary of a run in Markdown.

    Args:
        report: of any run, of a running one too.
        out: a text file whose encoding is UTF-8.
        room: bytes that there is room for: whole blocks are left out, and how many is said.
    """
    blocks = [*_blocks(report)]
    left = room - _RESERVE
    for number, block in enumerate(blocks):
        left -= len(block.encode("utf-8", "backslashreplace")) + 1
        if left < 0:
            run_id = report.view["run_id"]
            out.write(f"{len(blocks) - number} more blocks are left out: `threepio failures {run_id} --all`\n")
            return
        out.write(f"{block}\n")


def commands(report: Report, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Yield the lines that annotate a workflow: how the run ended if that is not well, then its causes.

    Args:
        report: of any run.
        environ: where GITHUB_WORKSPACE says what the paths are to be relative to; else the run's rootdir.
    """
    rootdir = report.view["rootdir"]
    workspace = environ.get("GITHUB_WORKSPACE") or rootdir
    verdict = Entries(report).verdict
    left = ERRORS_SHOWN
    if verdict is not None:
        text = "\n".join(status_lines(report.view))
        yield _command(text, title=f"Run {report.view['run_id']} is {report.view['state']}")
        left -= 1
    shown = report.causes[:left]
    for number, cause in enumerate(shown):
        example = cause.example
        file, line = _place(cause, rootdir, workspace)
        text = f"{one_line(example['nodeid'])}\n{example['error'].get('message', '')}"
        rest = sum(other.count for other in report.causes[left:])
        if rest and number == len(shown) - 1:
            text += f"\nand {rest} failures of {len(report.causes) - left} rarer causes"
        yield _command(text, file=file, line=line, title=_title(cause))


def _blocks(report: Report) -> Iterator[str]:
    view = report.view
    yield f"\n## Tests: {view['state']}\n"
    counted = counts_text(view["counts"]) or "nothing counted"
    yield f"{counted}; {view['finished']} of {_known(view['collected'])} tests finished in {duration(view['duration_s'])}.\n"
    if Entries(report).verdict is not None:
        yield f"**The run did not end well.**\n\n{fenced(chr(10).join(status_lines(view)))}\n"
    rows = [f"| {name.replace('_', ' ')} | {view['counts'][name]} |" for name in COUNTS if view["counts"][name]]
    if rows:
        yield "\n".join(["| | |", "|---|---:|", *rows, ""])
    if report.causes:
        failures = sum(cause.count for cause in report.causes)
        yield f"### {number_of(failures, 'failure')}, {number_of(len(report.causes), 'cause')}\n"
    for cause in report.causes:
        yield _cause_block(cause)
    unfinished = [test.nodeid for test in report.tests if test.standing == NEVER_RAN]
    if unfinished:
        what = "still to run" if report.is_live else "never ran"
        yield f"### {number_of(len(unfinished), 'test')} {what}\n\n{_list(unfinished)}"
    flaky = [test.nodeid for test in report.tests if test.attempts > 1 and test.standing in ("PASS", "XPASS")]
    if flaky:
        yield f"### {number_of(len(flaky), 'test')} passed only after another attempt\n\n{_list(flaky)}"
    more = code(f"threepio failures {view['run_id']} --all")
    yield f"Run {code(view['run_id'])}; more of it: {more}\n"


def _cause_block(cause: Cause) -> str:
    example = cause.example
    head = f"- **{cause.count}x** {code(one_line(_said(cause)))}"
    at = f" at {code(cause.place)}" if cause.place else ""
    names = list(dict.fromkeys(failure["nodeid"] for failure in cause.failures))
    phase = "" if example["phase"] == "call" else f" ({example['phase']})"
    trace = str(example["error"].get("stack") or example["error"].get("message") or "")
    lines = [f"{head}{at}\n", "<details><summary>tests and traceback</summary>\n", _list(names)]
    lines.append(f"{code(one_line(example['nodeid']))}{phase}:\n\n{fenced(_end_of(trace))}\n\n</details>\n")
    return "\n".join(lines)


def _list(names: list[str]) -> str:
    lines = [f"- {code(one_line(name))}" for name in names[:TESTS_SHOWN]]
    if len(names) > TESTS_SHOWN:
        lines.append(f"- and {len(names) - TESTS_SHOWN} more")
    return "\n".join([*lines, ""])


def _said(cause: Cause) -> str:
    message = message_of(cause.example["error"])
    return f"{cause.error_type}: {message}" if cause.error_type and not message.startswith("assert ") else message


def _title(cause: Cause) -> str:
    times = f" ({cause.count} failures)" if cause.count > 1 else ""
    return one_line(_said(cause))[:200] + times


def _place(cause: Cause, rootdir: str, workspace: str) -> tuple[str, str]:
    """Return file and line of an error where that is in the workspace, else the file of its first test."""
    path, _, line = cause.place.rpartition(":")
    for found, number in ((path, line if line.isdecimal() else ""), (cause.example["nodeid"].partition("::")[0], "")):
        full = PurePosixPath(rootdir, found)
        if found and full.is_relative_to(workspace) and "site-packages" not in full.parts:
            return str(full.relative_to(workspace)), number
    return cause.example["nodeid"].partition("::")[0], ""


def _command(message: str, **properties: str) -> str:
    """Return the command that shows an error; see `@actions/core` for what is to be escaped."""
    told = ",".join(f"{name}={_escape(inert(value), ':,')}" for name, value in properties.items() if value)
    return f"::error {told}::{_escape(inert_lines(message).expandtabs(4)[:MESSAGE_SHOWN])}"


def _escape(text: str, also: Iterable[str] = "") -> str:
    for char in ("%", "\r", "\n", *also):
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def _end_of(text: str) -> str:
    return text if len(text) <= MESSAGE_SHOWN else f"...{text[-MESSAGE_SHOWN:]}"


def _known(collected: Any) -> str:
    return "an unknown number of" if collected is None else str(collected)
