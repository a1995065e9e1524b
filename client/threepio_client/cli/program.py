"""What typer is asked for beyond its usual: usage errors that are harmless, errors of ours as exit codes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, ParamSpec, TypeVar

import typer
from typer.core import TyperGroup

from threepio_client import __version__
from threepio_client.cli.output import complain, flush, say
from threepio_client.errors import ThreepioError
from threepio_client.line import clip
from threepio_client.printable import inert

P = ParamSpec("P")
T = TypeVar("T")

USAGE_SHOWN: Final = 300
"""Characters of a usage error, which is shown in a box."""


class Commands(TyperGroup):
    """Commands whose usage errors quote what was given harmlessly: typer prints it as it came."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Parse the arguments of the program itself."""
        with _harmless_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Parse the arguments of the command, and run it."""
        with _harmless_errors():
            return super().invoke(ctx)


def new_program(name: str, purpose: str) -> typer.Typer:
    """Return a program without commands, which says its version and what it is for."""
    app = typer.Typer(name=name, cls=Commands, help=purpose, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback(help=purpose)(_options)
    return app


def _print_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        say(f"{context.command.name} {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Take the options of the program itself."""


@contextmanager
def _harmless_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        # Which class it is depends on typer's version: its own, or click's.
        if isinstance(message := getattr(error, "message", None), str) and hasattr(error, "format_message"):
            error.message = clip(inert(message), USAGE_SHOWN)  # type: ignore[attr-defined]
        raise


def guarded(program: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Turn an error that a user can meet into one line on stderr, with the program's name, and its exit code."""

    def decorate(command: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(command)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                try:
                    return command(*args, **kwargs)
                finally:
                    flush()
            except (ThreepioError, OSError) as error:
                raise typer.Exit(complain(program, error)) from None

        return run

    return decorate
