"""One cell of the matrix: a suite dies in a certain way at a certain place, and what the system says is judged.

What is right is known without asking our code: the suite's last words, what wait(2) said of the process that we started,
and the control group's own counter of kills.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.crashes import memory, suite
from tests.crashes.suite import Words
from tests.place import QUICK, Place
from threepio_client.archive import Archive
from threepio_client.errors import NoSuchRun
from threepio_client.query import QueryClient

HOW: Final = ("SIGKILL", "SIGSEGV", "exit 0", "exit 3", "SIGTERM", "OOM")
PLACES: Final = ("import", "session fixture", "setup", "call", "teardown", "session end")
WHO: Final = ("process", "worker", "controller")
"""The only process; a worker of `-n 2`, which does it itself; the controller of `-n 2`, killed while a worker is there."""
OBSERVERS: Final = ("run", "daemon", "nobody")
"""`threepio run` as the parent; a daemon alone; neither while the suite runs, `threepio status` afterwards."""
SUITE_S: Final = 60.0
VERDICT_S: Final = 10.0
_SIGNALS: Final = {name: signal.Signals[name] for name in ("SIGKILL", "SIGSEGV", "SIGTERM")} | {"OOM": signal.SIGKILL}
_CODES: Final = {"exit 0": 0, "exit 3": 3}
NOT_COMPLETE: Final = 70
_plain_codes: Final[dict[tuple[str, str], int]] = {}
_PYTEST: Final = (sys.executable, "-m", "pytest", "-q", *QUICK)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Where, how and who."""

    how: str
    place: str
    who: str
    observer: str

    @property
    def name(self) -> str:
        return f"{self.how}, {self.place}, {self.who}, {self.observer}"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a cell found.

    Attributes:
        said: the state, the verdict's text, and of workers how and where each died.
        failures: what was not right; empty if all was.
    """

    said: str
    failures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """What can be known of a suite's end without our code."""

    code: int
    output: str
    words: list[Words]
    memory_kills: int


def all_cells() -> list[Cell]:
    """Return every cell; a controller is killed in one way only."""
    return [
        Cell(how=how, place=place, who=who, observer=observer)
        for who in WHO
        for place in PLACES
        for how in (HOW if who != "controller" else ("SIGKILL",))
        for observer in OBSERVERS
    ]


def short_cells() -> list[Cell]:
    """Return a cell for each that is different: a way, a place, a process, an observer."""
    wanted = {
        ("SIGSEGV", "import", "process", "run"),
        ("exit 0", "session fixture", "process", "run"),
        ("SIGKILL", "setup", "process", "daemon"),
        ("exit 3", "call", "process", "daemon"),
        ("OOM", "call", "process", "daemon"),
        ("OOM", "call", "process", "run"),
        ("SIGTERM", "teardown", "process", "daemon"),
        ("exit 0", "session end", "process", "daemon"),
        ("SIGKILL", "call", "process", "nobody"),
        ("exit 3", "setup", "worker", "daemon"),
        ("OOM", "call", "worker", "nobody"),
        ("SIGTERM", "teardown", "worker", "run"),
        ("SIGKILL", "session fixture", "controller", "daemon"),
    }
    return [cell for cell in all_cells() if (cell.how, cell.place, cell.who, cell.observer) in wanted]


def try_cell(cell: Cell, served: Place, alone: Place, directory: Path) -> Outcome:
    """Let a suite die and judge what is said of it.

    Args:
        cell: where, how and who.
        served: a place with a daemon.
        alone: one without.
        directory: a new directory is made here for the suite, with the run's id as its name.

    Raises:
        NotHere: this machine cannot try it.
    """
    place = alone if cell.observer == "nobody" else served
    run_id = directory.name
    with memory.group() if cell.how == "OOM" else nullcontext() as group:
        ended = _run(cell, place, directory, run_id, group)
        view = _view(place, run_id, cell)
    failures: list[str] = []
    if not ended.words:
        failures.append(f"the suite did not come to the place: {ended.output[-500:]}")
    elif cell.who == "worker":
        failures += _judge_workers(cell, ended, view)
        plain = _plain_code(cell.how, cell.place, place, Path(f"{directory}-plain"))
        if plain not in (ended.code, 0 if ended.code == NOT_COMPLETE else None):
            failures.append(f"the exit code is {ended.code}, without the plugin it is {plain}")
    else:
        failures += _judge_process(cell, ended, view)
    return Outcome(said=_said(view), failures=tuple(failures))


def _run(cell: Cell, place: Place, directory: Path, run_id: str, group: memory.Group | None) -> _Ended:
    workers = ("-n", "2") if cell.who != "process" else ()
    command = [*_PYTEST, *workers, f"--rootdir={directory}", str(directory)]
    if cell.observer == "run":
        command = [sys.executable, "-m", "threepio_client.cli", "run", "--", *command]
    environ = {**place.environ, "THREEPIO_RUN_ID": run_id, **suite.environ(cell.how, cell.place, cell.who)}
    code, output = _wait(group.inside(command) if group is not None else command, environ, directory)
    kills = group.kills() if group is not None else 0
    return _Ended(code=code, output=output, words=suite.last_words(directory), memory_kills=kills)


def _plain_code(how: str, where: str, place: Place, directory: Path) -> int:
    """Return the exit code of the same suite with a dying worker, without our plugin; asked once for all observers."""
    if (how, where) not in _plain_codes:
        _plain_codes[how, where] = _plain_run(how, where, place, directory)
    return _plain_codes[how, where]


