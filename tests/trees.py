"""The report tree against what is known of its run: every test of every group once, with what became of it, and no more.

    python -m tests.trees --kills 20 [--seed N]     kill the daemon in runs of pytest, each at a random moment
    python -m tests.trees --state DIR               check the trees of all runs of a state directory

The tree that the daemon's next start completes must be that of a daemon that nobody disturbed. Exit code 0 if all holds, 1
if something does not, 2 for bad usage. `check` is also what tests/suites asks of every suite.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from tests.place import Place, wait_until
from threepio_client.archive import Archive
from threepio_client.paths import StateDir
from threepio_client.report import markdown
from threepio_client.report.markdown import SYMBOLS, by_group, group_of, standing_of
from threepio_client.report.model import Report, read
from threepio_client.report.texts import code
from threepio_client.report.tree import GROUPS, RUN_PAGE, Folder, back_from, page_of

_TEST: Final = re.compile(r"- (\S) (`+)(.*?)(?<!`)\2(?!`)")
_TREE_S: Final = 30.0
_SUITE: Final = """
import time
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_one(number):
    time.sleep(0.001)
    print("printed")
    assert number % 41 != 40

@pytest.mark.skip(reason="not today")
def test_skipped(): pass

@pytest.mark.xfail(reason="known")
def test_known(): assert False

class TestNames:
    @pytest.mark.parametrize("text", ["a|b", "`tick`", "new\\nline", "\\x1b[31mred", "../../up", "{number}"])
    def test_text(self, text): pass
