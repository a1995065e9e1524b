"""Which environment runs the tests, and which one a command on PATH is of."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.installation import Installation
from tests.place import Place
from threepio_client import __version__
from threepio_client.doctor.environment import check_copies, check_plugin, check_versions, find


@pytest.fixture
def made(place: Place, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation; our own environment has no pytest."""
    found = Installation(place)
    own = found.place.path / "own" / "bin" / "python"
    found.interpreter([3, 11], [], own)
    monkeypatch.setattr(sys, "executable", str(own))
    return found


def python_of(made: Installation) -> str | None:
    found = find(made.place.environ, made.place.path)
    return None if found is None else found.python


def test_the_activated_environment_comes_first_whatever_it_has(made: Installation) -> None:
    activated = made.place.path / "activated"
    made.interpreter([3, 11], [], activated / "bin" / "python")
    made.place.environ["PATH"] = str(made.python.parent)
    made.place.environ["VIRTUAL_ENV"] = str(activated)

    assert python_of(made) == str(activated / "bin" / "python")


def test_else_the_first_with_pytest(made: Installation) -> None:
    assert python_of(made) is None
    assert next(check_plugin(None)).state == "unknown"

    on_path = made.place.path / "path" / "python3"
    made.interpreter([3, 11], [made.site], on_path)
    made.place.environ["PATH"] = str(on_path.parent)
    assert python_of(made) == str(on_path)

    nearby = made.place.path / ".venv" / "bin" / "python"
    made.interpreter([3, 11], [], nearby)
    assert python_of(made) == str(on_path)  # .venv has no pytest
    made.interpreter([3, 11], [made.site], nearby)
    assert python_of(made) == str(nearby)

    made.interpreter([3, 11], [made.site], Path(sys.executable))
    assert python_of(made) == sys.executable


def test_an_interpreter_that_says_something_else_is_a_problem(made: Installation) -> None:
    for script, said in (
        ("echo hello", "Expecting value"),
        ("echo 'no libc' >&2; exit 1", "no libc"),
        ("exit 3", "exit code 3"),
    ):
        made.python.write_text(f"#!/bin/sh\n{script}\n")
        (found,) = check_plugin(find(made.place.environ, made.place.path, str(made.python)))
        assert (found.state, said in found.text) == ("problem", True)


def test_this_interpreter_is_asked_for_real() -> None:
    found = find(os.environ, Path.cwd(), sys.executable)

    assert found is not None
    assert found.version == sys.version_info[:2]
    assert found.version_of("pytest") == pytest.__version__


HEADS = [
    "#!{python}\n",
    "#!{python} -E\n",
    "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n",
    "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
]


@pytest.mark.parametrize("head", HEADS)
def test_the_environment_of_a_command_is_in_its_first_lines(made: Installation, head: str) -> None:
    made.package("threepiod", "0.0.1", made.command("threepio", "other", head))

    (found,) = check_copies(None, made.place.environ)

    assert (found.state, "version 0.0.1" in found.text) == ("problem", True)


def test_a_command_of_the_same_version_and_one_that_is_no_python_are_fine(made: Installation) -> None:
    site = made.command("threepio", "other")
    made.package("threepiod", __version__, site)
    made.package("typer", "0.12", site)
    assert [one.state for one in check_copies(None, made.place.environ)] == ["ok"]

    made.command("threepio", "binary", "\x7fELF\n")
    assert [one.state for one in check_copies(None, made.place.environ)] == ["ok"]
    assert [one.state for one in check_copies(None, {"PATH": "/nowhere"})] == ["ok"]


def test_a_copy_that_pythonpath_brings_is_taken_off_it(made: Installation) -> None:
    brought = made.place.path / "brought"
    made.package("threepiod", "0.0.1", brought)
    made.interpreter([3, 11], [brought, made.site])
    tests = find(made.place.environ, made.place.path, str(made.python))

    (found,) = check_copies(tests, {"PATH": "/nowhere", "PYTHONPATH": f"/nowhere:{brought}"})

    assert "0.0.1 in" in found.text
    assert found.cure == f"take {brought} off PYTHONPATH"


def test_commands_of_one_environment_are_one_problem(made: Installation) -> None:
    made.command("threepio", "other")
    made.package("threepiod", "0.0.1", made.command("threepiod", "other"))

    (found,) = check_copies(None, made.place.environ)

    assert f"{made.place.path}/other/bin/threepio and " in found.text


def test_what_is_not_known_is_of_no_other_version() -> None:
    assert check_versions("1", {"the daemon": "", "the plugin": ""}).state == "ok"
    assert check_versions("1", {"the daemon": "2", "the plugin": ""}).cure == "threepiod restart"
    assert "install threepiod 1 where" in check_versions("1", {"the daemon": "1", "the plugin": "0"}).cure
