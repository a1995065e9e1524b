"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

RunReference = Annotated[
    str, typer.Argument(metavar="[RUN]", help="Run id, a unique prefix of one, or 'latest'.", show_default="latest")
]
NodeId = Annotated[str, typer.Argument(metavar="NODEID", help="A test's node id, as threepio failures shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON (docs/json.md).")]
