"""What is installed: where the tests run, in our own environment, and on PATH. Read from files, nothing is imported."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path
from shutil import which
from typing import Final, NamedTuple

from threepio_client import __version__
from threepio_client.doctor.finding import Finding, ok, problem, unknown

OURS: Final = "threepiod"
"""The distribution's name."""
LOWEST: Final = (3, 11)
"""Python versions from this one on."""
INTERPRETER_TIMEOUT_S: Final = 5.0
_ASK: Final = "import json, sys; print(json.dumps([sys.version_info[:2], [path for path in sys.path if path]]))"
_LEFT: Final = "name an interpreter of your tests: threepio doctor --python .venv/bin/python"


class Environment(NamedTuple):
    """An environment of Python.

    Attributes:
        python: its interpreter.
        version: of the interpreter, major and minor.
        paths: where it looks for modules.
        trouble: why it could not be asked, or empty.
    """

    python: str
    version: tuple[int, ...]
    paths: Sequence[str]
    trouble: str = ""

    def copies_of(self, name: str) -> list[Distribution]:
        """Return the distributions of a name, the one that counts first."""
        found: dict[str, Distribution] = {}
        for one in distributions(name=name, path=list(self.paths)):
            found.setdefault(os.path.realpath(str(one.locate_file(""))), one)
        return list(found.values())

    def version_of(self, name: str) -> str:
        """Return the version of a distribution, empty if it is not there."""
        return next((str(one.version) for one in self.copies_of(name)), "")

    @property
    def version_of_ours(self) -> str:
        return self.version_of(OURS)


def find(environ: Mapping[str, str], cwd: Path, python: str = "") -> Environment | None:
    """Return the environment that runs the tests; None where none with pytest is found.

    It is the named one; else the activated one; else the first with pytest of our own, `.venv` here, and Python on PATH.

    Args:
        environ: the environment variables.
        cwd: where the tests are run.
        python: interpreter that is named.
    """
    if python:
        return inspect(python, environ, cwd)
    activated = os.path.join(environ.get("VIRTUAL_ENV", ""), "bin", "python")
    if environ.get("VIRTUAL_ENV") and os.path.exists(activated):
        return inspect(activated, environ, cwd)
    nearby = cwd / ".venv" / "bin" / "python"
    on_path = which("python3", path=environ.get("PATH", os.defpath))
    for candidate in (sys.executable, str(nearby) if nearby.exists() else "", on_path):
        if candidate:
            found = inspect(candidate, environ, cwd)
            if found.version_of("pytest"):
                return found
    return None


