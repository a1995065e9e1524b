"""The processes of a row: a daemon, emitters, and the library that they preload. All of them end with the scene."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tests.faults.row import NotHere
from tests.place import Place, wait_until
from threepio_client.archive import Archive
from threepio_client.errors import NoDaemon
from threepio_client.query import QueryClient

SHIM_SOURCE: Final = Path(__file__).with_name("shim.c")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What an emitter told.

    Attributes:
        run_id: its run; empty if it did not come so far.
        seq, syncs: the journal's last seq, and how often it was synced, when the adapter was made.
        attempted: number of the last event that it began to emit.
        attempted_at: when it began to emit each.
        returned: number, time, seq, acked seq, syncs and sync window of each emit that returned.
        stored: what the end of the run said; None if it did not end.
    """

    run_id: str
    seq: int
    syncs: int
    attempted: int
    attempted_at: dict[int, float]
    returned: list[tuple[int, float, int, int, int, float]]
    stored: bool | None


class Scene:
    """Starts processes in a place and ends them.

    Attributes:
        place: where.
        seed: stands in what the emitters write, too.
    """

    def __init__(self, place: Place, seed: int) -> None:
        self.place = place
        self.seed = seed
        self.processes: list[subprocess.Popen[bytes]] = []
        self._shim: Path | None = None
        self._emitters = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_all()

    def shim(self, **faults: str | int) -> dict[str, str]:
        """Return the environment that preloads the library with these faults: `log=...`, `fail=...` (see shim.c).

        Raises:
            NotHere: there is no C compiler, or no Linux.
        """
        if self._shim is None:
            compiler = shutil.which("cc")
            if compiler is None or sys.platform != "linux" or not ctypes.util.find_library("c"):
                raise NotHere("needs Linux and a C compiler (cc)")
            self._shim = self.place.path / "shim.so"
            flags = ("-O2", "-shared", "-fPIC", "-o", str(self._shim), str(SHIM_SOURCE), "-ldl", "-lpthread")
            subprocess.run([compiler, *flags], check=True)
        return {
            "LD_PRELOAD": str(self._shim),
            "FAULTS_ROOT": str(self.place.settings.state_dir),
            "FAULTS_SOCKET": str(self.place.settings.socket),
            **{f"FAULTS_{name.upper()}": str(value) for name, value in faults.items()},
        }

    def start_daemon(self, environ: Mapping[str, str] | None = None, *command: str) -> subprocess.Popen[bytes]:
        """Start a daemon, by default the real one, and return when it answers."""
        daemon = self._start(command or ("-P", "-m", "threepiod.lifecycle"), environ or {}, "daemon")
        wait_until(lambda: daemon.poll() is not None or self.daemon_status() is not None)
        assert daemon.poll() is None, self.output("daemon")
        return daemon

    def daemon_status(self) -> dict[str, Any] | None:
        """Return the daemon's own status, or None while it does not answer."""
        try:
            with QueryClient.connect(self.place.settings.socket, 5.0) as client:
                return dict(client.ask("daemon"))
        except NoDaemon:
            return None

    def alone(self) -> dict[str, str]:
        """Return the environment of an adapter that no daemon listens to."""
        return {"THREEPIO_SOCKET": str(self.place.path / "nobody")}

    def wait_until_over(self, run_id: str) -> None:
        """Return when a daemon has stored all of a run whose process has ended."""
        archive = Archive(self.place.state_dir)
        wait_until(lambda: (stored := archive.stored(run_id)) is not None and stored.final)

    def stop_daemon(self, daemon: subprocess.Popen[bytes]) -> None:
        """Have a daemon stop by itself; return when it is gone."""
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)

    def start_emitter(
        self,
        count: int,
        environ: Mapping[str, str] | None = None,
        *,
        pause_ms: float = 0,
        command: tuple[str, ...] = (),
    ) -> tuple[subprocess.Popen[bytes], Path]:
        """Start an emitter, by default the real one; return it and the file that it tells into."""
        self._emitters += 1
        name = f"emitter{self._emitters}"
        arguments = (*(command or ("-m", "tests.faults.emitter")), str(self.seed), str(count), str(pause_ms))
        return self._start(arguments, environ or {}, name), self.place.path / f"{name}.out"

    def output(self, name: str) -> str:
        """Return what a process wrote to standard error."""
        return (self.place.path / f"{name}.err").read_text(errors="replace")

    def kill_all(self) -> None:
        """End everything that was started, as a power cut does."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes:
            process.wait()
        self.processes.clear()

    def _start(self, arguments: tuple[str, ...], environ: Mapping[str, str], name: str) -> subprocess.Popen[bytes]:
        with (
            (self.place.path / f"{name}.out").open("wb") as out,
            (self.place.path / f"{name}.err").open("ab") as err,
        ):
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**self.place.environ, **environ},
                cwd=os.getcwd(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.processes.append(process)
        return process


def told_in(path: Path) -> Told:
    """Return what an emitter has told so far; a line that it was killed in does not count."""
    run_id, seq, syncs, attempted, stored = "", 0, 0, 0, None
    attempted_at: dict[int, float] = {}
    returned = []
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            break
        kind, *fields = line.split()
        if kind == "run":
            run_id, seq, syncs = fields[0], int(fields[1]), int(fields[2])
        elif kind == "a":
            attempted = int(fields[0])
            attempted_at[attempted] = float(fields[1])
        elif kind == "r":
            number, at, last, acked, done, window = fields
            returned.append((int(number), float(at), int(last), int(acked), int(done), float(window)))
        else:
            stored = fields[0] == "1"
    return Told(
        run_id=run_id,
        seq=seq,
        syncs=syncs,
        attempted=attempted,
        attempted_at=attempted_at,
        returned=returned,
        stored=stored,
    )
