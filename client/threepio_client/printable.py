"""Text that can be printed anywhere: characters that a terminal could act on become escapes, lines have a bounded length."""

from __future__ import annotations

import unicodedata
from typing import Final

from threepio_client.line import clip

BYTES_PER_TOKEN: Final = 4
"""The estimate of `--budget`: tokenizers make a token of three to five bytes of such text."""
LINE_SHOWN: Final = 1000
"""Characters of a line of text: a name that is longer is whole in the JSON."""


def one_line(text: str) -> str:
    """Return the text as one line of at most LINE_SHOWN characters, so that no name can look like an answer of ours.

    Every character that a terminal could act on, newlines too, becomes its backslash escape; what is longer is cut in the
    middle. A line that went through this before stays as it is.
    """
    return clip(inert(text), LINE_SHOWN)


def number_of(count: int, thing: str) -> str:
    """Return `1 test`, `2 tests`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def size_of(line: str) -> int:
    """Return how many bytes a line takes where it is printed, with its newline."""
    return len(inert(line).encode()) + 1


def columns(text: str) -> int:
    """Return how many columns of a terminal a line takes, at most."""
    return sum(2 if unicodedata.east_asian_width(char) in "WFA" else 1 for char in text)


def fitting(text: str, width: int) -> str:
    """Return as much of a line's beginning as fits into so many columns of a terminal."""
    if 2 * len(text) <= width:
        return text
    room = width
    for at, char in enumerate(text):
        room -= columns(char)
        if room < 0:
            return text[:at]
    return text


def inert(text: str) -> str:
    """Return the text with every character that a terminal could act on as its backslash escape."""
    # str.isprintable is False for control, format (bidi marks), surrogate and separator characters other than space.
    if text.isascii() and text.isprintable():
        return text
    return "".join("\\n" if char == "\n" else char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_text(text: str) -> str:
    """Return ASCII JSON without DEL, the one control character that JSON leaves as it is."""
    return text.replace("\x7f", "\\u007f")
