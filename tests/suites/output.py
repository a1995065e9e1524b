"""What pytest printed: its lines without what differs from run to run, and the counts of its last line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

SUMMARY: Final = "short test summary info"

_COUNT: Final = r"\d+ [a-z ]+?"
_LAST_LINE: Final = re.compile(rf"=*\s*({_COUNT}(?:, {_COUNT})*) in [\d.]+s(?: \(.*\))?\s*=*")
_NAME_OF: Final = {"error": "errors", "warning": "warnings"}


def last_line_counts(output: str) -> dict[str, int] | None:
    """Return the counts of pytest's last line by our names, or None where it printed none."""
    for line in reversed(output.splitlines()):
        if "no tests ran in" in line:
            return {}
        match = _LAST_LINE.fullmatch(line.strip())
        if match is None or "collected" in match[1]:
            continue
        found = {}
        for part in match[1].split(", "):
            number, name = part.split(" ", 1)
            found[_NAME_OF.get(name, name.replace(" ", "_"))] = int(number)
        return found
    return None


def comparable(output: str, directory: Path) -> tuple[list[str], list[str]]:
    """Return (lines without what differs from run to run, the plugin's own lines)."""
    text = output.replace(str(directory), "HERE")
    text = re.sub(r"\b\d+\.\d+s( \([^()]*\d+:\d\d:\d\d\))?|\b[0-9a-f]{12,}\b|0x[0-9a-f]+|(?<=pid[= ])\d+", "N", text)
    text = re.sub(r"([=~])\1{2,}", r"\1\1\1", text)
    found: list[str] = []
    said: list[str] = []
    for line in text.splitlines():
        if line.startswith("threepio: "):
            said.append(line)
        elif (
            not line.startswith(("plugins: ", "generated report log file: "))
            and "generated report log file" not in line
        ):
            found.append(line)
    return found, said


def summary(lines: list[str]) -> list[str]:
    """Return the sorted lines of the summary and the last line: all that is the same in two runs with workers."""
    at = next((number for number, line in enumerate(lines) if SUMMARY in line), len(lines) - 1)
    return sorted(re.sub(r"\bgw\d+", "gw", line) for line in lines[max(at, 0) :])
