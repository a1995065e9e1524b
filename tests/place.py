"""A place of its own for a test: state directory, socket, environment, and the real commands run in it."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from threepio_client.errors import ThreepioError
from threepio_client.paths import StateDir
from threepio_client.settings import Settings, config_path, load
from threepiod import control
from threepiod.listener import AlreadyRunning

COMMAND_TIMEOUT_S = 60.0
QUICK = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
"""The first plugin leaves files, the second takes longer to import than all the rest; no test of ours asks about them."""

_OURS = frozenset({"threepio", "xdist", "xdist.looponfail", "rerunfailures", "pytest_reportlog", "hypothesispytest"})


@functools.cache
def other_plugins() -> list[str]:
    """Return the names of the pytest plugins that are there for tests/suites only: importing them all takes seconds."""
    return sorted({point.name for point in importlib.metadata.entry_points(group="pytest11")} - _OURS)


class Place:
    """Runs commands with a state directory and a socket that nobody else uses.

    Attributes:
        path: a short directory, so that the socket's path fits.
        environ: what the commands get; a test may change it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._suites: list[subprocess.Popen[str]] = []
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith(("THREEPIO", "PYTEST"))
        }
        self.environ["PYTEST_ADDOPTS"] = " ".join(f"-p no:{name}" for name in other_plugins())
        self.environ["XDG_CONFIG_HOME"] = str(path / "config")
        self.environ["THREEPIO_STATE_DIR"] = str(path / "state")
        self.environ["THREEPIO_SOCKET"] = str(path / "socket")

    @property
    def python(self) -> list[str]:
        """The interpreter that has the plugin, as the beginning of a command."""
        return [sys.executable]

    @property
    def settings(self) -> Settings:
        return load(self.environ, problems=[])

    def configure(self, text: str | bytes) -> Path:
        """Write the configuration file."""
        path = config_path(self.environ)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    @property
    def state_dir(self) -> StateDir:
        return self.settings.places

    def command(self, module: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m module arguments...` to its end."""
        return self._run([sys.executable, "-m", module, *arguments], environ)

    def _run(self, command: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**self.environ, **environ},
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line of a shell to its end."""
        return self._run(["sh", "-c", line], {})

    def threepio(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the command `threepio`."""
        return self.command("threepio_client.cli", *arguments, **environ)

    def threepiod(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run the command `threepiod`."""
        return self.command("threepiod", *arguments, **environ)

    def pytest(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a suite with the plugin, to its end."""
        return self.command("pytest", *QUICK, *arguments, **environ)

    def start_pytest(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start a suite with the plugin; the caller waits for it, and it is ended with the place at the latest."""
        suite = subprocess.Popen(
            [sys.executable, "-m", "pytest", *QUICK, *arguments],
            env={**self.environ, **environ},
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._suites.append(suite)
        return suite

    def end_suites(self) -> None:
        """End what a test that failed left running."""
        for suite in self._suites:
            if suite.poll() is None:
                suite.kill()
                suite.communicate()

    def suite(self, text: str, name: str = "test_it.py") -> Path:
        """Write a test file."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def start_daemon(self) -> int:
        """Start the daemon, unless it runs, and return its pid; as `threepiod start` does, without a process for that."""
        with patch.dict(os.environ, self.environ, clear=True), suppress(AlreadyRunning):
            control.start_background(self.settings, print)
        return self.daemon_pid()

    def daemon_pid(self) -> int:
        """Return the pid that the daemon wrote into its lock file."""
        return int(self.state_dir.lock.read_text())

    def stop_daemon(self) -> None:
        """Stop the daemon if it runs, however a test left it."""
        try:
            pid = self.daemon_pid()
            os.kill(pid, signal.SIGCONT)
        except (OSError, ValueError):
            return
        with suppress(ThreepioError):
            control.stop(self.settings)
        with suppress(ChildProcessError):  # one that was started by a command is nobody's child here
            os.waitpid(pid, os.WNOHANG)

    def restart_daemon(self) -> int:
        """Have a daemon that works, whatever became of the one before; return its pid."""
        try:
            pid = self.daemon_pid()
            os.kill(pid, signal.SIGCONT)
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not is_running(pid))
        except (OSError, ValueError):
            self.threepiod("stop")  # a test removed the state directory: it is ending, or there is none
        return self.start_daemon()

    def kill_daemon(self) -> None:
        """End the daemon by SIGKILL and return when it is gone."""
        pid = self.daemon_pid()
        pidfd = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not is_running(pid))
        finally:
            os.close(pidfd)

    def status(self, run: str = "latest") -> dict[str, Any]:
        """Return the answer of `threepio status RUN --json`."""
        return dict(json.loads(self.threepio("status", run, "--json").stdout))

    def verify(self, run: str = "latest") -> dict[str, Any]:
        """Return the answer of `threepio verify RUN --json`, called in this process."""
        from tests.commands import call_threepio  # which needs this module

        return dict(json.loads(call_threepio(self, "verify", run, "--json").stdout))

    def journal_events(self, run: str) -> list[dict[str, Any]]:
        """Return the events of a run's journal, read with nothing but JSON."""
        return [json.loads(line) for line in self.state_dir.journal(run).read_text().splitlines()]


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    """Return as soon as the condition holds; fail the test if it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def last_line(done: subprocess.CompletedProcess[str] | Sequence[str]) -> str:
    """Return pytest's last line."""
    lines = done.stdout.splitlines() if isinstance(done, subprocess.CompletedProcess) else done
    return [line for line in lines if line.strip()][-1]


def is_running(pid: int) -> bool:
    """Return whether a process runs; one that has ended and that nobody waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
