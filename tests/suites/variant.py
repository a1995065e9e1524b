"""What a row of the table of hostile suites is: a module of `tests/suites/rows/` named `rowNN_what.py`.

It has DOES (what the suite does), HOLDS (what must hold) and VARIANTS. What holds for every suite is checked by
`checker.py`; a variant says what is particular to it.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.row import NotHere
from tests.place import Place
from tests.suites import rows

if TYPE_CHECKING:
    from tests.suites.checker import Compared

__all__ = ["Kind", "NotHere", "Process", "Row", "Variant", "all_rows"]

Kind = str | tuple[str, ...]
"""One word, or several of which any will do."""


@dataclass(kw_only=True)
class Process:
    """One of a variant's processes before it is started; what stands around it may change it.

    Attributes:
        name: "none" without the plugin, "with" with it and a daemon, "solo" with it and no daemon.
        place: where its state directory and socket are.
        directory: where its suite lies.
        environ: its environment.
        prefix: the command that starts pytest in its turn.
    """

    name: str
    place: Place
    directory: Path
    environ: dict[str, str]
    prefix: list[str] = field(default_factory=list)


Around = Callable[[Process], AbstractContextManager[None]]
Ground = Callable[[Place], AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One suite, how it is called, and what must come of it.

    Attributes:
        name: of the variant.
        suite: folder below `tests/suites/data`; empty if `files` says it all.
        files: further files, text by path.
        arguments: pytest's.
        plugins: names of the pytest plugins that it needs; all others that are installed are blocked.
        modules: further modules that it needs.
        min_pytest: the first pytest that can run it.
        environ: further environment.
        cwd: working directory, below the suite's.
        around: stands around each of the processes, from before its start until after its end.
        ground: stands around everything, from before a daemon of the variant's own is started.
        own_daemon: the suite does something to the daemon (whose pid is in DAEMON_PID) or to its files, so it gets one of
            its own.
        exit_code: pytest's; None if it is not to be compared with a number.
        state, kind: what the run must be called; by default `passed` for exit code 0 and `failed`, `tests-failed` for 1.
        solo_state, solo_kind: the same without a daemon, where that differs.
        counts: what is to be counted; None if pytest's last line alone says it.
        counts_8: the same with pytest 8, where that differs.
        with_workers: order of tests and lines is not the same in two runs.
        own_output: what pytest prints, and which test has which outcome, differs from run to run by itself: each run is
            compared with its own last line and its own report log.
        reportlog: False where reportlog does not survive the suite.
        has_run: False where pytest gives up before there is a session.
        dies: the process ends itself, so there is no last line and no closing line.
        loses: the journal or the store cannot be whole; `check` says what there must be instead.
        solo_loses: the same, only without a daemon.
        says: beginnings of what the plugin must say beside header and closing line.
        solo_says: beginnings of what it must say instead without a daemon; None: the same.
        may_say: beginnings of what it may say.
        check: further checks of each run with the plugin; raises AssertionError.
        unforeseen: nobody knows beforehand what comes of it: whether there is a run, whether it dies, and what it must be
            called follow from what pytest did (`unforeseen.py`).
        runs_alone: False leaves out the run without a daemon.
        long: only in the long form.
    """

    name: str = ""
    suite: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    min_pytest: int = 8
    environ: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "."
    around: Around | None = None
    ground: Ground | None = None
    own_daemon: bool = False
    exit_code: int | None = None
    state: Kind = ""
    kind: Kind = ""
    solo_state: Kind = ""
    solo_kind: Kind = ""
    counts: Mapping[str, int] | None = None
    counts_8: Mapping[str, int] | None = None
    with_workers: bool = False
    own_output: bool = False
    reportlog: bool = True
    has_run: bool = True
    dies: bool = False
    loses: bool = False
    solo_loses: bool = False
    says: tuple[str, ...] = ()
    solo_says: tuple[str, ...] | None = None
    may_say: tuple[str, ...] = ()
    check: Callable[[Compared], None] | None = None
    unforeseen: bool = False
    runs_alone: bool = True
    long: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row, found by its module's name."""

    number: int
    does: str
    holds: str
    variants: tuple[Variant, ...]


def all_rows() -> list[Row]:
    """Return every row that there is a module for, by number."""
    found = []
    for module_info in pkgutil.iter_modules(rows.__path__):
        module = importlib.import_module(f"{rows.__name__}.{module_info.name}")
        number = int(module_info.name.removeprefix("row").partition("_")[0])
        found.append(Row(number=number, does=module.DOES, holds=module.HOLDS, variants=tuple(module.VARIANTS)))
    return sorted(found, key=lambda row: row.number)
