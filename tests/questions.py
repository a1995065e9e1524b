"""Every question that `threepio` answers, asked of one place; as a program, for a process that may not do all.

python -m tests.questions DIRECTORY PATIENCE_S
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.commands import Result, call_threepio
from tests.place import Place
from tests.two_runs import BREAKS, FIXED
from threepio_client.cli import source

ASKED: Final[dict[str, Sequence[str]]] = {
    **{f"status of {run}": ("status", run) for run in ("two", "green", "dead", "live")},
    "status of no run": ("status", "nothing"),
    "runs": ("runs",),
    "failures": ("failures", "two"),
    "failures of a live run": ("failures", "live"),
    "new failures": ("failures", "two", "--since", "one"),
    "show": ("show", BREAKS, "two"),
    "show what was run again": ("show", FIXED, "two"),
    "show no test": ("show", "nothing", "two"),
    "show of a live run": ("show", "test_is_bad", "live"),
    "show of what is in flight": ("show", "test_waits", "live"),
    "show of what has no outcome yet": ("show", "test_is_last", "live"),
    "show of what never ran": ("show", "test_fine", "dead"),
    "diff": ("diff", "", "two"),
    "diff with a live run": ("diff", "two", "live"),
    "slow": ("slow", "two"),
    "flaky": ("flaky",),
    "history of several runs": ("history", FIXED),
    "history without an outcome": ("history", "test_live.py::test_waits"),
    "never-ran": ("never-ran", "dead"),
    "never-ran of a live run": ("never-ran", "live"),
    "wait for a live run": ("wait", "live", "--max", "0s"),
    "wait for a failure": ("wait", "live", "--until", "first-failure", "--max", "0s"),
    "events": ("events", "two"),
    "events of a type": ("events", "live", "--type", "testCase"),
    "stacks of a run that is over": ("stacks", "dead"),
    "stacks of a live run": ("stacks", "live"),
    "prune": ("prune", "--keep", "1", "--dry-run"),
    "verify": ("verify", "--all"),
}


def ask_all(place: Place, patience_s: float) -> dict[str, Result]:
    """Return the answers in words and, under the name with `--json`, as JSON.

    Args:
        place: where the runs are.
        patience_s: seconds to wait for a daemon that says nothing.
    """
    usual, source.PATIENCE_S = source.PATIENCE_S, patience_s  # type: ignore[misc]
    try:
        asked = {f"{name}{end}": (*words, *end.split()) for name, words in ASKED.items() for end in ("", " --json")}
        return {name: call_threepio(place, *words) for name, words in asked.items()}
    finally:
        source.PATIENCE_S = usual  # type: ignore[misc]


if __name__ == "__main__":
    here = Place(Path(sys.argv[1]))
    here.environ = dict(os.environ)
    json.dump(
        {name: dataclasses.asdict(result) for name, result in ask_all(here, float(sys.argv[2])).items()}, sys.stdout
    )
