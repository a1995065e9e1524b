"""The commands of `threepio`, put together."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Final

import typer

from threepio_client.cli.program import guarded, new_program

COMMANDS: Final = (
    "run",
    "status",
    "runs",
    "failures",
    "show",
    "diff",
    "slow",
    "flaky",
    "history",
    "wait",
    "events",
    "never-ran",
    "rerun",
    "stacks",
    "prune",
    "report",
    "verify",
    "doctor",
)
"""In the order of the help. Each is the function of its name in the module of its name, with an EXAMPLE beside it."""
_TAKES_ALL: Final = frozenset({"run", "rerun"})
"""They hand on what they do not know."""


def make_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the program with these commands."""
    app = new_program("threepio", "What happened to your test runs: what runs, what failed and why, what never ran.")
    for name in names:
        function = name.replace("-", "_")
        module = import_module(f"threepio_client.cli.{function}")
        settings = {"ignore_unknown_options": True} if name in _TAKES_ALL else None
        app.command(name, epilog=module.EXAMPLE, context_settings=settings)(
            guarded("threepio")(getattr(module, function))
        )
    return app


def run() -> None:
    """Run the command; of the others not even the module is imported. Help and completion know them all."""
    asked = sys.argv[1:2]
    make_app(asked if asked and asked[0] in COMMANDS else COMMANDS)()
