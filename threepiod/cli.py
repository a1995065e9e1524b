"""The command `threepiod`: start, stop, restart, status."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; without the extra, say what to install."""
    try:
        import trio  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        print(
            f"threepiod: {error.name} is not installed. Install it with: pip install 'threepiod[daemon]'",
            file=sys.stderr,
        )
        sys.exit(2)
    from threepiod.commands import run

    run()


if __name__ == "__main__":
    main()
