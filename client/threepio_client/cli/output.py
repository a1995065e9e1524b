"""How commands speak: plain lines, names made harmless, errors on stderr with their exit code."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

import typer

from threepio_client.errors import ThreepioError

P = ParamSpec("P")
T = TypeVar("T")


def guarded(program: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Turn an error that a user can meet into one line on stderr, with the program's name, and its exit code."""

    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return command(*args, **kwargs)
            except ThreepioError as error:
                say(f"{program}: {error}", to_stderr=True)
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


def say(text: str, *, to_stderr: bool = False) -> None:
    """Print lines. Control characters, which a test's name may hold, are printed as their escapes."""
    stream = sys.stderr if to_stderr else sys.stdout
    shown = harmless(text)
    if not shown.isascii():  # a terminal may know less than Unicode
        encoding = stream.encoding or "utf-8"
        shown = shown.encode(encoding, "backslashreplace").decode(encoding)
    print(shown, file=stream)


def harmless(text: str) -> str:
    """Return the text with every character that a terminal could act on as its backslash escape, but for newlines.

    A name that goes into a line goes through `one_line` first.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char == "\n" or _is_safe(char) else _escape(char) for char in text)


def one_line(text: str) -> str:
    """Return the text as one line, so that no name can look like an answer of ours."""
    return text.replace("\n", "\\n")


def _is_safe(char: str) -> bool:
    # str.isprintable is False for control, format (bidi marks), surrogate and separator characters other than space.
    return char.isprintable()


def _escape(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
