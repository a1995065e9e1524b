"""`python -m tests.upgrade [--from COMMIT]`: an older and this version side by side, during running suites.

Builds a wheel of each, installs both in environments of their own, and lets the parts of one meet those of the other.
Prints what came of each meeting. Exit code 0 if nothing was lost anywhere, 1 if something was, 2 if it cannot be tried.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from threepiod.schema import MIGRATIONS

PROJECT: Final = Path(__file__).parent.parent
OLD_COMMIT: Final = "038c57bc9a243806cdbb2b7ca521deabbe51b43c"
"""The last one whose store has the first schema: the main job worked, the store has been migrated since."""
COMMAND_S: Final = 120.0
TESTS: Final = 80
SUITE: Final = f"""
import time, pytest
@pytest.mark.parametrize("n", range({TESTS}))
def test_it(n):
    time.sleep(0.05)
    if n % 20 == 3: pytest.skip("three")
    assert n % 20 != 7
"""


class Version(NamedTuple):
    """An installed version.

    Attributes:
        name: `old` or `new`.
        env: its environment.
    """

    name: str
    env: Path

    @property
    def python(self) -> str:
        return str(self.env / "bin" / "python")

    def command(self, name: str) -> str:
        return str(self.env / "bin" / name)


class Missing(Exception):
    """Something is not here without which nothing can be tried."""


class Place:
    """A state directory, a socket, and suites that run there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "state"
        self.store = self.state / "store.sqlite3"
        self.environ = {name: text for name, text in os.environ.items() if not name.startswith(("THREEPIO", "PYTHON"))}
        self.environ |= {
            "THREEPIO_STATE_DIR": str(self.state),
            "THREEPIO_SOCKET": str(path / "socket"),
            "XDG_CONFIG_HOME": str(path / "config"),
        }
        (path / "test_it.py").write_text(SUITE)

    def run(self, version: Version, name: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of a version to its end."""
        return subprocess.run(
            [version.command(name), *words],
            env=self.environ,
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )

    def start_suite(self, version: Version, run: str) -> subprocess.Popen[str]:
        """Start a suite with the plugin of a version; return when some of its tests have run."""
        suite = subprocess.Popen(
            [version.python, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
            env={**self.environ, "THREEPIO_RUN_ID": run},
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        journal = self.state / "journals" / f"{run}.jsonl"
        wait_until(lambda: journal.exists() and journal.read_bytes().count(b'"testCase"') > 5)
        return suite

    def status(self, version: Version, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(version, "threepio", "status", run, "--json").stdout)
        return found

    def check_whole(self, run: str, suite: subprocess.Popen[str], *asked: Version) -> str:
        """Wait for a suite; return what is wrong with what is kept of it, by each version that is asked."""
        output, _ = suite.communicate(timeout=COMMAND_S)
        wrong = [] if suite.returncode == 1 else [f"pytest ended with {suite.returncode}: {output}"]
        told = {
            name: int(count) for count, name in re.findall(r"(\d+) (failed|passed|skipped)", output.splitlines()[-1])
        }
        for version in asked:
            for _ in range(100):
                done = self.run(version, "threepio", "verify", run, "--json")
                if done.returncode == 0:
                    break
                time.sleep(0.1)
            else:
                wrong.append(f"verify by the {version.name} version: {done.stdout}{done.stderr}")
                continue
            found = json.loads(done.stdout)
            if found["missing"] or found["duplicates"] or found["corrupt"] or not found["stored_events"]:
                wrong.append(f"verify by the {version.name} version: {found}")
            counts = self.status(version, run)["counts"]
            if {name: counts[name] for name in told} != told or sum(told.values()) != TESTS:
                wrong.append(f"counts by the {version.name} version: {counts} instead of {told}")
        return "; ".join(wrong)

    def daemon_version(self, version: Version) -> int:
        """Return the pid of the daemon, by a version's own words."""
        return int(json.loads(self.run(version, "threepiod", "status", "--json").stdout)["pid"])


def wait_until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.02)


@contextmanager
def placed(by: Version) -> Iterator[Place]:
    """Give a place of its own, whose daemon is ended at the end."""
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    place = Place(path)
    try:
        yield place
    finally:
        try:
            os.kill(int((place.state / "daemon.lock").read_text()), signal.SIGTERM)
            wait_until(lambda: place.run(by, "threepiod", "status").returncode == 5)
        except (OSError, ValueError):
            pass  # there is none
        shutil.rmtree(path, ignore_errors=True)


Result = tuple[str, str]
"""What was seen, and what was wrong: empty if nothing was."""


def whole_suite(daemon: Version, plugin: Version, old: Version, new: Version) -> Result:
    """A daemon of one version takes a suite whose plugin is of the other."""
    with placed(new) as place:
        started = place.run(daemon, "threepiod", "start")
        if started.returncode:
            return "", started.stderr
        suite = place.start_suite(plugin, "run")
        live = {version.name: place.status(version, "run") for version in (old, new)}
        wrong = place.check_whole("run", suite, daemon)
        states = {name: view["state"] for name, view in live.items()}
        # A daemon that is older than the command is named, and store and journals answer: from them the run is detached.
        if states["old"] != "running" or states["new"] not in (
            ("running", "detached") if daemon is old else ("running",)
        ):
            wrong += f" asked while it ran: {states}"
        events = place.status(daemon, "run")["events"]
        if events.get("spilled"):
            wrong += f" spilled: {events}"
        return (
            f"status {states['old']} (old), {states['new']} (new); {events['stored']} events stored, verify whole",
            wrong,
        )


