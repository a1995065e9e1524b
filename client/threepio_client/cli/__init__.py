"""The command `threepio`, one file a command. Only modules in this package import typer."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; without the extra, say what to install."""
    try:
        import typer  # noqa: F401
    except ImportError as error:
        print(
            f"threepio: {error.name} is not installed. Install it with: pip install 'threepiod[daemon]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from threepio_client.cli.app import run

    run()
