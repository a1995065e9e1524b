"""`threepio` called in this process: the same code as the real command, and much quicker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from typer.testing import CliRunner

from tests.place import Place
from threepio_client.cli.app import make_app

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
    result = CliRunner().invoke(_APP, arguments, env={**place.environ, **environ}, prog_name="threepio")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(exit_code=result.exit_code, stdout=result.stdout, stderr=result.stderr)
