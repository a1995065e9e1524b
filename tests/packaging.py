"""`python -m tests.packaging`: every way of installing, each tried with a suite and `threepio verify`.

Builds sdist and wheel, and installs them with pip, pipx and uv; daemon in one environment and plugin in another; beside
pydantic 1. Exit code 0 if all of it works, 1 if not. Needs an index of packages.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).parent.parent
IN_THE_SDIST: Final = (
    "tests/conftest.py",
    "benchmarks/__main__.py",
    "docs/operating.md",
    "systemd/threepiod.service.d/namespaces.conf",
    "LICENSE",
    "CHANGELOG.md",
    "README.md",
    "pyproject.toml",
)
SUITE: Final = "import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_it(n): assert n != 7\n"
COMMAND_S: Final = 300.0


class Failed(Exception):
    """A command ended otherwise than it should."""


class Room:
    """A directory with everything in it: environments, tools, state."""

    def __init__(self, path: Path) -> None:
        self.path = path
        kept = {
            name: text for name, text in os.environ.items() if not name.startswith(("THREEPIO", "PYTHON", "VIRTUAL"))
        }
        self.environ = kept | {
            "HOME": str(path / "home"),
            "XDG_CONFIG_HOME": str(path / "config"),
            "THREEPIO_STATE_DIR": str(path / "state"),
            "THREEPIO_SOCKET": str(path / "socket"),
            "PIPX_HOME": str(path / "pipx"),
            "PIPX_BIN_DIR": str(path / "pipx-bin"),
            "UV_TOOL_DIR": str(path / "uv"),
            "UV_TOOL_BIN_DIR": str(path / "uv-bin"),
            "UV_PYTHON": sys.executable,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        (path / "home").mkdir()
        (path / "test_it.py").write_text(SUITE)
        self.wheel = self.sdist = path

    def run(self, *command: str | Path, code: int = 0) -> str:
        """Run a command; return what it printed; raises Failed if it ends with another code."""
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.path,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode != code:
            raise Failed(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def env(self, name: str, *packages: str | Path) -> Path:
        """Return the directory of the programs of a new environment with these packages."""
        self.run(sys.executable, "-m", "venv", self.path / name)
        self.run(self.path / name / "bin" / "pip", "install", "-q", *packages)
        return self.path / name / "bin"

    def try_out(self, tests: Path, commands: Path) -> str:
        """Run the suite with the plugin of one environment and the daemon of one; return what `verify` says."""
        self.run(commands / "threepiod", "start")
        try:
            said = self.run(tests / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py", code=1)
            if "1 failed, 19 passed" not in said or "is stored" not in said:
                raise Failed(f"the suite said:\n{said}")
            found = json.loads(self.run(commands / "threepio", "verify", "--json"))
            if found["missing"] or not found["stored_events"]:
                raise Failed(f"verify said: {found}")
        finally:
            self.run(commands / "threepiod", "stop")
        return f"{found['stored_events']} events stored, whole"


def built(room: Room) -> str:
    """Sdist, and the wheel out of it."""
    room.env("build", "build")
    room.run(room.path / "build" / "bin" / "python", "-m", "build", "-q", "--outdir", room.path / "dist", PROJECT)
    (room.sdist,) = (room.path / "dist").glob("*.tar.gz")
    (room.wheel,) = (room.path / "dist").glob("*.whl")
    with tarfile.open(room.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    lacking = [name for name in IN_THE_SDIST if name not in names]
    if lacking:
        raise Failed(f"the sdist lacks {lacking}")
    return f"{room.sdist.name} of {len(names)} files, {room.wheel.name} of {room.wheel.stat().st_size / 1024:.0f} KiB"


def by_pip_from_the_sdist(room: Room) -> str:
    """An environment with the sdist, the extra and pytest."""
    programs = room.env("sdist", f"{room.sdist}[daemon]", "pytest")
    return room.try_out(programs, programs)


def two_environments(room: Room) -> str:
    """The plugin alone where the tests run; the daemon elsewhere; the plain one says what it lacks."""
    tests, daemon = room.env("tests", room.wheel, "pytest"), room.env("daemon", f"{room.wheel}[daemon]")
    for name in ("threepio", "threepiod"):
        said = room.run(tests / name, "status", code=2)
        if "pip install 'threepiod[daemon]'" not in said:
            raise Failed(f"{name} without the extra says: {said}")
    listed = {entry["name"] for entry in json.loads(room.run(tests / "pip", "list", "--format", "json"))}
    if listed & {"trio", "typer", "rich", "pydantic"}:
        raise Failed(f"the plain install brings {listed}")
    return room.try_out(tests, daemon)


def beside_pydantic_1(room: Room) -> str:
    """A project that is tied to pydantic 1 has the plugin; pipx has the commands."""
    tests = room.env("pydantic", room.wheel, "pytest", "pydantic<2")
    version = room.run(tests / "python", "-c", "import pydantic; print(pydantic.VERSION)").strip()
    return f"pydantic {version}: {room.try_out(tests, room.path / 'pipx-bin')}"


def by_pipx(room: Room) -> str:
    """The commands in an environment of pipx's."""
    pipx = room.env("with-pipx", "pipx") / "pipx"
    room.run(pipx, "install", "--python", sys.executable, f"{room.wheel}[daemon]")
    return room.try_out(room.path / "tests" / "bin", room.path / "pipx-bin")


def by_uv(room: Room) -> str:
    """The commands as a tool of uv's, the plugin in an environment of uv's."""
    uv = room.env("with-uv", "uv") / "uv"
    room.run(uv, "tool", "install", f"{room.wheel}[daemon]")
    room.run(uv, "venv", "-q", room.path / "uv-env")
    room.run(uv, "pip", "install", "-q", "--python", room.path / "uv-env" / "bin" / "python", room.wheel, "pytest")
    return room.try_out(room.path / "uv-env" / "bin", room.path / "uv-bin")


def its_units(room: Room) -> str:
    """The installed package brings its units, and they call it."""
    said = room.run(room.path / "pipx-bin" / "threepiod", "install", "--namespaces")
    service = (room.path / "config" / "systemd" / "user" / "threepiod.service").read_text()
    if said.count("written: ") != 3 or f"ExecStart={room.path / 'pipx'}" not in service:
        raise Failed(f"{said}{service}")
    room.run(room.path / "pipx-bin" / "threepiod", "uninstall")
    return "service, socket and drop-in, which call pipx's environment; removed again"


WAYS: Final[tuple[Callable[[Room], str], ...]] = (
    built,
    by_pip_from_the_sdist,
    two_environments,
    by_pipx,
    by_uv,
    beside_pydantic_1,
    its_units,
)


def main() -> int:
    """Try every way, in an order in which later ones use what earlier ones made."""
    argparse.ArgumentParser(prog="python -m tests.packaging", description=__doc__).parse_args()
    failed = 0
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    try:
        room = Room(path)
        for way in WAYS:
            try:
                print(f"{way.__name__.replace('_', ' '):<24} OK      {way(room)}", flush=True)
            except Failed as error:
                failed += 1
                print(f"{way.__name__.replace('_', ' '):<24} NOT OK  {error}", flush=True)
    finally:
        shutil.rmtree(path, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
