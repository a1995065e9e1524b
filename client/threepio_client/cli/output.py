"""How commands speak: plain lines, names made harmless, errors on stderr with their exit code."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from threepio_client.errors import NotSaid, SettingsError, ThreepioError
from threepio_client.printable import inert, json_text, one_line

READER_LEFT: Final = 128 + signal.SIGPIPE
"""Exit code where the reader of the output has left, as of programs that SIGPIPE ends: what could not be said is no 0."""


def complain(program: str, error: ThreepioError | OSError) -> int:
    """Say on stderr what kept a command from its answer, with the program's name; return the exit code.

    An error of the system, such as a file that may not be read, that nobody was prepared for means 2.
    """
    if isinstance(error, BrokenPipeError | NotSaid):
        # What was not written would be tried again at the end, and be an error there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, ThreepioError):
        for line in (f"{program}: {error}", *error.lines):
            say(line, to_stderr=True)
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return READER_LEFT  # the reader of our output (head, a pager): nothing more to say
    what = f"{error.filename}: {error.strerror}. What is wrong with files and directories says: threepio doctor"
    say(f"{program}: {what if error.filename else error.strerror or error}", to_stderr=True)
    return SettingsError.exit_code


def say_json(answer: Mapping[str, object]) -> None:
    """Print an answer as JSON. All that is not ASCII, and DEL, is escaped as JSON escapes it.

    Raises:
        NotSaid: it cannot be written.
    """
    _print(json_text(json.dumps(answer, indent=2)), sys.stdout)


def say(text: str, *, to_stderr: bool = False, whole: bool = False) -> None:
    """Print one line, whatever the text holds: see `one_line`. With `whole` it is as long as the text is.

    Raises:
        NotSaid: it cannot be written to stdout.
    """
    stream = sys.stderr if to_stderr else sys.stdout
    shown = inert(text) if whole else one_line(text)
    if not shown.isascii():  # a terminal may know less than Unicode
        encoding = stream.encoding or "utf-8"
        shown = shown.encode(encoding, "backslashreplace").decode(encoding)
    _print(shown, stream)


def flush() -> None:
    """Have what was printed written; at the end of a command, so that what cannot be is its error, and not Python's.

    Raises:
        NotSaid: it cannot be written to stdout.
    """
    with _telling():
        sys.stdout.flush()


def _print(text: str, stream: TextIO) -> None:
    is_error = stream is sys.stderr
    with suppress(OSError) if is_error else _telling():  # of stderr nobody could be told
        print(text, file=stream, flush=is_error)  # it may be buffered, where it is not the process's own


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise NotSaid(f"the answer cannot be written: {error.strerror}") from error