def inspect(python: str, environ: Mapping[str, str], cwd: Path) -> Environment:
    """Ask an interpreter where it looks for modules."""
    try:
        done = subprocess.run(
            [python, "-c", _ASK],
            env=dict(environ),
            cwd=cwd,
            capture_output=True,
            text=True,
            check=True,
            timeout=INTERPRETER_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        version, paths = json.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        return Environment(python, (), (), last)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return Environment(python, (), (), getattr(error, "strerror", None) or str(error))
    return Environment(python, tuple(version), paths)


def check_plugin(tests: Environment | None) -> Iterator[Finding]:
    """Yield whether pytest finds the plugin in the environment that runs the tests."""
    if tests is None:
        yield unknown("plugin", f"no environment with pytest was found: activate that of your tests, or {_LEFT}")
        return
    install = f"{tests.python} -m pip install {OURS}"
    if tests.trouble:
        yield problem("plugin", f"{tests.python} cannot be asked: {tests.trouble}", _LEFT)
        return
    if tests.version < LOWEST:
        text = f"{tests.python} is Python {_dotted(tests.version)}, the plugin needs {_dotted(LOWEST)} or newer"
        yield problem("plugin", text, "make the environment of the tests with a newer Python")
        return
    pytest = tests.version_of("pytest")
    copies = tests.copies_of(OURS)
    if not pytest:
        yield problem("plugin", f"no pytest in the environment of {tests.python}", f"{install} pytest; or {_LEFT}")
        return
    if not copies:
        yield problem(
            "plugin", f"pytest {pytest} of {tests.python} has no plugin: {OURS} is not installed there", install
        )
        return
    again = f"{tests.python} -m pip install --force-reinstall {OURS}"
    if not any(point.group == "pytest11" and point.name == "threepio" for point in copies[0].entry_points):
        text = (
            f"{OURS} {copies[0].version} of {tests.python} has no entry point pytest11: pytest does not find the plugin"
        )
        yield problem("plugin", text, again)
        return
    missing = [name for name in _needed(copies[0]) if not tests.copies_of(name)]
    if missing:
        text = (
            f"{OURS} {copies[0].version} of {tests.python} lacks {', '.join(missing)}: pytest ends with an import error"
        )
        yield problem("plugin", text, f"{tests.python} -m pip install {' '.join(missing)}")
        return
    yield ok("plugin", f"pytest {pytest} of {tests.python} finds it")


def check_versions(own: str, others: Mapping[str, str]) -> Finding:
    """Return whether all parts are of one version.

    Args:
        own: that of this command.
        others: part to version, empty where it is not known.
    """
    known = {part: version for part, version in others.items() if version}
    text = ", ".join([f"threepio is {own}", *(f"{part} {version}" for part, version in known.items())])
    cures = []
    if known.get("the daemon", own) != own:
        cures.append("threepiod restart")
    if known.get("the plugin", own) != own:
        cures.append(f"install {OURS} {own} where the tests run, or that version here")
    return problem("versions", text, "; ".join(cures)) if cures else ok("versions", text)


def check_copies(tests: Environment | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield whether something is installed twice: in an environment, or as a command on PATH.

    Args:
        tests: the environment that runs the tests.
        environ: the environment variables.
    """
    found = [*_twice(tests, environ.get("PYTHONPATH", "")), *_other_commands(environ.get("PATH", os.defpath))]
    yield from found
    if not found:
        yield ok("copies", f"one {OURS}, wherever it was looked for")


def _twice(tests: Environment | None, python_path: str) -> Iterator[Finding]:
    own = Environment(sys.executable, sys.version_info[:2], sys.path)
    environments = [own]
    if tests is not None and not _same(
        os.path.dirname(which(tests.python) or tests.python), os.path.dirname(own.python)
    ):
        environments.append(tests)
    for environment in environments:
        copies = {str(one.locate_file("")): one.version for one in environment.copies_of(OURS)}
        if len(copies) > 1:
            first, *hidden = (f"{version} in {place}" for place, version in copies.items())
            text = f"{environment.python} has {OURS} {first}, which hides {' and '.join(hidden)}"
            given = [
                place for place in copies if any(_same(place, one) for one in python_path.split(os.pathsep) if one)
            ]
            # pip does not touch what is outside of its environment.
            cure = f"{environment.python} -m pip uninstall {OURS}, until one is left"
            yield problem("copies", text, f"take {' and '.join(given)} off PYTHONPATH" if given else cure)


def _other_commands(path: str) -> Iterator[Finding]:
    """Yield a finding for each other environment whose commands come first on PATH, if its version or extra is another."""
    own = os.path.dirname(sys.executable)
    others: dict[str, list[str]] = {}
    for command in ("threepio", "threepiod"):
        found = which(command, path=path)
        interpreter = _interpreter(found) if found else ""
        if found and interpreter and not _same(os.path.dirname(interpreter), own):
            others.setdefault(interpreter, []).append(found)
    for interpreter, commands in others.items():
        environment = Environment(interpreter, (), _site_packages(interpreter))
        version = environment.version_of_ours
        cure = f"put {own} first on PATH, or call {os.path.join(own, os.path.basename(commands[0]))}"
        first = f"first on PATH is {' and '.join(commands)}"
        if version and version != __version__:
            text = f"{first}, version {version}; this is {__version__} in {own}"
            yield problem("copies", text, f"{interpreter} -m pip install --upgrade {OURS}; or {cure}")
        elif version and not environment.copies_of("typer"):
            yield problem("copies", f"{first}, without {OURS}[daemon], which can answer nothing", cure)


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _interpreter(script: str) -> str:
    """Return the interpreter that a script names in its first lines, empty if it names none."""
    try:
        with open(script, "rb") as file:
            head = os.fsdecode(file.read(1024))
    except OSError:
        return ""
    # pip writes the second form where the path is too long for the kernel or has spaces.
    named = re.match(r"#!(/\S*python[\d.]*)\s", head) or re.match(
        r"#!/bin/sh\n'''exec' \"?([^\"\n]*?python[\d.]*)\"? ", head
    )
    return named[1] if named else ""


def _site_packages(interpreter: str) -> list[str]:
    """Return where an environment keeps its packages."""
    return [str(place) for place in sorted(Path(interpreter).parent.parent.glob("lib/python3*/site-packages"))]


def _needed(distribution: Distribution) -> list[str]:
    """Return the names of the distributions that one needs, without its extras."""
    needed = [text for text in distribution.requires or [] if "extra" not in text.partition(";")[2]]
    return [match[0] for text in needed if (match := re.match(r"[\w.-]+", text)) is not None]


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
