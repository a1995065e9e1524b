"""The configuration file: TOML, each key a setting (`settings.py`). Imported only where there is one.

Whatever the file holds, what is valid of it is found, and what is not is said: with file, line or key, and what is allowed.
"""

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from threepio_client.settings import BY_KEY, Setting

FILE_LIMIT: Final = 64 * 1024
"""Bytes: a hundred times what all settings take."""


INTERNAL: Final = frozenset(
    {"THREEPIO_COMMAND_ID", "THREEPIO_COMMAND_CWD", "THREEPIO_PARENT_RUN_ID", "THREEPIO_SPARE_TRACEBACKS"}
)
"""Variables that our own programs set for each other."""


class Problem(NamedTuple):
    """Something that cannot be used.

    Attributes:
        text: what is wrong, where, and what is allowed.
        is_unknown_key: it is only a key that this version does not know.
    """

    text: str
    is_unknown_key: bool = False


def read(path: Path) -> tuple[dict[str, str], list[Problem]]:
    """Return the values that can be used, by key, as they would be written in the environment; and what cannot be used."""
    try:
        text = _text(path)
        table = tomllib.loads(text)
    except RecursionError:
        return {}, [Problem(f"the configuration file {path} cannot be used: it is nested too deeply")]
    except UnicodeDecodeError as error:
        return {}, [Problem(f"the configuration file {path} is no UTF-8 at byte {error.start}: save it as UTF-8")]
    except tomllib.TOMLDecodeError as error:
        return {}, [Problem(f"the configuration file {path} is no TOML, so none of it is used: {error}")]
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return {}, [Problem(f"the configuration file {path} cannot be used: {why}")]
    values: dict[str, str] = {}
    problems = []
    for key, value in table.items():
        setting = BY_KEY.get(key)
        place = f"{path}, line {_line_of(key, text)}"
        if setting is None:
            problems.append(Problem(f"{place}: {_unknown(key)}", is_unknown_key=True))
            continue
        try:
            values[key] = _checked(setting, value)
        except ValueError as error:
            problems.append(Problem(f"{place}: {key} = {_shown(value)}: {error}"))
    return values, problems


def misspelt(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (name, the setting that is meant) of variables that are nearly called like a setting."""
    names = {setting.name for setting in BY_KEY.values()}
    found = []
    for name in environ:
        if name.startswith("THREEPIO") and name not in names | INTERNAL:
            from difflib import get_close_matches

            found += [(name, near) for near in get_close_matches(name, names, n=1, cutoff=0.85)]
    return found


def _text(path: Path) -> str:
    """Return what the file holds; raises OSError, UnicodeDecodeError or ValueError. It never waits for a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file")
        if found.st_uid not in (0, os.getuid()):
            raise ValueError(f"it belongs to uid {found.st_uid}, not to you (uid {os.getuid()})")
        if found.st_mode & stat.S_IWOTH:
            raise ValueError("anybody may write to it: chmod o-w it")
        data = file.read(FILE_LIMIT + 1)
    if len(data) > FILE_LIMIT:
        raise ValueError(f"it has over {FILE_LIMIT} bytes")
    return data.decode("utf-8")


def _checked(setting: Setting, value: Any) -> str:
    """Return the value as it would be written in the environment; raises ValueError."""
    if setting.is_a_runs:
        raise ValueError(f"each run has its own, so it cannot stand here: set {setting.name}")
    if isinstance(value, bool):
        text = "1" if value else "0"
    elif isinstance(value, str | int | float):
        text = str(value)
    elif isinstance(value, list) and setting.is_list and all(isinstance(each, str) for each in value):
        text = "\n".join(value)
    else:
        raise ValueError(f"must be {'a list of texts' if setting.is_list else 'a text, a number, or true or false'}")
    if not text:
        raise ValueError("is empty: remove the line for the default")
    checked = setting.parse(text)
    if isinstance(checked, Path) and not text.startswith(("/", "~/")):
        raise ValueError("must be an absolute path, or one that begins with ~/")
    return text


def _unknown(key: str) -> str:
    from difflib import get_close_matches  # only here: it takes 2 ms

    likely = {name: setting.key for setting in BY_KEY.values() for name in (setting.key, setting.option)}
    near = get_close_matches(key.lower().replace("-", "_"), likely, n=1)
    hint = f"the nearest is {likely[near[0]]!r}" if near else f"there are {', '.join(BY_KEY)}"
    return f"there is no setting {_shown(key)}: {hint}"


def _line_of(key: str, text: str) -> int:
    """Return the number of the line at which a key stands, as far as can be told: tomllib does not say."""
    found = re.search(rf"""^[ \t]*\[*[ \t]*["']?{re.escape(key)}["']?[ \t]*[=.\]]""", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else 1


def _shown(value: Any) -> str:
    shown = repr(value) if not isinstance(value, bool) else str(value).lower()
    return shown if len(shown) <= 100 else shown[:97] + "..."
