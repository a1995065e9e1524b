"""The benchmark's own threepiod: started in directories of its own, asked through its commands, stopped."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from benchmarks.requirements import require_command

_STARTING_S: Final = 60.0
_STOPPING_S: Final = 300.0
_ASKING_S: Final = 300.0
"""Time limits of commands, in seconds. Far beyond what they may take: they are there so that no benchmark hangs."""


NO_SETTINGS: Final[Mapping[str, str]] = MappingProxyType({})


class ServiceError(Exception):
    """A command of threepiod failed; the text says which, and what it printed."""


_CHANGING: Final = ("PYTHONPATH", "PYTHONWARNINGS", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")
"""Of the interpreter: with the last one every process compiles anew what an installed plugin has as bytecode."""


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change how pytest or threepiod behave, or what they cost."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("THREEPIO", "PYTEST_")) and name not in _CHANGING
    }


class Service:
    """A running threepiod.

    Attributes:
        environment: what a process needs in its environment to use this daemon and no other.
        journals: directory of the journals.
        socket: the daemon's socket.
        pid: its process id.
    """

    def __init__(self, python: Path, state_dir: Path, socket: Path, settings: Mapping[str, str] = NO_SETTINGS) -> None:
        self._daemon_command = require_command("threepiod", python)
        self._query_command = require_command("threepio", python)
        self.socket = socket
        self.journals = state_dir / "journals"
        self.environment = clean_environment() | {
            "THREEPIO": "require",
            "THREEPIO_STATE_DIR": str(state_dir),
            "THREEPIO_SOCKET": str(socket),
            **settings,
        }
        self._stopped = False
        self._call([self._daemon_command, "start"], _STARTING_S)
        self.pid: int = self.daemon_status()["pid"]

    def daemon_status(self) -> dict[str, Any]:
        """What `threepiod status --json` says."""
        return self._json([self._daemon_command, "status", "--json"])

    def run_status(self, run: str) -> dict[str, Any]:
        """What `threepio status RUN --json` says; without a daemon it reads store and journal itself."""
        return self._json([self._query_command, "status", run, "--json"])

    def verify(self, run: str) -> dict[str, Any]:
        """What `threepio verify RUN --json` says."""
        return self._json([self._query_command, "verify", run, "--json"])

    def peak_rss(self) -> int:
        """The most memory that the daemon's process has held so far, in bytes (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise ServiceError(f"/proc/{self.pid}/status has no VmHWM")

    def stop(self) -> None:
        """Stop the daemon if it was not stopped yet; it stores first what it has received."""
        if not self._stopped:
            self._stopped = True
            self._call([self._daemon_command, "stop"], _STOPPING_S)

    def _json(self, command: list[Any]) -> dict[str, Any]:
        # The exit code is part of the answer (1: the run is not good); what was printed is judged instead.
        done = self._run(command, _ASKING_S)
        try:
            answer = json.loads(done.stdout)
        except ValueError as error:
            raise ServiceError(_told(command, done)) from error
        if not isinstance(answer, dict):
            raise ServiceError(_told(command, done))
        return answer

    def _call(self, command: list[Any], limit: float) -> None:
        done = self._run(command, limit)
        if done.returncode != 0:
            raise ServiceError(_told(command, done))

    def _run(self, command: list[Any], limit: float) -> subprocess.CompletedProcess[str]:
        # Files, not pipes: a daemon that inherited a pipe would keep it open for as long as it lives.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            code = subprocess.run(
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=limit,
                check=False,
            ).returncode
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(command, code, out.read(), err.read())


def _told(command: list[Any], done: subprocess.CompletedProcess[str]) -> str:
    said = (done.stderr or done.stdout).strip() or "nothing"
    return f"{' '.join(map(str, command))} ended with {done.returncode} and said: {said[-2000:]}"


@contextmanager
def running_service(python: Path, work: Path, settings: Mapping[str, str] = NO_SETTINGS) -> Iterator[Service]:
    """A daemon with its state below `work`; stopped on the way out unless it has been already.

    The socket lies in a short directory of its own: a socket's path has 107 characters at most.

    Args:
        python: of the environment that has threepiod.
        work: an empty directory.
        settings: further variables of its environment.
    """
    state_dir = work / "state"
    state_dir.mkdir(mode=0o700)
    with tempfile.TemporaryDirectory(prefix="threepio-bench-") as directory:
        service = Service(python, state_dir, Path(directory) / "socket", settings)
        try:
            yield service
        finally:
            service.stop()
