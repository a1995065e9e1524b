"""Causes of failures as text: each in as many lines as there is room for, and never one left out without a word."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath
from typing import Any, Final

from threepio_client.causes import Cause, message_of, shape
from threepio_client.events import split_nodeid
from threepio_client.printable import BYTES_PER_TOKEN, one_line, size_of
from threepio_client.wording import relative

DETAILED: Final = 5
"""Causes that are shown with their assertion."""
WITH_EXAMPLE: Final = 100
"""Causes that are shown with their first test."""
DETAILS_SHARE: Final = 4
"""The part of a budget, as one of so many, that details of the most frequent causes may take before rarer ones are named."""
ASSERTION_LINES: Final = 3
MESSAGE_SHOWN: Final = 120
LINE_MESSAGE: Final = 50
SHORT_MESSAGE: Final = 40
DIFFERENCE_SHOWN: Final = 16
"""Characters of a message that tell it from others raised at the same place."""
NODEID_SHOWN: Final = 160
_SAYS_NOTHING: Final = re.compile(
    r"E\s*|E\s+(?:Omitting \d+ identical items|Differing items:|Full diff:|Use -v|\?\s).*"
)
"""Of what pytest says to an assertion: what is about its own output, as the marks below the letters that differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """A cause in the words in which it is told.

    Attributes:
        message: the first line of its error; where its failures differ in it, what they have in common, or the assertion.
        place: relative to the rootdir.
        same: characters at the beginning of the message that another cause of the same place has, too.
        is_alone: no other cause has its place.
    """

    cause: Cause
    message: str
    place: str
    same: int
    is_alone: bool


def cause_lines(causes: list[Cause], rootdir: str, *, run_id: str, budget: int | None = None) -> list[str]:
    """Return the lines that name every cause.

    Args:
        causes: the most frequent first.
        rootdir: places below it are shown relative to it.
        run_id: for the next commands.
        budget: tokens that the answer may have at most; None for no limit.

    Returns:
        Lines without control characters that could be mistaken for ours. Where even the shortest form of all causes does
        not fit, the rarest are counted, and the last line says how to see them.
    """
    told = _tell(causes, rootdir)
    next_command = [f"one cause: threepio failures {run_id} --cause FILE:LINE"] if len(causes) > DETAILED else []
    room = math.inf if budget is None else budget * BYTES_PER_TOKEN
    for_details = room / DETAILS_SHARE
    chosen: list[list[str]] = []
    for number, item in enumerate(told):
        lines = _shortest(item)
        # A list of places alone says nothing: the most frequent causes have their details before the rarest are named.
        if number < DETAILED and (more := _size(_long(item)) - _size(lines)) <= for_details:
            for_details -= more
            lines = _long(item)
        rest = _rest(causes[number:], run_id)
        # Room for the line that counts the others is kept as long as there are any.
        needed = _size(lines) + (_size(_rest(causes[number + 1 :], run_id)) if number + 1 < len(causes) else 0)
        if needed > room:
            return [line for lines in (*chosen, rest) for line in lines]
        room -= _size(lines)
        chosen.append(lines)
    if _size(next_command) <= room:
        room -= _size(next_command)
        chosen.append(next_command)
    for render, most in ((_short, len(told)), (_line, WITH_EXAMPLE), (_long, DETAILED)):
        for number, item in enumerate(told[:most]):
            better = render(item)
            if len(chosen[number]) > 1:
                continue  # it has its details
            more = _size(better) - _size(chosen[number])
            if more > room:
                break
            room -= more
            chosen[number] = better
    return [line for lines in chosen for line in lines]


def _tell(causes: list[Cause], rootdir: str) -> list[_Told]:
    places = Counter(cause.place for cause in causes)
    messages = [_message(cause, is_alone=places[cause.place] == 1) for cause in causes]
    same = [0] * len(causes)
    # Of sorted texts, those that have most in common are neighbours.
    order = sorted(range(len(causes)), key=lambda number: (causes[number].place, messages[number]))
    for one, other in pairwise(order):
        if causes[one].place == causes[other].place:
            both = _same_words(messages[one], messages[other])
            same[one], same[other] = max(same[one], both), max(same[other], both)
    return [
        _Told(
            cause=cause,
            message=messages[number],
            place=relative(cause.place, rootdir),
            same=same[number],
            is_alone=places[cause.place] == 1,
        )
        for number, cause in enumerate(causes)
    ]


