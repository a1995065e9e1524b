"""`threepio doctor`: what is wrong with the installation, and what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from threepio_client import answers
from threepio_client.cli.options import AsJson
from threepio_client.cli.output import say, say_json
from threepio_client.errors import SettingsError
from threepio_client.views import VIEW_VERSION

EXAMPLE = "Example: threepio doctor --python .venv/bin/python"
_LABELS: Final = {"ok": "ok", "problem": "PROBLEM", "unknown": "?"}


def doctor(
    python: Annotated[
        str,
        typer.Option(
            metavar="PATH",
            help="Interpreter of the environment that runs the tests; by default the activated one, our own, .venv here, or "
            "python3 on PATH.",
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check the installation and say what to do about each problem. Exit code 0 only if there is none.

    Needs no daemon. Nothing is changed; a probe file in the state directory, which measures the disk, is removed again.
    """
    from threepio_client.doctor import examine

    findings = list(examine(os.environ, _here(), python))
    is_ok = all(finding.state != "problem" for finding in findings)
    if as_json:
        answer: answers.Examined = {
            "schema_version": VIEW_VERSION,
            "ok": is_ok,
            "checks": [
                {"check": one.check, "state": one.state, "text": one.text, "cure": one.cure or None} for one in findings
            ],
        }
        say_json(answer)
    else:
        for one in findings:
            cure = f". Do: {one.cure}" if one.cure else ""
            say(f"{_LABELS[one.state]:<7}  {one.check:<8}  {one.text}{cure}")
    if not is_ok:
        raise typer.Exit(1)


def _here() -> Path:
    try:
        return Path.cwd()
    except OSError as error:
        raise SettingsError(f"the working directory cannot be used: {error.strerror}. Go to another one") from error
