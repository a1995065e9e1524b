"""The settings of a command: what is wrong with the configuration file is said once, and the rest of it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from threepio_client import settings
from threepio_client.errors import SettingsError

if TYPE_CHECKING:
    from threepio_client.configfile import Problem

_said: Final[set[str]] = set()


def load_settings(program: str = "threepio", *, is_strict: bool = False) -> settings.Settings:
    """Return the settings of this process.

    Args:
        program: who speaks.
        is_strict: what is wrong with the file is an error, but for keys that are not known: the daemon could otherwise
            remove runs that are to be kept.

    Raises:
        SettingsError: a value cannot be used.
    """
    problems: list[Problem] = []
    found = settings.load(problems=problems)
    for text, is_unknown_key in problems:
        if is_strict and not is_unknown_key:
            raise SettingsError(text)
        if text not in _said:
            from threepio_client.cli.output import say

            _said.add(text)
            say(f"{program}: {text} (going on without it)", to_stderr=True)
    return found
