"""`python -m tests.day [--runs 500]`: a day's use, compressed.

Mixed suites, four at a time, of two versions of the plugin, while the daemon is stopped, restarted, killed and, half-way,
upgraded from the older version. At the end every run must be whole, and the daemon must have given back what it took.
Exit code 0 if so, 1 if not, 2 if it cannot be tried.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.place import wait_until
from tests.upgrade import COMMAND_S, OLD_COMMIT, PROJECT, Missing, Place, Version, export, install, placed

AT_ONCE: Final = 4
DISTURB_EVERY: Final = 25
RSS_LIMIT: Final = 64 * 2**20
DESCRIPTORS_MORE: Final = 4
"""How many more than a new daemon an idle one may have: readers of the store, kept for the next question."""
DISK_PER_RUN: Final = 256 * 1024
LOG_LIMIT: Final = 7 * 2**20

SUITES: Final = {
    "passes": "def test_it(n): pass",
    "fails": "def test_it(n): assert n % 5",
    "errors": "@pytest.fixture\ndef bad(): raise OSError('gone')\ndef test_it(n, bad): pass",
    "skips": "def test_it(n): pytest.skip('later')",
    "prints": "def test_it(n):\n    print('x' * 50_000)\n    assert n % 7",
    "long names": "def test_it(n, long): pass",
    "subtests": "def test_it(n, subtests):\n    for i in range(3):\n        with subtests.test(i=i): assert i < 2 or n % 9",
    "exits": "def test_it(n):\n    if n == 12: os._exit(0)",
    "is killed": "def test_it(n):\n    if n == 12: os.kill(os.getpid(), 9)",
    "stops": "def test_it(n):\n    if n == 12: pytest.exit('enough')",
    "does not import": "import no_such_module",
    "forks": "def test_it(n):\n    if n == 3:\n        if os.fork() == 0: os._exit(0)\n        os.wait()",
    "workers": "def test_it(n): assert n % 5",
    "worker dies": "def test_it(n):\n    if n == 12: os._exit(3)",
}
HEAD: Final = """import os, pytest
def pytest_generate_tests(metafunc):
    if "n" in metafunc.fixturenames: metafunc.parametrize("n", range(25))
    if "long" in metafunc.fixturenames: metafunc.parametrize("long", ["y" * 900 + str(i) for i in range(4)])
