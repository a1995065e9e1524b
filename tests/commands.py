"""The commands called in this process: the same code as the real ones, and much quicker."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from typer import Typer
from typer.testing import CliRunner

from tests.place import Place
from threepio_client.cli.app import make_app
from threepiod.commands import app as threepiod

_APP: Final = make_app()


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


Call = Callable[..., Result]


def call_threepio(place: Place, *arguments: str, **environ: str) -> Result:
    """Run `threepio` with some arguments in a place; an error that it does not catch fails the test."""
    return _call(_APP, "threepio", place, arguments, environ)


def call_threepiod(place: Place, *arguments: str, **environ: str) -> Result:
    """Likewise `threepiod`."""
    return _call(threepiod, "threepiod", place, arguments, environ)


def runner() -> CliRunner:
    """Return what calls a command and keeps its standard error apart: click before 8.2 does so only if it is told to."""
    options: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    return CliRunner(**options)


def _call(app: Typer, name: str, place: Place, arguments: tuple[str, ...], environ: dict[str, str]) -> Result:
    result = runner().invoke(app, arguments, env={**place.environ, **environ}, prog_name=name)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(exit_code=result.exit_code, stdout=result.stdout, stderr=result.stderr)
