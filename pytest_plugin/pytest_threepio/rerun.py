"""`--threepio-rerun RUN`: runs again only what failed in an earlier run and what never ran; what presumably killed it last.

xdist's workers do the same by themselves, so that all of them collect the same tests in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest

from pytest_threepio.inflight import nodeid_of
from threepio_client.errors import NoSuchRun
from threepio_client.here import is_meant
from threepio_client.line import plain_text
from threepio_client.paths import StateDir
from threepio_client.runfiles import find_run, first_record, runs_of, started_by
from threepio_client.selection import Selection, select

WORKER_INPUT: Final = "threepio_rerun"
"""Tells a worker which run is meant, and up to which event: `latest` would be this one, and a run may go on."""


class Rerun:
    """Leaves out the tests that are not wanted.

    Attributes:
        run_id: the run that is run again.
        plan: one sentence on what will be run.
    """

    def __init__(
        self, run_id: str, selection: Selection, nodeid: Callable[[str], str], *, only_failed: bool = False
    ) -> None:
        self.run_id = run_id
        self.plan = plan_of(run_id, selection) if selection or not only_failed else f"nothing failed in run {run_id}"
        self._seq = selection.seq
        self._is_whole = selection.is_whole
        self._last = frozenset(selection.suspects)
        self._wanted = {*selection.failed, *selection.never_ran, *selection.suspects}
        self._files = {nodeid.partition("::")[0] for nodeid in self._wanted}
        # A file that could not be collected, or a directory, stands for all that is in it.
        self._places = {nodeid for nodeid in self._wanted if "::" not in nodeid}
        self._are_paths: bool | None = None  # whether what node ids begin with are files
        self._missing = self._left_out = 0
        self._bare = nodeid

    def pytest_ignore_collect(self, collection_path: Path, config: pytest.Config) -> bool | None:
        """Do not even import a file of which no test is wanted."""
        if not self._is_whole or collection_path.is_dir() or not collection_path.is_relative_to(config.rootpath):
            return None
        if self._are_paths is None:
            self._are_paths = all((config.rootpath / name).exists() for name in self._files)
        if not self._are_paths:  # a conftest.py may give tests other names
            return None
        name = plain_text(collection_path.relative_to(config.rootpath).as_posix())
        return None if name in self._files or self._is_in_place(name) else True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Keep what is wanted, in the order in which it is, and put the suspects behind it: after all other plugins."""
        there = {self._nodeid(item.nodeid) for item in items}
        self._missing = len((self._wanted - self._places) - there) if self._is_whole else 0
        result = yield
        self._left_out = len(self._wanted & there - {self._nodeid(item.nodeid) for item in items})
        if self._is_whole:
            kept = [item for item in items if self._is_wanted(self._nodeid(item.nodeid))]
            left_out = [item for item in items if not self._is_wanted(self._nodeid(item.nodeid))]
            if left_out:
                config.hook.pytest_deselected(items=left_out)
            items[:] = kept
        items.sort(key=self._is_suspect)
        return result

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Have an xdist worker look at the same run."""
        node.workerinput[WORKER_INPUT] = (self.run_id, self._seq)

    def pytest_report_collectionfinish(self) -> list[str]:
        """Say what is not run again."""
        said = {"not there any more": self._missing, "left out by an option or another plugin": self._left_out}
        return [f"threepio: {count} of them are {what}" for what, count in said.items() if count]

    def _nodeid(self, name: str) -> str:
        """Return the node id as it stands in the journal."""
        return plain_text(self._bare(name))

    def _is_wanted(self, nodeid: str) -> bool:
        return nodeid in self._wanted or self._is_in_place(nodeid.partition("::")[0])

    def _is_suspect(self, item: pytest.Item) -> bool:
        return self._nodeid(item.nodeid) in self._last or self._nodeid(item.nodeid).partition("::")[0] in self._last

    def _is_in_place(self, name: str) -> bool:
        return any(name == place or place in ("", ".") or name.startswith(f"{place}/") for place in self._places)


def make(config: pytest.Config, state_dir: StateDir, reference: str, up_to: float, *, only_failed: bool) -> Rerun:
    """Return what leaves out the tests that are not wanted.

    Args:
        config: pytest's.
        state_dir: where the journals are.
        reference: a run id, a unique prefix of one, or `latest`: the last run of the same rootdir.
        up_to: seq of the run's last event that is looked at.
        only_failed: leave out what never ran; then the run may still go on.

    Raises:
        pytest.UsageError: there is no such run, or its journal cannot be read.
    """
    try:
        run_id = _find(state_dir, reference, str(config.rootpath))
        selection = select(state_dir, run_id, up_to)
    except NoSuchRun as error:
        raise pytest.UsageError(f"--threepio-rerun={reference}: {error}") from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise pytest.UsageError(f"--threepio-rerun={reference}: {where}{error.strerror or error}") from None
    if only_failed:
        selection = selection.only_failed()
    elif selection.is_alive:
        raise pytest.UsageError(
            f"--threepio-rerun={reference}: the run {run_id} is not over yet; "
            "what failed so far: add --threepio-rerun-failed"
        )
    return Rerun(run_id, selection, nodeid_of(config), only_failed=only_failed)


def plan_of(run_id: str, selection: Selection) -> str:
    """Return one sentence on what will be run again."""
    if not selection:
        return f"nothing to run again: nothing failed in run {run_id}, and {selection.rest}"
    counts = {
        "failed": len(selection.failed),
        "never ran": len(selection.never_ran),
        "was running when it ended": len(selection.suspects),
    }
    parts = [f"{number} that {what}" for what, number in counts.items() if number]
    if not selection.is_whole:
        parts.insert(0, "everything, because its collection was not over")
    return f"again from run {run_id}: {', '.join(parts)}"


def _find(state_dir: StateDir, reference: str, rootdir: str) -> str:
    try:
        files = runs_of(state_dir)
    except FileNotFoundError:
        files = {}
    if reference != "latest":
        return find_run(state_dir, list(files), reference)
    by_start = sorted(files, key=lambda run_id: started_by(files[run_id][min(files[run_id])]), reverse=True)
    for run_id in by_start:
        first = first_record(files[run_id][min(files[run_id])])
        start = first.event.payload if first is not None and first.event is not None else {}
        if start.get("rootdir") == rootdir and is_meant(start):
            return run_id
    raise NoSuchRun(f"no run of {rootdir} is known: see all of them with: threepio runs")
