"""Causes of failures as text: each in as many lines as there is room for, and never one left out without a word."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Final

from threepio_client.causes import Cause, message_of, shape
from threepio_client.cli.output import one_line

BYTES_PER_TOKEN: Final = 4
"""The estimate of `--budget`: tokenizers make a token of three to five bytes of such text."""
DETAILED: Final = 5
"""Causes that are shown with their assertion where no budget is given."""
ASSERTION_LINES: Final = 3
MESSAGE_SHOWN: Final = 120
SHORT_MESSAGE: Final = 40
NODEID_SHOWN: Final = 160

_Render = Callable[[Cause, str], list[str]]


def cause_lines(causes: list[Cause], rootdir: str, *, run_id: str, budget: int | None = None) -> list[str]:
    """Return the lines that name every cause.

    Args:
        causes: the most frequent first.
        rootdir: places below it are shown relative to it.
        run_id: for the next commands.
        budget: tokens that the answer may have; None for the usual amount of detail.

    Returns:
        Lines without control characters that could be mistaken for ours. Where even the shortest form of all causes does
        not fit, the rarest are counted, and the last line says how to see them.
    """
    if budget is None:
        return [
            line
            for number, cause in enumerate(causes)
            for line in (_long if number < DETAILED else _line)(cause, rootdir)
        ]
    room = budget * BYTES_PER_TOKEN
    chosen: list[list[str]] = []
    for number, cause in enumerate(causes):
        short = _short(cause, rootdir)
        rest = _rest(causes[number:], run_id)
        # Room for the line that counts the others is kept as long as there are any.
        needed = _size(short) + (_size(_rest(causes[number + 1 :], run_id)) if number + 1 < len(causes) else 0)
        if needed > room:
            return [line for lines in (*chosen, rest) for line in lines]
        room -= _size(short)
        chosen.append(short)
    for render in (_line, _long):
        for number, cause in enumerate(causes):
            better = render(cause, rootdir)
            more = _size(better) - _size(chosen[number])
            if more > room:
                break
            room -= more
            chosen[number] = better
    return [line for lines in chosen for line in lines]


def _rest(causes: list[Cause], run_id: str) -> list[str]:
    failures = sum(cause.count for cause in causes)
    return [f"and {failures} failures of {len(causes)} rarer causes: threepio failures {run_id} --all"]


def _size(lines: list[str]) -> int:
    return sum(len(line.encode("utf-8", "backslashreplace")) + 1 for line in lines)


def _long(cause: Cause, rootdir: str) -> list[str]:
    """Cause, first test and assertion."""
    failure = cause.example
    lines = [f"{_head(cause, MESSAGE_SHOWN)}{_at(cause, rootdir)} [{cause.fingerprint}]"]
    verb = "in" if cause.count == 1 else "first in"
    lines.append(f"    {verb} {_phase(failure)}{_cut(failure['nodeid'], NODEID_SHOWN)}")
    lines += [f"    {_cut(line, MESSAGE_SHOWN)}" for line in assertion_of(failure["error"])]
    return [one_line(line) for line in lines]


def _line(cause: Cause, rootdir: str) -> list[str]:
    """Cause and first test in one line."""
    failure = cause.example
    name = _cut(failure["nodeid"].rpartition("::")[2], SHORT_MESSAGE)
    return [one_line(f"{_head(cause, MESSAGE_SHOWN // 2)}{_at(cause, rootdir)} ({_phase(failure)}{name})")]


def _short(cause: Cause, rootdir: str) -> list[str]:
    """Only what tells the cause from the others."""
    place = PurePath(cause.place).name
    return [one_line(f"{_head(cause, SHORT_MESSAGE)}" + (f" {place}" if place else ""))]


def _head(cause: Cause, limit: int) -> str:
    error = cause.example["error"]
    message = message_of(error)
    if cause.count > 1 and len({message_of(failure["error"]) for failure in cause.failures}) > 1:
        message = shape(message)  # only what they have in common
    kind = f"{cause.error_type}: " if cause.error_type and message else cause.error_type
    # pytest says `assert 1 == 2` for an AssertionError by itself.
    kind = "" if message.startswith("assert ") else kind
    return f"{cause.count}x {kind}{_cut(message, limit)}"


def _at(cause: Cause, rootdir: str) -> str:
    return f" at {relative(cause.place, rootdir)}" if cause.place else ""


def relative(place: str, rootdir: str) -> str:
    """Return a place relative to the rootdir if it is below it."""
    return place.removeprefix(rootdir.rstrip("/") + "/") if rootdir else place


def assertion_of(error: dict[str, Any]) -> list[str]:
    """Return the source line at which an error was raised, and what pytest says to it: at most ASSERTION_LINES lines."""
    lines = str(error.get("stack", "")).splitlines()
    at = next((number for number in range(len(lines) - 1, -1, -1) if re.match(r">\s", lines[number])), None)
    if at is None:
        return []
    said = [line for line in lines[at + 1 :] if re.match(r"E\s", line)]
    if not said:
        return []  # advice, as below a fixture that is not found
    known = message_of(error)
    new = [line for line in said if not line.rstrip().endswith(known)]
    return [" ".join(line.split()) for line in [lines[at], *new][:ASSERTION_LINES]]


def _phase(failure: dict[str, Any]) -> str:
    phase = failure["phase"]
    return "" if phase == "call" else f"{phase} of "


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
