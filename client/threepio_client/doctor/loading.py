"""What keeps pytest from loading the plugin, or the plugin from working, though it is installed."""

from __future__ import annotations

import configparser
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from threepio_client.doctor.finding import Finding, ok, problem
from threepio_client.settings import Explained, Mode

_NAMES: Final = frozenset({"threepio", "pytest_threepio.plugin"})
"""How the plugin can be asked for."""
_PYTEST_ALONE: Final = ("threepio_state_dir", "threepio_socket")
"""Ini options that say where results are: commands have no ini file."""
_FILES: Final = (
    ("pytest.toml", "pytest"),
    (".pytest.toml", "pytest"),
    ("pytest.ini", "pytest"),
    (".pytest.ini", "pytest"),
    ("pyproject.toml", "tool.pytest"),
    ("tox.ini", "pytest"),
    ("setup.cfg", "tool:pytest"),
)
"""Ini files in pytest's own order, and their section."""


def check(mode: Explained, environ: Mapping[str, str], cwd: Path) -> Iterator[Finding]:
    """Yield what keeps the plugin from being loaded or from working.

    Args:
        mode: the setting THREEPIO of environment and configuration file.
        environ: the environment.
        cwd: where the tests are run: whose ini file counts.
    """
    path, options = _ini(cwd)
    found = []
    if mode.value is Mode.OFF:
        where = f"THREEPIO={mode.text}" if mode.origin == "environment" else 'mode = "off" in the configuration file'
        cure = "unset THREEPIO" if mode.origin == "environment" else "remove it there, or set THREEPIO=auto"
        found.append(problem("loading", f"{where} switches the plugin off", cure))
    elif mode.origin != "environment" and _text(options.get("threepio")).lower() == Mode.OFF:
        text = f"threepio = off in {path} switches the plugin off"
        found.append(problem("loading", text, "remove it there, or set THREEPIO=auto"))
    asked: set[str] = set(environ.get("PYTEST_PLUGINS", "").split(","))
    autoload = "PYTEST_DISABLE_PLUGIN_AUTOLOAD" if environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD") else ""
    for words, where in (
        (_words(environ.get("PYTEST_ADDOPTS", "")), "PYTEST_ADDOPTS"),
        (_words(options.get("addopts", "")), f"addopts of {path}"),
    ):
        plugins = _plugins(words)
        asked |= set(plugins)
        if "no:threepio" in plugins:
            found.append(problem("loading", f"-p no:threepio in {where} keeps the plugin out", "remove it there"))
        if "--disable-plugin-autoload" in words:
            autoload = f"--disable-plugin-autoload in {where}"
    if autoload and not asked & _NAMES:
        cure = "call pytest with -p threepio, or add that to addopts in its ini file"
        found.append(problem("loading", f"{autoload} keeps pytest from loading installed plugins", cure))
    for name in _PYTEST_ALONE:
        if options.get(name) and not environ.get(name.upper()):
            text = f"{name} in {path} is read by pytest alone: commands and daemon look elsewhere"
            found.append(
                problem("loading", text, f"set {name.upper()} to the same for all of them, and remove it there")
            )
    yield from found
    if not found:
        yield ok("loading", f"nothing keeps pytest from it; looked at the environment and {path or 'no ini file'}")


def _plugins(words: list[str]) -> list[str]:
    """Return what is given with -p, in both of its forms."""
    after = [word for before, word in pairwise(words) if before == "-p"]
    return [*after, *(word[2:] for word in words if word.startswith("-p") and len(word) > 2)]


def _ini(cwd: Path) -> tuple[Path | None, dict[str, Any]]:
    """Return the ini file that pytest takes here, and its options. One that cannot be read is pytest's to complain of."""
    for directory in (cwd, *cwd.parents):
        for name, section in _FILES:
            path = directory / name
            try:
                options = _options(path, section)
            except (OSError, ValueError, configparser.Error):
                continue
            if options is not None:
                return path, options
    return None, {}


def _options(path: Path, section: str) -> dict[str, Any] | None:
    """Return the options of pytest in a file, None if it is no ini file of pytest's."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        table = tomllib.loads(text)
        for part in section.split("."):
            table = table.get(part, {})
        options = table.get("ini_options", table) if section == "tool.pytest" else table
        return options if options or section == "pytest" else None
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(text)
    if parser.has_section(section):
        return dict(parser[section])
    return {} if section == "pytest" and path.name != "tox.ini" else None


def _words(options: Any) -> list[str]:
    if isinstance(options, list):
        return [_text(word) for word in options]
    try:
        return shlex.split(_text(options))
    except ValueError:
        return _text(options).split()


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else "" if value is None else str(value)
