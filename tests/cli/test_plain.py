"""The plain form of `threepio status`: says what typer's says, without typer; and no command brings in another's module."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.commands import Call
from tests.conftest import made_place
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import made_state_dir
from tests.two_runs import write_two_runs
from threepio_client.cli import plain

CALLED = """
import atexit, sys
atexit.register(lambda: print(*sys.modules, file=sys.stderr))
from threepio_client.cli import main
main()
"""


@pytest.fixture(scope="module")
def told() -> Iterator[Place]:
    """A place with two runs that are over, and a daemon that has them."""
    with made_place() as found:
        made_state_dir(found.state_dir.path)
        write_two_runs(found)
        found.start_daemon()
        wait_until(lambda: all(found.verify(run)["whole"] for run in ("one", "two")))
        yield found


def imported(place: Place, *arguments: str) -> set[str]:
    """Return the names of the modules that a command has imported when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", CALLED, *arguments], env=place.environ, cwd=place.path, capture_output=True, text=True,
        timeout=COMMAND_TIMEOUT_S, check=False,
    )  # fmt: skip
    return set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "words",
    [[], ["two"], ["--json"], ["one", "--json"], ["--json", "tw"], ["--json", "--json"], ["nothing"], [""], ["\udcff"]],
    ids=ascii,
)
@pytest.mark.parametrize("has_daemon", [True, False], ids=["daemon", "files"])
def test_it_says_what_typer_says(
    told: Place,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    has_daemon: bool,
) -> None:
    environ = dict(told.environ) if has_daemon else told.environ | {"THREEPIO_SOCKET": "/nowhere/socket"}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)

    code = plain.answer(["status", *words])

    printed = capsys.readouterr()
    typers = call(told, "status", *words, **environ)
    assert (code, printed.out, printed.err) == (typers.exit_code, typers.stdout, typers.stderr)
    assert printed.out or printed.err


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["runs"], ["status", "--watch"], ["status", "one", "two"], ["status", "--help"], ["status", "-x"],
        ["status", "--", "one"], ["status", "--js"], ["--version"], ["--json", "status"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_all_else_is_left_to_typer(arguments: list[str]) -> None:
    assert plain.answer(arguments) is None


def test_interrupted_it_ends_as_typer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("threepio_client.cli.status_answer.print_status", interrupted)

    assert plain.answer(["status"]) == 128 + 2


def test_an_error_of_the_system_that_nobody_expected_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("threepio_client.cli.status_answer.print_status", lambda *_: os.stat("/proc/self/no-such-file"))

    assert plain.answer(["status"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("threepio: /proc/self/no-such-file: No such file or directory. ")


def test_a_status_from_the_daemon_needs_neither_typer_nor_the_store(told: Place) -> None:
    assert not imported(told, "status", "two") & {"typer", "click", "pydantic", "rich", "sqlite3"}


def test_of_other_commands_not_even_the_module_is_imported(told: Place) -> None:
    commands = {"threepio_client.cli.runs", "threepio_client.cli.failures", "threepio_client.cli.verify"}

    assert imported(told, "runs") & commands == {"threepio_client.cli.runs"}
    assert commands <= imported(told, "--help")
