"""`threepio flaky`: tests that do not always say the same."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from typing import Annotated

import typer

from threepio_client import answers
from threepio_client.cli.options import AsJson, ShowAll
from threepio_client.cli.output import say, say_json
from threepio_client.cli.source import open_source
from threepio_client.committed import not_in_commit
from threepio_client.events import BAD, Status
from threepio_client.printable import number_of, one_line
from threepio_client.results import odd_tests, outcomes, results
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio flaky --runs 50"
RUNS = 20
SHOWN = 20


def flaky(
    runs: Annotated[int, typer.Option(min=1, help="How many runs of the latest run's rootdir to look at.")] = RUNS,
    as_json: AsJson = False,
    show_all: ShowAll = False,
) -> None:
    """List tests that passed only after another attempt, or that passed and failed at the same commit.

    Whether a test is the same at a commit is known where a daemon took its runs: tracked files were as committed, and
    the test's own file is in the commit.
    """
    with open_source() as source:
        archive = source.archive
        run_ids = archive.run_ids()
        rootdir = archive.beginning(source.find("latest")).start.get("rootdir") if run_ids else None
        commits: dict[str, str] = {}
        attempts: dict[str, int] = defaultdict(int)
        said: dict[tuple[str, str], set[bool]] = defaultdict(set)
        for run_id, state in islice(archive.of_rootdir(rootdir, run_ids), runs):
            git = state.start.get("git")
            commit = str(git.get("commit", "")) if isinstance(git, dict) and state.tree.get("dirty") is False else ""
            commits[run_id] = commit
        odd = odd_tests(archive, commits)
        for run_id, commit in commits.items():
            for nodeid, outcome in outcomes(results(archive, run_id, tests=odd)).items():
                if outcome.attempts > 1 and outcome.status == Status.PASS:
                    attempts[nodeid] += 1
                if commit and outcome.status in (Status.PASS, *BAD):
                    said[nodeid, commit].add(outcome.status == Status.PASS)
    looked = len(commits)
    files = {(nodeid, commit): nodeid.partition("::")[0] for (nodeid, commit), kinds in said.items() if len(kinds) > 1}
    new = not_in_commit(str(rootdir), {(commit, file) for (_, commit), file in files.items()}) if files else set()
    changing = {nodeid for (nodeid, commit), file in files.items() if (commit, file) not in new}
    found = sorted({*attempts, *changing}, key=lambda nodeid: (-attempts[nodeid], nodeid))
    if as_json:
        rows: list[answers.FlakyTest] = [
            {"nodeid": name, "needed_attempts": attempts[name], "changed_at_one_commit": name in changing}
            for name in found
        ]
        answer: answers.Flaky = {"schema_version": VIEW_VERSION, "runs": looked, "tests": rows}
        say_json(answer)
        return
    many = number_of(len(found), "flaky test") if found else "no flaky test"
    say(f"{many} in {number_of(looked, 'run')}")
    for nodeid in found if show_all else found[:SHOWN]:
        why = [f"passed after another attempt in {number_of(attempts[nodeid], 'run')}"] if attempts[nodeid] else []
        why += ["passed and failed at one commit"] if nodeid in changing else []
        say(one_line(f"  {nodeid}: {', '.join(why)}"))
    if len(found) > SHOWN and not show_all:
        say(f"  and {len(found) - SHOWN} more (--all)")
