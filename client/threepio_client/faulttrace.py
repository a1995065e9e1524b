"""What a dying process said of itself, found in its output: the stacks of Python's faulthandler and of pytest-timeout."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path
from typing import Final

from threepio_client.files import open_own

TAIL: Final = 1024 * 1024
"""Bytes from the end of the output in which is looked: a dying process says nothing after it, its siblings may."""
TRACE_LIMIT: Final = 16 * 1024

# pytest's dots may stand before it in the same line.
_BEGIN: Final = re.compile(r"Fatal Python error: .*|\+{3,} Timeout \+{3,}$", re.MULTILINE)
_FRAME: Final = re.compile(r'File "(.+)", line (\d+),? in (.+)')
_PART: Final = re.compile(r"\s*$|(?:Current thread|Thread) 0x|  |~+ |\++ Timeout \++$|Python runtime state: ")
# Processes that go on write into the same output: a worker's siblings have pytest print a dot.
_DOTS: Final = re.compile(r"^[.FEsxXR]+(?=\s*$|(?:Current thread|Thread) 0x|  )")


def find(output: Path) -> str:
    """Return the last such trace of a command's output, empty if there is none or if the file cannot be read."""
    try:
        with open(open_own(output, os.O_RDONLY), "rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - TAIL, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    begin = None
    for found in _BEGIN.finditer(text):
        if not (begin and found[0].startswith("+") and begin[0].startswith("+")):
            begin = found  # pytest-timeout says it before its stacks and behind them
    if begin is None:
        return ""
    kept = [begin[0]]
    for line in map(partial(_DOTS.sub, ""), text[begin.end() :].splitlines()[1:]):
        if not _PART.match(line):
            break
        kept.append(line)
    return "\n".join(kept).strip()[:TRACE_LIMIT]


def deepest(trace: str) -> str:
    """Return the innermost line of the thread that died, as `file:line in function`; empty if the trace names none.

    Of a timeout that is the main thread, in which the tests run; pytest-timeout prints the innermost call last.
    """
    if trace.startswith("+"):
        _, _, own = trace.partition("Stack of MainThread ")
        frames = _FRAME.findall(re.split(r"^(?:~|\+)+ ", own, maxsplit=1, flags=re.MULTILINE)[0])
        return _where(frames[-1:])
    _, _, current = trace.partition(
        "Current thread"
    )  # else something stood in between, and which one died is not known
    return _where(_FRAME.findall(current)[:1])


def _where(frames: list[tuple[str, str, str]]) -> str:
    return "".join(f"{file}:{line} in {function}" for file, line, function in frames)
