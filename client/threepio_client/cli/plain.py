"""`threepio status [RUN] [--json]` without typer, whose import and parsing take several times as long as the answer.

This is what programs and agents ask again and again. Whatever else is given - another command, another option, a word
too many - is typer's, which knows all commands, help and completion: see `app.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from threepio_client.errors import ThreepioError
from threepio_client.line import plain_text

INTERRUPTED: Final = 130
"""As typer says it: 128 and the number of SIGINT."""


def answer(arguments: Sequence[str]) -> int | None:
    """Answer a plain question; return the exit code, or None for typer to take over: then nothing was done.

    Args:
        arguments: those of the command line, without the program.
    """
    if arguments[:1] != ["status"]:
        return None
    words = [word for word in arguments[1:] if word != "--json"]
    if len(words) > 1 or any(word.startswith("-") for word in words):
        return None
    from threepio_client.cli.output import complain, flush
    from threepio_client.cli.status_answer import print_status

    try:
        is_good = print_status(plain_text(words[0]) if words else "latest", "--json" in arguments)
        flush()
    except (ThreepioError, OSError) as error:
        return complain("threepio", error)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0 if is_good else 1
