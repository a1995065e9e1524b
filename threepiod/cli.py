"""The command `threepiod`; its own commands are in `commands.py`."""

from __future__ import annotations

from threepio_client.cli import require


def main() -> None:
    """Run the command; without the extra, say what to install."""
    require("threepiod", "trio", "typer")
    from threepiod.commands import run

    run()
