"""The causes of a recorded run's failures, grouped from the recording alone: nothing here knows how threepiod does it.

A group is type, first line and place of the error as pytest recorded it, with every word of the line that has a slash or
a digit in it left out, whatever its punctuation. Where pytest recorded no place (a fixture that is not found) there is none.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path
from typing import Any, Final

from benchmarks.reportlog import read_log

WORDS_TOLD: Final = 5
"""Words of an error's first line that name it where its place alone does not."""
_WORD: Final = re.compile(r"[^\W\d_]{2,}")


@dataclasses.dataclass(kw_only=True)
class Group:
    """Failures that are alike.

    Attributes:
        line: the first line of the first of them.
        place: `file.py:line`, empty where that was not recorded.
        is_alone: no other group has its place.
        failures: how often each test and phase failed like that.
    """

    line: str
    place: str
    is_alone: bool = False
    failures: Counter[tuple[str, str]] = dataclasses.field(default_factory=Counter)


def groups_of(recording: Path) -> list[Group]:
    """Return the groups of the failures of a recording."""
    found: dict[tuple[str, ...], Group] = {}
    for entry in read_log(recording):
        if entry["$report_type"] not in ("TestReport", "CollectReport") or entry["outcome"] != "failed":
            continue
        line, place, full_place = _told(entry["longrepr"])
        words = tuple(word for word in line.split() if not re.search(r"[/\d]", word))
        group = found.setdefault((full_place, *words), Group(line=line, place=place))
        group.failures[entry["nodeid"], entry.get("when") or "collect"] += 1
    places = Counter(group.place for group in found.values())
    for group in found.values():
        group.is_alone = bool(group.place) and places[group.place] == 1
    return list(found.values())


def named(groups: list[Group], text: str) -> list[bool]:
    """Return for each group whether a text names it.

    It does if it has the place of a group that is alone there, or, in one line, the first words of the error in their order.
    """
    lines = "\n".join(f" {' '.join(_words(line))} " for line in text.splitlines())
    places = set(re.findall(r"[^\s/:]+:\d+", text))
    return [
        (group.is_alone and group.place in places) or f" {' '.join(_words(group.line)[:WORDS_TOLD])} " in lines
        for group in groups
    ]


def _told(longrepr: Any) -> tuple[str, str, str]:
    """The first line of an error, its short place and its whole one."""
    crash = longrepr.get("reprcrash") if isinstance(longrepr, dict) else None
    if crash is not None:
        line = next(iter(str(crash["message"]).splitlines()), "")
        return line, f"{Path(crash['path']).name}:{crash['lineno']}", f"{crash['path']}:{crash['lineno']}"
    lines = str(longrepr).splitlines()
    said = [line[1:].strip() for line in lines if line.startswith("E ")]
    return (said or lines or [""])[0], "", ""


def _words(line: str) -> list[str]:
    """Words of letters alone, without what stands for a value in some tool's output, and without the error's type."""
    kept = re.sub(r"<[^<>]*>|\S*[/\d]\S*", " ", line)
    return [word for word in _WORD.findall(kept) if not word.endswith(("Error", "Exception"))]