def _message(cause: Cause, *, is_alone: bool) -> str:
    error = cause.example["error"]
    message = message_of(error)
    if all(message_of(failure["error"]) == message for failure in cause.failures):
        return message
    if is_alone and message.startswith("assert "):
        # Values that differ say less than what was asserted of them.
        source = next(iter(assertion_of(error)), "").removeprefix("> ")
        if source.startswith("assert "):
            return source
    return shape(message, cause.error_type)


def _same_words(one: str, other: str) -> int:
    """How many characters two texts have in common at their beginning, up to the end of a word."""
    pairs = enumerate(zip(one, other, strict=False))
    differ = next((number for number, (left, right) in pairs if left != right), min(len(one), len(other)))
    return one.rfind(" ", 0, differ) + 1


def _rest(causes: list[Cause], run_id: str) -> list[str]:
    failures = sum(cause.count for cause in causes)
    return [f"and {failures} failures of {len(causes)} rarer causes: threepio failures {run_id}"]


def _size(lines: list[str]) -> int:
    return sum(map(size_of, lines))


def _long(told: _Told) -> list[str]:
    """Cause, first test and assertion."""
    cause, failure = told.cause, told.cause.example
    lines = [f"{_head(told, MESSAGE_SHOWN)}{_at(told)} [{cause.fingerprint}]"]
    verb = "in" if cause.count == 1 else "first in"
    lines.append(f"    {verb} {_phase(failure)}{_cut(failure['nodeid'], NODEID_SHOWN)}")
    more = [line for line in assertion_of(failure["error"]) if not line.endswith(told.message)]
    lines += [f"    {_cut(line, MESSAGE_SHOWN)}" for line in more[:ASSERTION_LINES]]
    return [one_line(line) for line in lines]


def _line(told: _Told) -> list[str]:
    """Cause and first test in one line."""
    failure = told.cause.example
    name = _cut(split_nodeid(failure["nodeid"])[1], SHORT_MESSAGE)
    return [one_line(f"{_head(told, LINE_MESSAGE)}{_at(told)} ({_phase(failure)}{name})")]


def _short(told: _Told) -> list[str]:
    """Cause alone."""
    return [one_line(f"{_head(told, SHORT_MESSAGE)}{_file(told)}")]


def _shortest(told: _Told) -> list[str]:
    """Only what tells the cause from the others: its place, and where that is not enough, what differs in the message."""
    if not told.place:
        return _short(told)
    name = "assert" if told.message.startswith("assert ") else told.cause.error_type.rpartition(".")[2]
    differs = "" if told.is_alone else f" {_cut(_different(told), DIFFERENCE_SHOWN)}"
    return [one_line(f"{told.cause.count}x {name}{differs}{_file(told)}")]


def _head(told: _Told, limit: int) -> str:
    cause, message = told.cause, told.message
    kind = f"{cause.error_type}: " if cause.error_type and message else cause.error_type
    # pytest says `assert 1 == 2` for an AssertionError by itself.
    kind = "" if message.startswith("assert ") else kind
    if told.same + DIFFERENCE_SHOWN > limit:
        message = _different(told)
    return f"{cause.count}x {kind}{_cut(message, limit)}"


def _different(told: _Told) -> str:
    """The message from where it differs from others of its place."""
    return f"…{told.message[told.same :]}" if told.same else told.message


def _at(told: _Told) -> str:
    return f" at {told.place}" if told.place else ""


def _file(told: _Told) -> str:
    return f" {PurePath(told.place).name}" if told.place else ""


def assertion_of(error: dict[str, Any]) -> list[str]:
    """Return the source line at which an error was raised, and what pytest says to it."""
    lines = str(error.get("stack", "")).splitlines()
    at = next((number for number in range(len(lines) - 1, -1, -1) if re.match(r">\s", lines[number])), None)
    if at is None:
        return []
    said = [line for line in lines[at + 1 :] if re.match(r"E\s", line)]
    if not said:
        return []  # advice, as below a fixture that is not found
    said = [line for line in said if not _SAYS_NOTHING.fullmatch(line)]
    return [" ".join(line.split()) for line in [lines[at], *said]]


def _phase(failure: dict[str, Any]) -> str:
    phase = failure["phase"]
    return "" if phase == "call" else f"{phase} of "


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
