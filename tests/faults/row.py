"""What a row of the fault table is: a module of `tests/faults/rows/` named `rowNN_what.py`.

It has FAULT (what is done), PASSES_WHEN (what must hold), and `run(scale, seed, place) -> Result`. `run` makes all of its
randomness from the seed, uses only the place that it is given, and ends every process that it started. It returns
a failing Result where a promise does not hold and raises NotHere where this machine cannot try it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import cast

from tests.faults import rows
from tests.place import Place


class Scale(Enum):
    """How much of a row is tried."""

    SHORT = "short"
    """Seconds, with fixed seeds: in every run of the tests."""
    LONG = "long"
    """The full figures: `python -m tests.faults --long`."""


class NotHere(Exception):
    """This machine cannot try the row; the text says what it lacks."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a row found.

    Attributes:
        figures: what was done and counted, in one sentence: `1,000 kills, 1,000,000 events: lost 0, doubled 0`.
        failures: each promise that did not hold, with the seed and the numbers that show it; empty if all held.
    """

    figures: str
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row, found by its module's name."""

    number: int
    fault: str
    passes_when: str
    run: Callable[[Scale, int, Place], Result]


def all_rows() -> list[Row]:
    """Return every row that there is a module for, by number."""
    found = []
    for module_info in pkgutil.iter_modules(rows.__path__):
        module = importlib.import_module(f"{rows.__name__}.{module_info.name}")
        run = cast(Callable[[Scale, int, Place], Result], module.run)
        number = int(module_info.name.removeprefix("row").partition("_")[0])
        found.append(Row(number=number, fault=module.FAULT, passes_when=module.PASSES_WHEN, run=run))
    return sorted(found, key=lambda row: row.number)
