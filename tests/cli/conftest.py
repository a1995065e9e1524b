"""Commands called in this process: the same code as the real ones, a hundred times quicker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from tests.place import Place
from threepio_client.cli.app import app


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str


Call = Callable[..., Result]


@pytest.fixture
def call() -> Call:
    """Return what runs `threepio` with some arguments in a place."""

    def run(place: Place, *arguments: str, **environ: str) -> Result:
        result = CliRunner().invoke(app, arguments, env={**place.environ, **environ}, prog_name="threepio")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Result(exit_code=result.exit_code, stdout=result.stdout, stderr=result.stderr)

    return run
