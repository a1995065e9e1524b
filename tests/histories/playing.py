"""A history played in a place of its own: its runs, then every question about them, asked in several ways."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.commands import call_threepiod, runner
from tests.histories.checks import Answer, Question, Wrong, questions, wrong_in, wrong_in_rerun
from tests.histories.generator import History, Step
from tests.histories.oracle import Run
from tests.place import COMMAND_TIMEOUT_S, QUICK, Place, wait_until
from threepio_client.cli.app import make_app

_APP: Final = make_app()
_ROOT: Final = Path(__file__).parents[2]
_OF_THE_SOURCE: Final = ("source", "events")
"""What an answer says of where it comes from."""
_PYTEST: Final = (sys.executable, "-m", "pytest")
_THREEPIO: Final = (sys.executable, "-m", "threepio_client.cli")


def play(history: History, keep: Path | None = None) -> list[str]:
    """Play a history and return a line for everything that does not hold.

    Args:
        history: what to play.
        keep: where to the place is moved if something does not hold, or breaks.
    """
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    player = _Player(path)
    wrong: list[str] | None = None
    try:
        wrong = player.play(history)
    finally:
        player.place.stop_daemon()
        if wrong != [] and keep is not None:
            shutil.move(path, keep)
            (keep / "commands.txt").write_text("\n".join(player.commands) + "\n")
            (keep / "wrong.txt").write_text("\n".join(wrong or ["it broke"]) + "\n", "utf-8", "backslashreplace")
        shutil.rmtree(path, ignore_errors=True)
    return wrong


class _Player:
    def __init__(self, path: Path) -> None:
        self.place = Place(path)
        self.commands: list[str] = []
        self._project = path / "project"
        self._project.mkdir()
        self._runs: list[Run] = []
        self._there: dict[int, frozenset[str] | None] = {}
        self._wrong: list[str] = []
        self.place.environ |= {
            "FLIPS": str(path / "flips"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(_ROOT),
            "PYTEST_ADDOPTS": " ".join((self.place.environ["PYTEST_ADDOPTS"], *QUICK, "-p tests.histories.recorder")),
            "THREEPIO_REPORTS": "off",
        }

    def play(self, history: History) -> list[str]:
        if history.with_git:
            self._git("init", "-q")
        for number, step in enumerate(history.steps):
            self._do(step, number, with_git=history.with_git)
        if self._runs:
            self._ask_all(history.seed)
        return self._wrong

    def _note(self, about: str, wrong: Wrong) -> None:
        self._wrong += [f"{about}: {name} - said: {said}; so: {so}" for name, said, so in wrong]

    # Runs.

    def _do(self, step: Step, number: int, *, with_git: bool) -> None:
        self._write(step.files)
        if with_git and step.is_committed:
            self._git("add", "-A")
            self._git("commit", "-qm", "a step")
        self._do_with_daemon(step.daemon)
        again = self._runs[-min(step.again, len(self._runs))] if step.again and self._runs else None
        run = Run(
            run_id=f"run-{number}",
            there=self._tests_there(step.files),
            again=again.run_id if again else "",
            only_failed=step.only_failed,
            commit=self._git("rev-parse", "HEAD") if with_git else "",
            is_clean=with_git and not self._git("status", "--porcelain", "--untracked-files=no"),
        )
        recording = self.place.path / f"{run.run_id}.recording"
        self._call(_command(step, again), RECORDING=str(recording), THREEPIO_RUN_ID=run.run_id)
        has_begun = run.read(recording)
        if has_begun:
            self._runs.append(run)
        if again is not None:
            found = wrong_in_rerun(again, run if has_begun else None, only_failed=step.only_failed)
            self._note(f"rerun of {again.run_id} as {run.run_id}", found)

    def _write(self, files: Mapping[str, str]) -> None:
        for path in self._project.iterdir():
            if path.is_dir() and path.name != ".git":
                shutil.rmtree(path)
            elif path.is_file():
                path.unlink()
        for name, text in files.items():
            (self._project / name).parent.mkdir(parents=True, exist_ok=True)
            (self._project / name).write_text(text)

    def _do_with_daemon(self, what: str) -> None:
        if what in ("stop", "rebuild"):
            self.place.stop_daemon()
        if what in ("start", "kill"):
            self.place.start_daemon()
        if what == "kill":
            self.place.kill_daemon()
        if what == "rebuild":
            self._rebuild()
        if what:
            self.commands.append(f"# daemon: {what}")

    def _rebuild(self) -> None:
        done = call_threepiod(self.place, "rebuild")
        self._note("threepiod rebuild", iter([("exit code", done.stderr, 0)] if done.exit_code else []))

    def _tests_there(self, files: Mapping[str, str]) -> frozenset[str] | None:
        """Return the tests that pytest finds in the whole project; None where it dies of it."""
        key = hash(tuple(files.items()))
        if key not in self._there:
            recording = self.place.path / f"{len(self._there)}.collection"
            command = (*_PYTEST, "--collect-only", "--continue-on-collection-errors")
            self._call(command, RECORDING=str(recording), THREEPIO="off")
            whole = Run(run_id="")
            whole.read(recording)
            self._there[key] = None if whole.collected is None else frozenset(whole.collected)
        return self._there[key]

    def _call(self, command: tuple[str, ...], **environ: str) -> str:
        self.commands.append(shlex.join([*(f"{name}={value}" for name, value in environ.items()), *command]))
        done = subprocess.run(
            command,
            cwd=self._project,
            env={**self.place.environ, **environ},
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        return done.stdout.strip()

    def _git(self, *arguments: str) -> str:
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@here", "-c", "commit.gpgsign=false")
        return self._call(("git", *who, *arguments))

    # Questions.

    def _ask_all(self, seed: int) -> None:
        asked = questions(self._runs, seed)
        answers = {way: {one: self._ask(one) for one in asked} for way in self._ways()}
        right = answers.pop("store")
        for question, answer in right.items():
            about = f"threepio {shlex.join(question)}"
            self._note(about, wrong_in(question, answer, self._runs))
            for way, others in answers.items():
                self._note(f"{about}, {way} and store", _differing(others[question], answer))

    def _ways(self) -> Iterator[str]:
        """Go through the ways in which questions are answered; they are asked between two of them.

        Before the first one a daemon looks at all there is: only then is the same known in each.
        """
        self.place.stop_daemon()
        behind = [path for path in self._state.glob("store.sqlite3*") if not path.name.endswith("-shm")]
        stored = {path.name: path.read_bytes() for path in behind}
        self.place.start_daemon()
        wait_until(self._is_all_stored)
        yield "daemon"
        self.place.stop_daemon()
        yield "store"
        with self._with_store({}):
            yield "journals"
        with self._with_store(stored):
            yield "a store that is behind"
        self._rebuild()
        yield "rebuilt store"

    @property
    def _state(self) -> Path:
        return Path(self.place.environ["THREEPIO_STATE_DIR"])

    @contextlib.contextmanager
    def _with_store(self, stored: Mapping[str, bytes]) -> Iterator[None]:
        state, copy = self._state, Path(tempfile.mkdtemp(dir=self.place.path))
        shutil.copytree(state, copy, ignore=shutil.ignore_patterns("store.sqlite3*"), dirs_exist_ok=True)
        for name, content in stored.items():
            (copy / name).write_bytes(content)
        self.place.environ["THREEPIO_STATE_DIR"] = str(copy)
        yield
        self.place.environ["THREEPIO_STATE_DIR"] = str(state)

    def _is_all_stored(self) -> bool:
        said = [self._answer(("status", run.run_id))[0] for run in self._runs]
        return all(one["events"]["stored"] >= one["events"]["journaled"] and one["state"] != "running" for one in said)

    def _ask(self, question: Question) -> Answer:
        said, exit_code = self._answer(question)
        if isinstance(said, dict):
            said = {name: value for name, value in said.items() if name not in _OF_THE_SOURCE}
        if question == ("runs",):
            said = {**said, "runs": [{**row, "events": None} for row in said["runs"]]}
        return said, exit_code

    def _answer(self, question: Question) -> Answer:
        command, *rest = question
        with contextlib.chdir(self._project):
            done = runner().invoke(_APP, [command, "--json", *rest], env=self.place.environ)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            return "".join(traceback.format_exception(done.exception)), done.exit_code
        return json.loads(done.stdout) if done.stdout else done.stderr, done.exit_code


def _command(step: Step, again: Run | None) -> tuple[str, ...]:
    if again is None:
        return (*((*_THREEPIO, "run", "--") if step.with_command else ()), *_PYTEST, *step.arguments)
    if step.with_command:
        return (*_THREEPIO, "rerun", again.run_id, *(["--failed"] if step.only_failed else []))
    return (*_PYTEST, f"--threepio-rerun={again.run_id}", *(["--threepio-rerun-failed"] if step.only_failed else []))


def _differing(one: Answer, other: Answer) -> Wrong:
    (said, code), (so, right_code) = one, other
    if code != right_code:
        yield "exit code", code, right_code
    if isinstance(said, dict) and isinstance(so, dict):
        yield from ((name, said.get(name), so.get(name)) for name in said | so if said.get(name) != so.get(name))
    elif said != so:
        yield "answer", said, so
