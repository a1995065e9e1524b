"""`threepio diff`: what broke since the run before, and what was fixed."""

from __future__ import annotations

from typing import Annotated

import typer

from threepio_client import answers
from threepio_client.archive import Archive, unreadable
from threepio_client.cli.completion import run_references
from threepio_client.cli.options import AsJson, ShowAll
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.comparing import Difference, compare
from threepio_client.errors import NoSuchRun
from threepio_client.line import plain_text
from threepio_client.printable import one_line
from threepio_client.runstate import LIVE_STATES, State
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio diff"
SHOWN = 10
_TITLES = {
    "newly_failing": "newly failing",
    "new_failing": "new and failing",
    "other_reason": "failing for another reason",
    "still_failing": "still failing",
    "fixed": "fixed",
    "excused": "skipped or xfailed, and not before",
    "never_ran": "never ran",
    "gone": "gone",
    "new": "new",
    "ran_now": "that had not run before",
    "left_out": "not asked for this time",
}
_COUNTED_ONLY = {"still_failing", "new", "ran_now", "left_out"}


def diff(
    before: Annotated[
        str,
        typer.Argument(
            metavar="[BEFORE]",
            help="The earlier run; by default the one that AFTER ran again, or else the one before it of the same rootdir "
            "that is no rerun and was called alike or ran at least half as many tests; of a command that begins several "
            "runs, not another one of them.",
            parser=plain_text,
            autocompletion=run_references,
        ),
    ] = "",
    after: Annotated[
        str, typer.Argument(metavar="[AFTER]", help="The later run.", parser=plain_text, autocompletion=run_references)
    ] = "latest",
    as_json: AsJson = False,
    show_all: ShowAll = False,
) -> None:
    """Compare two runs test by test. Exit code 0 if nothing is newly failing, gone or never ran, else 1."""
    with open_source() as source:
        later = source.find(after)
        earlier = source.find(before) if before else ""
        if after == "latest" and earlier and earlier != later and _is_later(source.archive, earlier, later):
            later = earlier  # a session that only collected is not the latest run
        if not earlier or (earlier == later and after == "latest"):  # the one that was named is the later one
            earlier = _before(source.archive, later)
        found = compare(source.archive, earlier, later)
    goes_on = found.state in LIVE_STATES
    if as_json:
        slower: list[answers.Slower] = [
            {"nodeid": nodeid, "before_s": round(old / 1000, 6), "after_s": round(new / 1000, 6)}
            for nodeid, old, new in found.slower
        ]
        answer: answers.Diff = {
            "schema_version": VIEW_VERSION,
            "before": earlier,
            "after": later,
            "newly_failing": found.newly_failing,
            "new_failing": found.new_failing,
            "fixed": found.fixed,
            "excused": found.excused,
            "other_reason": found.other_reason,
            "still_failing": found.still_failing,
            "new": found.new,
            "ran_now": found.ran_now,
            "never_ran": found.never_ran,
            "gone": found.gone,
            "left_out": found.left_out,
            "slower": slower,
        }
        say_json(answer)
    else:
        titles = {**_TITLES, "never_ran": "without an outcome yet"} if goes_on else _TITLES
        how = f", {found.state}," if found.state not in (State.PASSED, State.FAILED) else ""
        say(f"run {later}{how} against run {earlier}: {_summary(found, titles)}")
        for line in _lines(found, titles, show_all):
            say(one_line(line))
    if found.newly_failing or found.new_failing or found.gone or (found.never_ran and not goes_on):
        raise typer.Exit(1)


def _is_later(archive: Archive, one: str, other: str) -> bool:
    run_ids = archive.run_ids()
    return run_ids.index(one) < run_ids.index(other)


def _before(archive: Archive, run_id: str) -> str:
    """Return the run that a rerun ran again; else the last one before, of the same rootdir, that is no rerun and a measure.

    A measure is what was called alike, or ran at least half as many tests: one test that was run from an editor says
    nothing of the others. Where none is, it is the last that ran any, or the last: its collection may have failed.
    The other runs of its own command are none; of an earlier command's runs the one that was called alike is meant.
    """
    run_ids = archive.run_ids()
    later = archive.run(run_id).state
    if (again := later.start.get("rerunOf")) in run_ids:
        return str(again)
    rootdir, command, nearest, last = later.start.get("rootdir"), later.start.get("commandId"), "", ""
    measure: tuple[str, object] | None = None  # with its command
    for earlier, state in archive.of_rootdir(rootdir, run_ids[run_ids.index(run_id) + 1 :]):
        start = state.start
        of_command = start.get("commandId")
        if measure is not None and of_command != measure[1]:
            break
        if (of_command and of_command == command) or (start.get("rerunOf") and not later.start.get("rerunOf")):
            continue
        try:
            ran = archive.run(earlier).state.finished
        except PermissionError as error:  # then another one is compared with
            archive.trouble = unreadable(error)
            continue
        is_alike = all(start.get(key) == later.start.get(key) for key in ("argv", "cwd"))
        if ran and is_alike:
            return earlier
        if measure is None and ran and ran * 2 >= max(later.collected or 0, later.finished):
            measure = earlier, of_command
            if not of_command:
                break
        nearest = nearest or (earlier if ran else "")
        last = last or ("" if start.get("collectOnly") else earlier)
    if measure is not None:
        return measure[0]
    if not nearest and not last:
        raise NoSuchRun(f"no run of {rootdir or 'an unknown rootdir'} is known before {run_id}: name both runs")
    return nearest or last


def _summary(found: Difference, titles: dict[str, str]) -> str:
    parts = [f"{len(names)} {title}" for name, title in titles.items() if (names := getattr(found, name))]
    parts += [f"{len(found.slower)} much slower"] if found.slower else []
    return ", ".join(parts) or "no difference"


def _lines(found: Difference, titles: dict[str, str], show_all: bool) -> list[str]:
    lines = []
    for name, title in titles.items():
        names: list[str] = getattr(found, name)
        if not names or (name in _COUNTED_ONLY and not show_all):
            continue
        lines.append(f"{title}:")
        lines += [f"  {nodeid}" for nodeid in (names if show_all else names[:SHOWN])]
        if len(names) > SHOWN and not show_all:
            lines.append(f"  and {len(names) - SHOWN} more (--all)")
    if found.slower:
        lines.append("much slower:")
        for nodeid, old, new in found.slower if show_all else found.slower[:SHOWN]:
            lines.append(f"  {old / 1000:.3f} s -> {new / 1000:.3f} s  {nodeid}")
    return lines
