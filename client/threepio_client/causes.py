"""Causes: failures that look alike are one cause - by error type, message and place, whatever differs left out.

A fingerprint names a cause within a run. `reason` leaves the place out, too: lines move between two runs, so it says
whether a test still fails for the same reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final
from zlib import crc32

SHAPE_LIMIT: Final = 200
"""Characters of a message that are compared: its first line says what went wrong, the rest shows it."""

Patterns = tuple[tuple[re.Pattern[str], str], ...]
_NORMAL: Final[Patterns] = (
    (re.compile(r"^worker '.*' crashed while running '.*'"), "a worker crashed while running a test"),  # xdist's words
    (re.compile(r"^'[\w.]+' object has no attribute "), "an object has no attribute "),  # one line, several classes
    (re.compile(r"\b0x[0-9a-fA-F]+\b"), "<address>"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "<id>"),
    (re.compile(r"\b(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])[0-9a-f]{12,}\b"), "<id>"),
    (re.compile(r"\b[a-z]{2,10}://[^\s'\"<>]+"), "<path>"),
    (re.compile(r"(?:[^\s'\"(),:=<>\[\]]*/)+[^\s'\"(),:=<>\[\]]*"), "<path>"),
    (re.compile(r"(?<!\w)[-+]?\d+(?:[._]\d+)*(?:e[-+]?\d+)?"), "N"),
    (re.compile(r"N(?:, N){2,}"), "N…"),
    (re.compile(r"\s+"), " "),
)
# In what pytest says of an assertion, collections and texts that it has shortened are values, as numbers are: how it
# shortens them differs from test to test.
_VALUES: Final[Patterns] = (
    *[(re.compile(r"\[[^][{}]*\]|\{[^][{}]*\}"), "…")] * 3,  # one in the other
    (re.compile(r"'[^']*\.\.\.[^']*'|\"[^\"]*\.\.\.[^\"]*\""), "…"),
)
_DIGITS: Final[Patterns] = ((re.compile(r"\d+"), "N"),)
_NAMED_TYPE: Final = re.compile(r"([\w.]+): ")


@dataclass(kw_only=True, slots=True)
class Cause:
    """Failures that look alike.

    Attributes:
        fingerprint: eight hexadecimal digits.
        error_type: type of the error, empty where it is not known.
        place: `path:line` of its error, as the first of them tells it; empty where that is not known.
        failures: the failures, in their order.
    """

    fingerprint: str
    error_type: str
    place: str
    failures: list[dict[str, Any]] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many failures it has."""
        return len(self.failures)

    @property
    def example(self) -> dict[str, Any]:
        """Its first failure."""
        return self.failures[0]


def group(failures: Iterable[dict[str, Any]]) -> list[Cause]:
    """Return the causes of failures (docs/json.md, `failures`), the most frequent first."""
    found: dict[str, Cause] = {}
    for failure in failures:
        error = failure["error"]
        name = fingerprint(error)
        cause = found.get(name)
        if cause is None:
            cause = Cause(fingerprint=name, error_type=_type_of(error), place=str(error.get("location", "")))
            found[name] = cause
        cause.failures.append(failure)
    return sorted(found.values(), key=lambda cause: -cause.count)


def fingerprint(error: dict[str, Any]) -> str:
    """Return what an error has in common with others of its cause."""
    return _digest(f"{reason(error)}\n{error.get('location', '')}")


def reason(error: dict[str, Any]) -> str:
    """Return type and message of an error without what differs from test to test."""
    return f"{_type_of(error)}: {shape(message_of(error), _type_of(error))}"


def message_of(error: dict[str, Any]) -> str:
    """Return the first line of an error's message, without its type."""
    message = next((line.strip() for line in str(error.get("message", "")).splitlines() if line.strip()), "")
    named = _NAMED_TYPE.match(message)
    # pytest says the type with its module.
    is_said = named is not None and named[1].rpartition(".")[2] == _type_of(error).rpartition(".")[2]
    return message[named.end() :] if named is not None and is_said else message


def shape(message: str, error_type: str = "") -> str:
    """Return a message with numbers, addresses, ids and paths replaced.

    Args:
        message: as `message_of` returns it.
        error_type: the message of a KeyError is a key, in which digits are no part of a name.
    """
    found = message[: 4 * SHAPE_LIMIT]
    if error_type == "KeyError":
        patterns: Patterns = (*_NORMAL, *_DIGITS)
    else:
        patterns = (*_NORMAL, *_VALUES) if message.startswith("assert ") else _NORMAL
    for pattern, replacement in patterns:
        found = pattern.sub(replacement, found)
    return found[:SHAPE_LIMIT].strip()


def _type_of(error: dict[str, Any]) -> str:
    return str(error.get("errorType", ""))


def _digest(text: str) -> str:
    return f"{crc32(text.encode('utf-8', 'backslashreplace')):08x}"
