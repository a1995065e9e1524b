"""Every command explains itself, with an example; what is called in a wrong way says so."""

from __future__ import annotations

import pytest

from tests.commands import runner
from tests.place import Place
from threepio_client import __version__
from threepio_client.cli.app import make_app
from threepiod.commands import app as threepiod

threepio = make_app()
COMMANDS = [
    *[(threepio, "threepio", str(command.name)) for command in threepio.registered_commands],
    *[
        (threepiod, "threepiod", str(command.name or getattr(command.callback, "__name__", "")))
        for command in threepiod.registered_commands
    ],
]


def test_the_commands_of_the_contract_are_there() -> None:
    names = {(program, name) for _, program, name in COMMANDS}
    assert {("threepiod", name) for name in ("start", "stop", "restart", "status")} <= names
    assert {("threepio", name) for name in ("run", "status", "runs", "failures", "verify")} <= names


@pytest.mark.parametrize(
    ("app", "program", "name"), COMMANDS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_has_a_help_with_an_example(app: object, program: str, name: str) -> None:
    result = runner().invoke(app, [name, "--help"], prog_name=program)  # type: ignore[arg-type]

    assert result.exit_code == 0
    assert f"Example: {program} {name}" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("app", "program"), [(threepio, "threepio"), (threepiod, "threepiod")], ids=["client", "daemon"]
)
def test_a_program_says_its_version_and_its_commands(app: object, program: str) -> None:
    version = runner().invoke(app, ["--version"], prog_name=program)  # type: ignore[arg-type]
    assert (version.exit_code, version.stdout) == (0, f"{program} {__version__}\n")

    overview = runner().invoke(app, ["--help"], prog_name=program)  # type: ignore[arg-type]
    assert overview.exit_code == 0
    for _, owner, name in COMMANDS:
        assert owner != program or f" {name} " in overview.stdout


@pytest.mark.parametrize(
    "arguments",
    [["status", "--wrong"], ["nothing"], ["runs", "--limit", "0"], ["runs", "-n", "x"], ["run"], ["status", "a", "b"]],
    ids=" ".join,
)
def test_a_wrong_call_is_a_usage_error(arguments: list[str]) -> None:
    result = runner().invoke(threepio, arguments, prog_name="threepio")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Usage: threepio" in result.stderr


def test_the_real_programs_say_their_version_too(place: Place) -> None:
    assert place.threepio("--version").stdout == f"threepio {__version__}\n"
    assert place.threepiod("--version").stdout == f"threepiod {__version__}\n"
