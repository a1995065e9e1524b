"""How commands speak: plain lines, names made harmless, errors on stderr with their exit code."""

from __future__ import annotations

import functools
import json
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, ParamSpec, TypeVar

import typer
from typer.core import TyperGroup

from threepio_client.errors import ThreepioError
from threepio_client.line import clip

P = ParamSpec("P")
T = TypeVar("T")

LINE_SHOWN: Final = 1000
"""Characters of a line of text: a name that is longer is whole in the JSON."""
USAGE_SHOWN: Final = 300
"""Characters of a usage error, which is shown in a box."""


class Commands(TyperGroup):
    """Commands whose usage errors quote what was given harmlessly: typer prints it as it came."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the arguments of the program itself."""
        with _harmless_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Parse the arguments of the command, and run it."""
        with _harmless_errors():
            return super().invoke(ctx)


@contextmanager
def _harmless_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Which class it is depends on typer's version: its own, or click's.
        if isinstance(message := getattr(error, "message", None), str) and hasattr(error, "format_message"):
            error.message = clip(_inert(message), USAGE_SHOWN)  # type: ignore[attr-defined]
        raise


def guarded(program: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Turn an error that a user can meet into one line on stderr, with the program's name, and its exit code."""

    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return command(*args, **kwargs)
            except ThreepioError as error:
                for line in (f"{program}: {error}", *error.lines):
                    say(line, to_stderr=True)
                raise typer.Exit(error.exit_code) from None
            except BrokenPipeError:
                # The reader of our output (head, a pager) has left: nothing more to say.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(0) from None

        return run

    return decorate


def say_json(answer: Mapping[str, object]) -> None:
    """Print an answer as JSON. All that is not ASCII, and DEL, is escaped as JSON escapes it."""
    print(json_text(json.dumps(answer, indent=2)))


def json_text(text: str) -> str:
    """Return ASCII JSON without DEL, the one control character that JSON leaves as it is."""
    return text.replace("\x7f", "\\u007f")


def say(text: str, *, to_stderr: bool = False, whole: bool = False) -> None:
    """Print one line, whatever the text holds: see `one_line`. With `whole` it is as long as the text is."""
    stream = sys.stderr if to_stderr else sys.stdout
    shown = _inert(text) if whole else one_line(text)
    if not shown.isascii():  # a terminal may know less than Unicode
        encoding = stream.encoding or "utf-8"
        shown = shown.encode(encoding, "backslashreplace").decode(encoding)
    print(shown, file=stream)


def one_line(text: str) -> str:
    """Return the text as one line of at most LINE_SHOWN characters, so that no name can look like an answer of ours.

    Every character that a terminal could act on, newlines too, becomes its backslash escape; what is longer is cut in the
    middle. A line that went through this before stays as it is.
    """
    return clip(_inert(text), LINE_SHOWN)


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


def _inert(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return "".join("\\n" if char == "\n" else char if _is_safe(char) else _escape(char) for char in text)


def _is_safe(char: str) -> bool:
    # str.isprintable is False for control, format (bidi marks), surrogate and separator characters other than space.
    return char.isprintable()


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