def _plain_run(how: str, where: str, place: Place, directory: Path) -> int:
    command = [*_PYTEST, "-n", "2", "-p", "no:threepio", f"--rootdir={directory}", str(directory)]
    environ = {**place.environ, **suite.environ(how, where, "worker")}
    with memory.group() if how == "OOM" else nullcontext() as group:
        return _wait(group.inside(command) if group is not None else command, environ, directory)[0]


def _wait(command: Sequence[str], environ: dict[str, str], directory: Path) -> tuple[int, str]:
    suite.write(directory)
    with (directory / "output").open("w+") as output:
        done = subprocess.run(
            command, env=environ, cwd=directory, stdout=output, stderr=subprocess.STDOUT, timeout=SUITE_S, check=False
        )
        output.seek(0)
        return done.returncode, output.read()


def _view(place: Place, run_id: str, cell: Cell) -> dict[str, Any]:
    """Return what is said of the run, once it is said to be over."""
    deadline = time.monotonic() + VERDICT_S
    while True:
        try:
            if cell.observer == "nobody":
                view = Archive(place.state_dir).view(run_id)
            else:
                client = QueryClient.connect(place.settings.socket, VERDICT_S, state_dir=place.settings.state_dir)
                try:
                    view = dict(client.ask("status", {"run": run_id}))
                finally:
                    client.close()
        except NoSuchRun:
            view = {"state": "running"}
        if view["state"] not in {"running", "detached"} or time.monotonic() > deadline:
            return view
        time.sleep(0.02)


def _judge_process(cell: Cell, ended: _Ended, view: dict[str, Any]) -> list[str]:
    """Judge what is said of the process that we started."""
    how = "SIGKILL" if cell.who == "controller" else cell.how
    number, code = _SIGNALS.get(how), _CODES.get(how)
    judge = _Judge()
    if cell.observer == "run":
        judge.equal("exit code of threepio run", ended.code, 128 + number if number else code or NOT_COMPLETE)
    else:
        judge.equal("wait status", ended.code, -number if number else code)
    judge.equal("kills for memory", ended.memory_kills, int(how == "OOM"))
    known = cell.observer != "nobody"
    state = "interrupted" if how == "SIGTERM" and known else "crashed"
    kind = "gone" if not known else "memory" if how == "OOM" else "signal" if number else "exit"
    judge.equal("state", view.get("state"), state)
    judge.equal("kind", view["verdict"]["kind"], kind)
    death = view["death"] or {}
    judge.equal("signal", death.get("signal"), number.name if number and known else None)
    judge.equal("exit code", death.get("exit_code"), code if known else None)
    judge.equal("out of memory", death.get("out_of_memory"), known and how == "OOM")
    said = {(slot["worker"], slot["nodeid"], slot["phase"]) for slot in view["in_flight"]}
    true = {(words.worker, words.nodeid, words.phase) for words in ended.words}
    if (
        cell.who == "controller"
    ):  # the other worker goes on for a moment, and says nothing: its test is one of the suite's
        judge.equal("in flight, of who killed it", {slot for slot in said if slot in true} != set(), True)
        strange = {slot for slot in said - true if slot[1] not in suite.NODEIDS}
        judge.equal("in flight, and unknown", strange, set())
    if cell.who == "process":
        judge.equal("in flight", said, true)
        words = ended.words[0]
        judge.equal("the place in its text", _place(words) in view["verdict"]["text"], True)
    if cell.place in {"session fixture", "setup", "call", "teardown"} and cell.who == "process":
        judge.equal("collected", view["collected"], suite.COLLECTED)
        judge.equal("finished", view["finished"], ended.words[0].finished)
    return judge.failures


def _judge_workers(cell: Cell, ended: _Ended, view: dict[str, Any]) -> list[str]:
    """Judge what is said of the workers that died; the controller went on."""
    number, code = _SIGNALS.get(cell.how), _CODES.get(cell.how)
    judge = _Judge()
    judge.equal("kills for memory", ended.memory_kills, len(ended.words) if cell.how == "OOM" else 0)
    how = (number.name if number else None, code, cell.how == "OOM")
    said = sorted(
        (death["worker"], death["nodeid"], death["phase"], death["signal"], death["exit_code"], death["out_of_memory"])
        for death in view["worker_deaths"]
    )
    true = sorted((words.worker or "", words.nodeid, words.phase, *how) for words in ended.words)
    judge.equal("worker deaths", said, true)
    judge.equal("workers that died", view["workers_died"], len(true))
    judge.equal("the process's death", view["death"], None)
    judge.equal("in flight", view["in_flight"], [])
    judge.equal("said to have passed", view["state"] == "passed", cell.place == "session end" and ended.code == 0)
    return judge.failures


class _Judge:
    def __init__(self) -> None:
        self.failures: list[str] = []

    def equal(self, what: str, said: object, true: object) -> None:
        if said != true:
            self.failures.append(f"{what}: {said!r} instead of {true!r}")


def _place(words: Words) -> str:
    if words.phase == "session end":
        return "at the session's end"
    return f"while collecting {words.nodeid}" if words.phase == "collect" else f"in the {words.phase} of {words.nodeid}"


def _said(view: dict[str, Any]) -> str:
    if "verdict" not in view:
        return "nothing"
    parts = [f"{view['state']}: {view['verdict']['text']}"]
    deaths = {
        f"{death['signal'] or death['exit_code']}{' (memory)' if death['out_of_memory'] else ''} "
        f"in {death['phase']} of {death['nodeid']}"
        for death in view["worker_deaths"]
    }
    if deaths:
        parts.append(f"{view['workers_died']} workers: {'; '.join(sorted(deaths))}")
    return "; ".join(parts)
