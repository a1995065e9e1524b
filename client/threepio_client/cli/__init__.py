"""The command `threepio`, one file a command. Only modules in this package import typer."""

from __future__ import annotations

import importlib.util
import sys


def main() -> None:
    """Run the command; without the extra, say what to install."""
    require("threepio", "typer")
    from threepio_client.cli.app import run

    run()


def require(program: str, *modules: str) -> None:
    """End with exit code 2 and a line that says what to install, unless the modules of the extra are there."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            print(
                f"{program}: {module} is not installed. Install it with: pip install 'threepiod[daemon]'",
                file=sys.stderr,
            )
            sys.exit(2)
