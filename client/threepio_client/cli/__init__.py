"""The command `threepio`, one file a command. Of the client, only modules in this package import typer."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command; without the extra, say what to install."""
    require("threepio", "typer")
    from threepio_client.cli.plain import answer

    code = answer(sys.argv[1:])
    if code is not None:
        sys.exit(code)
    from threepio_client.cli.app import run

    run()


def require(program: str, *modules: str) -> None:
    """End with exit code 2 and a line that says what to install, unless the modules of the extra are there.

    What is printed to a stream that was closed before we began goes nowhere.
    """
    from importlib.util import find_spec

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end
    for module in modules:
        if find_spec(module) is None:
            other = _another(program)
            where = f"There is another {program}, use that: {other}; or install it here" if other else "Install it"
            print(
                f"{program}: {module} is not installed. {where} with: pip install 'threepiod[daemon]'", file=sys.stderr
            )
            sys.exit(2)


def _another(program: str) -> str:
    """Return the next whole program of this name on PATH, empty if there is none.

    This one may be in an environment for tests, and the next one in another such.
    """
    own = os.path.realpath(sys.argv[0])
    for directory in os.environ.get("PATH", "").split(os.pathsep):
        found = os.path.join(directory, program)
        is_another = (
            directory and os.access(found, os.X_OK) and os.path.isfile(found) and os.path.realpath(found) != own
        )
        if is_another and _is_whole(found):
            return found
    return ""


def _is_whole(program: str) -> bool:
    import subprocess  # only where something is missing

    environ = {**os.environ, "PATH": ""}  # it is not to ask us in turn
    try:
        done = subprocess.run(
            [program, "--help"], env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