"""


class Day:
    """What happens in a place while its daemon changes."""

    def __init__(self, place: Place, old: Version, new: Version, runs: int, seed: int) -> None:
        self._place = place
        self._old = old
        self._new = new
        self._daemon = old
        self._runs = runs
        self._random = random.Random(seed)
        self._done = 0
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self.kinds: Counter[str] = Counter()
        self.disturbed: Counter[str] = Counter()
        self.peak = 0
        for kind, text in SUITES.items():
            directory = place.path / kind.replace(" ", "_")
            directory.mkdir()
            (directory / "conftest.py").write_text(HEAD)
            (directory / "test_it.py").write_text(f"import os, pytest\n{text}\n")

    def pass_by(self) -> None:
        """Run all suites."""
        names = list(SUITES)
        order = [names[number % len(names)] for number in range(self._runs)]
        self._random.shuffle(order)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self._run, range(self._runs), order))

    def pid(self) -> int:
        return int((self._place.state / "daemon.lock").read_text())

    def _run(self, number: int, kind: str) -> None:
        version = (self._old, self._new)[number % 2]
        more = ["-n", "2"] if kind.startswith("worker") else []
        subprocess.run(
            [version.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *more, kind.replace(" ", "_")],
            env={**self._place.environ, "THREEPIO_RUN_ID": f"run-{number}"},
            cwd=self._place.path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_S,
            check=False,
        )
        with self._lock:
            self.kinds[kind] += 1
            self._done += 1
            done = self._done
        self._look()
        if done % DISTURB_EVERY == 0:
            with self._turn:
                self._disturb(done)

    def _look(self) -> None:
        try:
            fields = Path(f"/proc/{self.pid()}/statm").read_text().split()
        except (OSError, ValueError):
            return  # it is between two lives
        self.peak = max(self.peak, int(fields[1]) * os.sysconf("SC_PAGE_SIZE"))

    def _disturb(self, done: int) -> None:
        if self._daemon is self._old and done >= self._runs // 2:
            how, self._daemon = "upgraded", self._new
            self._command("restart")
        else:
            how = ("restarted", "killed", "stopped")[done // DISTURB_EVERY % 3]
            if how == "restarted":
                self._command("restart")
            elif how == "killed":
                os.kill(self.pid(), signal.SIGKILL)
                self._command("start")
            else:
                self._command("stop")
                time.sleep(1)  # suites begin and end without a daemon meanwhile
                self._command("start")
        self.disturbed[how] += 1

    def _command(self, word: str) -> None:
        done = self._place.run(self._daemon, "threepiod", word)
        assert done.returncode == 0, f"threepiod {word}: {done.stderr}"


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def check(day: Day, place: Place, new: Version, runs: int) -> list[tuple[str, str, bool]]:
    """Return (what, what was found, whether it is fine) of everything that is to hold at the end."""
    pid = day.pid()

    def all_whole() -> bool:
        return place.run(new, "threepio", "verify", "--all", "--json").returncode == 0

    is_whole = True
    try:
        wait_until(all_whole, 120.0)
    except AssertionError:
        is_whole = False
    verified = json.loads(place.run(new, "threepio", "verify", "--all", "--json").stdout)["runs"]
    bad = [row["run_id"] for row in verified if row["missing"] or row["duplicates"] or row["corrupt"]]
    status = json.loads(place.run(new, "threepiod", "status", "--json").stdout)
    found = descriptors(pid)
    assert place.run(new, "threepiod", "restart").returncode == 0
    idle = descriptors(day.pid())
    files = [path for path in place.state.rglob("*") if path.is_file()]
    disk = sum(path.stat().st_blocks * 512 for path in files) / runs
    log = sum(path.stat().st_size for path in files if path.parent.name == "logs")
    left = [path.name for path in place.path.rglob("*") if path.name.endswith((".part", ".masked", ".tmp"))]
    states = Counter(
        row["state"] for row in json.loads(place.run(new, "threepio", "runs", "-n", str(runs), "--json").stdout)["runs"]
    )
    live = sum(states[name] for name in ("running", "detached"))
    return [
        (
            "runs that are whole",
            f"{len(verified) - len(bad)} of {runs}",
            is_whole and not bad and len(verified) == runs,
        ),
        ("states", ", ".join(f"{count} {name}" for name, count in states.most_common()), not live),
        ("daemon's peak memory", f"{day.peak / 2**20:.1f} MiB", day.peak <= RSS_LIMIT),
        ("its descriptors, idle", f"{found}; of a new one {idle}", found <= idle + DESCRIPTORS_MORE),
        ("its runs that are not over", str(status["runs_active"]), status["runs_active"] == 0),
        ("errors of the last one", f"{status['errors']} ({status['last_error']})", status["errors"] == 0),
        ("disk for each run", f"{disk / 1024:.0f} KiB", disk <= DISK_PER_RUN),
        ("its log", f"{log / 1024:.0f} KiB", log <= LOG_LIMIT),
        ("files that should be gone", str(left or "none"), not left),
    ]


def main() -> int:
    """Let a day pass."""
    parser = argparse.ArgumentParser(prog="python -m tests.day", description=__doc__)
    parser.add_argument("--runs", type=int, default=500, metavar="N", help="how many runs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the suites (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="3p-") as room:
        directory = Path(room)
        try:
            old, new = (
                install("old", export(OLD_COMMIT, directory), directory, "pytest-xdist"),
                install("new", PROJECT, directory, "pytest-xdist"),
            )
        except (Missing, subprocess.CalledProcessError) as error:
            print(f"tests.day: {error}", file=sys.stderr)
            return 2
        with placed(new) as place:
            assert place.run(old, "threepiod", "start").returncode == 0
            day = Day(place, old, new, options.runs, options.seed)
            start = time.monotonic()
            day.pass_by()
            seconds = time.monotonic() - start
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(day.kinds.items()))
            print(f"{options.runs} runs in {seconds:.0f} s: {kinds}")
            print(f"the daemon was {', '.join(f'{how} {count} times' for how, count in sorted(day.disturbed.items()))}")
            results = check(day, place, new, options.runs)
            for what, found, is_fine in results:
                print(f"{what:<30} {found:<60} {'OK' if is_fine else 'NOT OK'}", flush=True)
    return 0 if all(is_fine for _, _, is_fine in results) else 1


if __name__ == "__main__":
    sys.exit(main())