"""


def write(report: Report, path: Path) -> None:
    """Write the tree of a run, of which these are all tests, into a directory, as the daemon should write it."""
    files = markdown.by_group(report.tests)
    groups = [markdown.group_of(name, cases) for name, cases in files.items()]
    path.mkdir(parents=True, exist_ok=True)
    with Folder(os.open(path, os.O_RDONLY)) as folder:
        for group in groups:
            page = page_of(group.name)
            sections = markdown.sections_of(group.name, files[group.name])
            folder.write(page, markdown.group_page(report.view["run_id"], group, sections, back_from(page)))
        rows = [markdown.group_row(group, page_of(group.name)) for group in markdown.in_order(groups)]
        totals, causes = markdown.groups_totals(groups), markdown.told(report.causes)
        folder.write(RUN_PAGE, markdown.run_page(report.view, totals, causes, rows, link=page_of))
        folder.remove_others({page_of(group.name) for group in groups}.__contains__)


def folder_of(state_dir: StateDir, run_id: str) -> Path:
    """Return the folder of a complete tree; fail if it does not become complete."""
    mark = state_dir.reports / f"{run_id}.written"
    wait_until(mark.exists, _TREE_S)
    return Path(json.loads(mark.read_text()), "runs", run_id)


def check(state_dir: StateDir, run_id: str) -> int:
    """Check the tree of a run that is over, as soon as it is complete; return how many tests it has.

    Raises:
        AssertionError: it has something else than is known of the run.
    """
    archive = Archive(state_dir)
    folder = folder_of(state_dir, run_id)
    report = read(archive, run_id)
    state = f'state: "{report.view["state"]}"\n'  # of what was told after the run's end the daemon knows a tick later
    wait_until(lambda: state in (folder / RUN_PAGE).read_text("utf-8"), _TREE_S)
    check_folder(folder, report)
    return len(report.tests)


def check_folder(folder: Path, report: Report) -> None:
    """Check a tree against a report; raises AssertionError."""
    files = by_group(report.tests)
    pages = {page_of(name): name for name in files}
    assert len(pages) == len(files), "two groups share a page"
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}
    wanted = {RUN_PAGE, *pages}
    assert there == wanted, f"files: {sorted(there ^ wanted)[:5]}"
    for page, name in pages.items():
        text = (folder / page).read_bytes().decode()
        assert text.replace("\n", "").replace("\t", "").isprintable(), f"{page} has control characters"
        expected = Counter(
            (SYMBOLS[standing_of(case)], code(case.nodeid.removeprefix(f"{name}::"))) for case in files[name]
        )
        found = Counter(
            (match[1], f"{match[2]}{match[3]}{match[2]}") for match in map(_TEST.match, text.split("\n")) if match
        )
        assert found == expected, f"{page}: {list((found - expected) + (expected - found))[:5]}"
        _check_sums(page, text, group_of(name, files[name]).counts)
    text = (folder / RUN_PAGE).read_bytes().decode()
    rows = [line for line in text.split("\n") if line.startswith("| ") and f"]({GROUPS}/" in line]
    assert len(rows) == len(pages), f"{len(rows)} rows for {len(pages)} groups"
    assert f'state: "{report.view["state"]}"\n' in text, "the run's state"
    for name, count in report.view["counts"].items():
        assert f"\n{name}: {count}\n" in text, f"the run's page does not say {name}: {count}"
    failures, causes = sum(cause.count for cause in report.causes), len(report.causes)
    assert f"\n## Failures: {failures}, causes: {causes}\n" in text, f"not {failures} failures of {causes} causes"
    totals = Counter(standing_of(case) for case in report.tests)
    for standing, symbol in SYMBOLS.items():
        if totals[standing]:
            assert f"\n| {symbol} | {standing} | {totals[standing]} | " in text, f"{standing}: not {totals[standing]}"


def _check_sums(page: str, text: str, counts: Mapping[str, int]) -> None:
    head = text.split("---\n")[1]
    for standing in SYMBOLS:
        said = re.search(rf"^{standing}: (\d+)$", head, re.M)
        assert (int(said[1]) if said else 0) == counts.get(standing, 0), f"{page}: {standing}"


def same(one: Path, other: Path) -> list[str]:
    """Return the files in which two folders differ."""
    names = {str(path.relative_to(top)) for top in (one, other) for path in top.rglob("*") if path.is_file()}
    return sorted(name for name in names if not _is_same(one / name, other / name))


def _is_same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def write_suite(path: Path, files: int, count: int) -> None:
    """Write a suite of so many files with so many tests each, some of which fail."""
    path.mkdir()
    (path / "pytest.ini").write_text("[pytest]\n")
    for number in range(files):
        (path / f"test_{number}.py").write_text(_SUITE.format(count=count, number=number))


def kill_at(place: Place, moment_s: float, files: int, count: int) -> tuple[int, str]:
    """Kill the daemon so long after a run began, start it again, and compare its tree with an undisturbed daemon's.

    Returns:
        How many tests the tree has, and what the kill met: the marks and pages that there were.

    Raises:
        AssertionError: the trees differ, or one is wrong.
    """
    suite = place.path / "suite"
    write_suite(suite, files, count)
    place.start_daemon()
    with place.start_pytest("-q", "suite", THREEPIO_RUN_ID="run") as running:
        wait_until(place.state_dir.journal("run").exists)
        time.sleep(moment_s)
        place.kill_daemon()
        reports = place.state_dir.reports
        marks = ", ".join(sorted(os.listdir(reports))) if reports.exists() else "no mark"
        pages = sum(1 for _ in (suite / ".threepio").rglob("*.md"))
        place.start_daemon()
        running.communicate(timeout=120)
    tests = check(place.state_dir, "run")
    place.stop_daemon()
    disturbed = place.path / "disturbed"
    (suite / ".threepio").rename(disturbed)
    other = Place(place.path / "other")
    journals = other.state_dir.journals
    journals.mkdir(mode=0o700, parents=True)
    os.chmod(journals.parent, 0o700)
    for path in place.state_dir.journals.iterdir():
        shutil.copy(path, journals)
    try:
        other.start_daemon()
        check(other.state_dir, "run")
    finally:
        other.stop_daemon()
    differing = same(disturbed, suite / ".threepio")
    assert not differing, f"killed after {moment_s:.3f} s: {differing[:5]} differ"
    assert os.readlink(disturbed / "latest") == "runs/run"
    return tests, f"{marks}, {pages} pages"


def main() -> int:
    """Do what was asked for, and print a line for each run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.trees", description="Check report trees.", allow_abbrev=False
    )
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="runs in which the daemon is killed")
    parser.add_argument("--seed", type=int, metavar="N", help="of the moments (default: a new one)")
    parser.add_argument("--state", type=Path, metavar="DIR", help="check the trees of all runs of this state directory")
    options = parser.parse_args()
    if not options.kills and options.state is None:
        parser.error("nothing to do: give --kills or --state")
    holds = True
    if options.state is not None:
        state_dir = StateDir(options.state.resolve())
        for run_id in Archive(state_dir).run_ids():
            holds = _said(run_id, partial(_checked, state_dir, run_id)) and holds
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    moments = random.Random(seed)
    if options.kills:
        print(f"seed {seed}")
    for _ in range(options.kills):
        moment_s = moments.uniform(0.0, 12.0)
        holds = _said(f"killed after {moment_s:.3f} s", partial(_killed, moment_s)) and holds
    return 0 if holds else 1


def _checked(state_dir: StateDir, run_id: str) -> str:
    return f"{check(state_dir, run_id)} tests, each once"


def _killed(moment_s: float) -> str:
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    place = Place(path)
    try:
        tests, met = kill_at(place, moment_s, files=80, count=80)
        return f"{tests} tests, the same tree; met: {met}"
    finally:
        place.stop_daemon()
        shutil.rmtree(path, ignore_errors=True)


def _said(name: str, action: Callable[[], str]) -> bool:
    try:
        print(f"{name}: {action()}", flush=True)
    except AssertionError as error:
        print(f"{name}: NO: {error}", flush=True)
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