def replaced(old: Version, new: Version) -> Result:
    """`threepiod restart` of this version replaces an old daemon while suites of both versions run."""
    with placed(new) as place:
        assert place.run(old, "threepiod", "start").returncode == 0
        before = place.daemon_version(new)
        suites = {version.name: place.start_suite(version, version.name) for version in (old, new)}
        done = place.run(new, "threepiod", "restart")
        if done.returncode:
            return "", f"restart: {done.stderr}"
        after = place.daemon_version(new)
        wrong = [place.check_whole(name, suite, new) for name, suite in suites.items()]
        names = migrations(place.store)
        copies = sorted(place.state.glob("store.sqlite3.before-*"))
        if names != [step.name for step in MIGRATIONS] or before == after:
            wrong.append(f"the store has {names}, the daemon was {before} and is {after}")
        if len(copies) != 1 or migrations(copies[0]) != [MIGRATIONS[0].name]:
            wrong.append(f"copies: {copies}")
        assert place.run(new, "threepiod", "restart").returncode == 0
        again = place.state.glob("store.sqlite3.before-*")  # reading one leaves -wal and -shm beside it
        if {path.name.removesuffix("-wal").removesuffix("-shm") for path in again} != {copies[0].name}:
            wrong.append("copied a second time")
        seen = f"pid {before} -> {after} during two suites, both whole; migrated once, with a copy of the first form"
        return seen, "; ".join(filter(None, wrong))


def refused(old: Version, new: Version) -> Result:
    """An old daemon is started over a newer store while a suite runs: it refuses, and this version goes on."""
    with placed(new) as place:
        assert place.run(new, "threepiod", "start").returncode == 0
        first = place.start_suite(new, "first")
        first.communicate(timeout=COMMAND_S)
        assert place.run(new, "threepiod", "stop").returncode == 0
        before = place.store.read_bytes()
        suite = place.start_suite(old, "second")  # alone, in its journal
        done = place.run(old, "threepiod", "start")
        is_untouched = place.store.read_bytes() == before
        wrong = [] if is_untouched else ["the old daemon changed the newer store"]
        if done.returncode == 0 or "newer threepiod" not in done.stderr:
            wrong.append(f"the old daemon said {done.returncode}: {done.stderr}")
        assert place.run(new, "threepiod", "start").returncode == 0
        wrong.append(place.check_whole("second", suite, new))
        seen = f"exit code {done.returncode}, the store byte for byte as it was; the suite whole with this version's daemon"
        return seen, "; ".join(filter(None, wrong))


def gone_back(old: Version, new: Version) -> Result:
    """The older version takes its store again, and what came since then from the journals."""
    with placed(new) as place:
        assert place.run(old, "threepiod", "start").returncode == 0
        place.start_suite(old, "before").communicate(timeout=COMMAND_S)
        assert place.run(new, "threepiod", "restart").returncode == 0
        suite = place.start_suite(new, "after")
        wrong = [place.check_whole("after", suite, new)]
        assert place.run(new, "threepiod", "stop").returncode == 0
        (copy,) = place.state.glob("store.sqlite3.before-*")
        copy.replace(place.store)
        done = place.run(old, "threepiod", "start")
        if done.returncode:
            wrong.append(f"the old daemon does not start: {done.stderr}")
        for run in ("before", "after"):
            wait_until(lambda run=run: place.run(old, "threepio", "verify", run).returncode == 0)  # type: ignore[misc]
        return "both runs whole in the old store, one of them from its journal", "; ".join(filter(None, wrong))


def migrations(store: Path) -> list[str]:
    with closing(sqlite3.connect(f"{store.as_uri()}?mode=ro", uri=True)) as db:
        return [name for (name,) in db.execute("SELECT name FROM migrations ORDER BY name")]


def install(name: str, source: Path, directory: Path, *more: str) -> Version:
    """Build a wheel of the source and install it in an environment of its own."""
    env, wheels = directory / name, directory / f"{name}-wheel"
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(wheels), str(source)]
    for command in (build, [sys.executable, "-m", "venv", str(env)]):
        subprocess.run(command, check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([str(env / "bin" / "pip"), "install", "-q", f"{wheel}[daemon]", "pytest", *more], check=True)
    return Version(name, env)


def export(commit: str, directory: Path) -> Path:
    """Return the files of a commit."""
    tree = directory / "tree"
    tree.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=PROJECT, capture_output=True, check=False)
    if archive.returncode:
        raise Missing(f"git does not have {commit} here: {archive.stderr.decode().strip()}. Is this a whole clone?")
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    return tree


def main() -> int:
    """Build both versions and let them meet."""
    parser = argparse.ArgumentParser(prog="python -m tests.upgrade", description=__doc__)
    parser.add_argument("--from", dest="commit", default=OLD_COMMIT, metavar="COMMIT", help="the older version")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="3p-") as room:
        directory = Path(room)
        try:
            old, new = install("old", export(options.commit, directory), directory), install("new", PROJECT, directory)
        except (Missing, subprocess.CalledProcessError) as error:
            print(f"tests.upgrade: {error}", file=sys.stderr)
            return 2
        meetings: dict[str, Callable[[], Result]] = {
            "old daemon, new plugin": lambda: whole_suite(old, new, old, new),
            "new daemon, old plugin": lambda: whole_suite(new, old, old, new),
            "old daemon, old plugin, new commands": lambda: whole_suite(old, old, old, new),
            "old daemon replaced in mid-suite": lambda: replaced(old, new),
            "old daemon over a newer store": lambda: refused(old, new),
            "back to the old version": lambda: gone_back(old, new),
        }
        failed = 0
        print(f"| {options.commit[:10]} and this version | what came of it | |\n|---|---|---|", flush=True)
        for name, meet in meetings.items():
            seen, wrong = meet()
            failed += bool(wrong)
            print(f"| {name} | {wrong or seen} | {'NOT OK' if wrong else 'OK'} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
