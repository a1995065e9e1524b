"""Row 8: no room, a limit, a disk that became read-only - for the journal, for the store, for both."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

from tests.faults.mounts import Tmpfs, tmpfs
from tests.faults.row import NotHere, Result, Scale
from tests.place import Place, is_running, last_line, wait_until
from threepio_client.archive import Archive
from threepio_client.errors import ThreepioError
from threepio_client.verification import verify_run

FAULT = "ENOSPC, EFBIG, EROFS on journal, store, report"
PASSES_WHEN = "tests go on; status still answers; resumes without a gap"

PATIENCE_S = 30.0
SLOW = "import pathlib, time\nimport pytest\n"
SUITE = (
    SLOW
    + """
@pytest.mark.parametrize("n", range({tests}))
def test_many(n):
    if n == {tests} // 3:
        pathlib.Path("third").touch()
        while not pathlib.Path("go").exists():
            time.sleep(0.01)
    assert n != 7
"""
)
BIG_TESTS, KILL_EVERY_S, FULL_S, BUDGET_MS = 20_000, 2.0, 5.0, 2_000.0


def run(scale: Scale, seed: int, place: Place) -> Result:
    """Try each fault in a place of its own; the long form with more tests, and with kills of the daemon besides."""
    failures: list[str] = []
    figures: list[str] = []
    tests = 300 if scale is Scale.SHORT else 3_000
    tries: list[tuple[str, Callable[[_Try], None]]] = [
        ("state directory full", _full),
        ("file size limit", _limited),
    ]
    if scale is Scale.LONG:
        tries += [
            ("store full", _store_full),
            ("read-only", _read_only),
            ("full without a daemon", _full_alone),
            ("20,000 tests, daemon killed every 2 s, store full for 5 s", _big),
        ]
    for number, (name, action) in enumerate(tries):
        with ExitStack() as stack:
            attempt = _Try(place, number, tests, stack)
            try:
                action(attempt)
            except AssertionError as error:
                attempt.failures.append(f"{error}")
            figures.append(f"{name}: {attempt.figures}")
            failures += [f"seed {seed}: {name}: {text}" for text in attempt.failures]
    return Result(figures="; ".join(figures), failures=tuple(failures))


class _Try:
    """A place with a file system of its own for state directory or store."""

    def __init__(self, place: Place, number: int, tests: int, stack: ExitStack) -> None:
        self.path = place.path / str(number)
        self.path.mkdir()
        self.place = Place(self.path)
        self.tests = tests
        self.stack = stack
        self.failures: list[str] = []
        self.figures = "not reached"
        stack.callback(self.place.stop_daemon)
        self.place.suite(SUITE.format(tests=tests))

    def mount(self, size: str) -> Tmpfs:
        """Mount the state directory."""
        self.stack.pop_all()  # the daemon is to be stopped before its disk is taken away
        found = self.stack.enter_context(tmpfs(self.place.state_dir.path, size))
        self.stack.callback(self.place.stop_daemon)
        return found

    def expect(self, condition: object, text: str) -> None:
        """Note a promise that does not hold."""
        if not condition:
            self.failures.append(text)

    def suite(self, fault: Callable[[], None], mend: Callable[[], None], *prefix: str) -> str:
        """Run the suite; in its midst the fault begins, and ends after its end. Return its output."""
        process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
            env={**self.place.environ, "THREEPIO_RUN_ID": "run"},
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            wait_until((self.path / "third").exists, PATIENCE_S)
            fault()
            (self.path / "go").touch()
            output, _ = process.communicate(timeout=120)
            during = self.place.threepio("status", "run", "--json")
            self.expect(during.returncode in (0, 1) and '"run_id"' in during.stdout, f"status: {during.stderr}")
        finally:
            mend()
            if process.poll() is None:
                process.kill()
                process.communicate()
        line = last_line(output.splitlines())
        self.expect(process.returncode == 1, f"pytest's exit code is {process.returncode}: {output[-300:]}")
        self.expect(f"1 failed, {self.tests - 1} passed" in output, f"pytest's last line is {line}")
        return output

    def whole(self) -> None:
        """Expect that everything is there in the end."""
        try:
            wait_until(lambda: verify_run(Archive(self.place.state_dir), "run")["whole"], PATIENCE_S)
        except (AssertionError, ThreepioError):
            self.failures.append(f"verify: {self.place.threepio('verify', 'run').stdout}")
            return
        archive = Archive(self.place.state_dir)
        view, found = archive.view("run"), verify_run(archive, "run")
        self.expect(view["state"] == "failed", f"the run is {view['state']}, not failed")
        self.expect(view["counts"]["passed"] == self.tests - 1, f"{view['counts']['passed']} passed")
        self.figures = f"{found['journal_events']:,} events whole, blocked {view['blocked_ms']:.0f} ms"

    def not_green(self, output: str) -> None:
        """Expect that what nobody could take was counted and said."""
        archive = Archive(self.place.state_dir)
        wait_until(lambda: getattr(archive.stored("run"), "final", False), PATIENCE_S)
        found = verify_run(archive, "run")
        self.expect(archive.view("run")["state"] == "crashed", "the run is not called crashed")
        said = re.search(r"(\d+) events were lost", output)
        self.expect(said, f"nobody says how many events were lost: {output[-300:]}")
        lost, events = int(said[1]) if said else 0, found["journal_events"]
        self.expect(found["stored_events"] == events, f"{found['stored_events']} of {events} events are stored")
        # runStart, collection, one event a test, statistics, runComplete: at least these were attempted.
        self.expect(events + lost >= self.tests + 3, f"{events} events are in the journal, {lost} are said to be lost")
        self.figures = f"{events:,} events whole, {lost:,} counted and said to be lost, the run is never green"


def _full(attempt: _Try) -> None:
    disk = attempt.mount("8m")
    attempt.place.start_daemon()
    output = attempt.suite(disk.fill, disk.free)
    attempt.expect("No space left" in output, f"pytest says nothing of the full disk: {output[-300:]}")
    attempt.whole()


def _full_alone(attempt: _Try) -> None:
    attempt.place.environ["THREEPIO_SOCKET"] = str(attempt.place.state_dir.path / "socket")  # no spare directory
    disk = attempt.mount("8m")
    output = attempt.suite(disk.fill, disk.free)
    attempt.place.start_daemon()
    attempt.not_green(output)


def _store_full(attempt: _Try) -> None:
    disk = _mount_store(attempt)
    attempt.place.start_daemon()
    attempt.suite(disk.fill, disk.free)
    errors = json.loads(attempt.place.threepiod("status", "--json").stdout)["last_error"]
    attempt.expect(errors and "full" in errors["text"], f"the daemon's last error is {errors}")
    attempt.whole()


def _mount_store(attempt: _Try) -> Tmpfs:
    """The state directory is on a small disk of its own; only the journals are elsewhere."""
    disk = attempt.mount("32m" if attempt.tests > 10_000 else "8m")
    elsewhere = attempt.path / "journals"
    elsewhere.mkdir(mode=0o700)
    inside = attempt.place.state_dir.journals
    inside.mkdir(mode=0o700)
    if subprocess.run(["mount", "--bind", str(elsewhere), str(inside)], check=False).returncode:
        raise NotHere("needs bind mounts")
    attempt.stack.callback(subprocess.run, ["umount", "-l", str(inside)], check=True)
    return disk


def _read_only(attempt: _Try) -> None:
    # From the beginning: Linux refuses to make a mount read-only while somebody writes to it.
    disk = attempt.mount("32m")
    attempt.place.state_dir.journals.mkdir(mode=0o700)
    attempt.place.state_dir.logs.mkdir(mode=0o700)
    attempt.expect(disk.remount("ro"), "the disk did not become read-only")
    output = attempt.suite(_nothing, _nothing)
    attempt.expect("Read-only file system" in output, f"pytest says nothing of it: {output[-300:]}")
    attempt.expect(disk.remount("rw"), "the disk did not become writable")
    attempt.place.start_daemon()
    attempt.whole()


def _nothing() -> None:
    """No fault begins or ends in the midst of the suite."""


def _limited(attempt: _Try) -> None:
    if shutil.which("prlimit") is None:
        raise NotHere("needs prlimit")
    attempt.place.start_daemon()
    output = attempt.suite(_nothing, _nothing, "prlimit", "--fsize=40000")
    attempt.expect("File too large" in output, f"pytest says nothing of the limit: {output[-300:]}")
    attempt.whole()


def _big(attempt: _Try) -> None:
    attempt.tests = BIG_TESTS
    attempt.place.suite(SUITE.format(tests=BIG_TESTS))
    disk = _mount_store(attempt)
    attempt.place.start_daemon()
    kills = 0
    began = time.monotonic()
    process = attempt.place.start_pytest("-q", "test_it.py", THREEPIO_RUN_ID="run")
    (attempt.path / "go").touch()
    filled_at = freed_at = 0.0
    while process.poll() is None:
        time.sleep(KILL_EVERY_S)
        now = time.monotonic() - began
        if not filled_at and now > 2 * KILL_EVERY_S:
            disk.fill()
            filled_at = now
        elif filled_at and not freed_at and now > filled_at + FULL_S:
            disk.free()
            freed_at = now
        pid = attempt.place.daemon_pid() if attempt.place.state_dir.lock.read_text().strip() else 0
        if pid and is_running(pid):
            os.kill(pid, signal.SIGKILL)
            kills += 1
        attempt.place.threepiod("start")
    disk.free()
    output = process.communicate()[0]
    attempt.place.threepiod("start")
    attempt.expect(process.returncode == 1, f"pytest's exit code is {process.returncode}: {output[-300:]}")
    attempt.expect(f"1 failed, {BIG_TESTS - 1} passed" in output, f"pytest says {output[-300:]}")
    attempt.whole()
    blocked = attempt.place.status("run")["blocked_ms"]
    attempt.expect(blocked <= BUDGET_MS, f"blocked for {blocked} ms")
    attempt.expect(filled_at, "the suite was over before the disk was full")
    attempt.figures += f", {kills} kills, disk full from {filled_at:.0f} s to {freed_at:.0f} s"
