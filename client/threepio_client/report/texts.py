"""Texts of a test made harmless for a file that a program or a browser reads.

Every character that a reader could act on becomes its backslash escape, as on the terminal (`printable.py`); the formats
add what their own syntax needs.
"""

from __future__ import annotations

import datetime
import re
from typing import Final

from threepio_client.printable import inert

_PRINTABLE: Final = bytes(range(0x20, 0x7F)) + b"\n\t"
_COMMAND: Final = re.compile(r"^([^\S\n]*)(?=::)|(?<=#)(?=#\[)", re.M)
"""Before what GitHub's runner reads as a command of a workflow, in each of its two forms."""


def inert_lines(text: str) -> str:
    """Return a text of several lines with all but newlines and tabs inert."""
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if text.isascii() and not text.encode("ascii").translate(None, _PRINTABLE):  # as most are, and the quickest way
        return text
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "\n".join("\t".join(map(inert, line.split("\t"))) for line in text.split("\n"))


def iso_time(seconds: float) -> str:
    """Return seconds since the epoch as ISO 8601 in UTC; the epoch where a foreign writer had no idea of the time."""
    try:
        at = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    except (ValueError, OverflowError, OSError):
        at = datetime.datetime.fromtimestamp(0, datetime.UTC)
    return at.isoformat(timespec="seconds")


def no_commands(text: str) -> str:
    """Return an inert text in which a CI system's log reader finds no command (`::error::`, `##[error]`) at any line."""
    # A single character is found twenty times as quickly as several.
    if ("#" not in text or "##[" not in text) and ("::" not in text or not _may_begin_command(text)):
        return text
    return _COMMAND.sub(lambda found: f"{found[0]}\\", text)


def _may_begin_command(text: str) -> bool:
    """Return whether a `::` stands where a line may begin: this is quicker than to look for it by the expression.

    No white space but this is in an inert text.
    """
    return text.startswith("::") or "\n::" in text or " ::" in text or "\t::" in text


def code(text: str) -> str:
    """Return one line as Markdown shows code: inert, whatever is in it."""
    shown = no_commands(inert(text))
    if shown and "`" not in shown:
        return f"`{shown}`"
    ticks = "`" * (_longest_run_of_ticks(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"


def fenced(text: str) -> str:
    """Return lines as a block of code in Markdown, inert."""
    shown = no_commands(inert_lines(text)).strip("\n")
    fence = "```" if "`" not in shown or "```" not in shown else "`" * (_longest_run_of_ticks(shown) + 1)
    return f"{fence}text\n{shown}\n{fence}"


def _longest_run_of_ticks(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0) if "`" in text else 0
