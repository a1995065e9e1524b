"""Writes docs/commands.md from the commands themselves: `python -m docs.make_commands`. A test fails when it is stale."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

import typer

from threepio_client.cli.app import make_app
from threepiod.commands import app as threepiod

PATH: Final = Path(__file__).with_name("commands.md")
HEAD: Final = """\
# Commands

Written by `python -m docs.make_commands` from the commands themselves; `--help` says the same. Exit codes: 0 ok, 1 the
answer is "not good", 2 usage, 3 timed out, 4 no such run or test, 5 the daemon is needed and not there.
What `--json` prints is in [json.md](json.md).
"""


def text() -> str:
    """Return what docs/commands.md should hold."""
    parts = [HEAD]
    for app in (make_app(), threepiod):
        group: Any = typer.main.get_command(app)
        parts.append(f"## {group.name}\n\n{_paragraphs(group.help)}\n\n{_table(group.params)}")
        for name, command in group.commands.items():
            arguments = [_names(param) for param in command.params if param.param_type_name == "argument"]
            parts.append(f"### {' '.join([group.name, name, *arguments])}\n\n{_paragraphs(command.help)}\n")
            if command.params:
                parts.append(_table(command.params))
            if command.epilog:
                parts.append(f"{command.epilog.replace(': ', ': `', 1)}`\n")
    return "\n".join(parts)


def _table(params: list[Any]) -> str:
    cells = [(f"`{_names(param)}`", _meaning(param)) for param in params if not param.hidden]
    rows = [f"| {names} | {meaning} |" for names, meaning in (map(_cell, pair) for pair in cells)]
    return "\n".join(["| | |", "|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _names(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.metavar or param.name.upper())
    value = "" if param.is_flag else f" {param.metavar or param.name.upper()}"
    return ", ".join(sorted(param.opts, key=len, reverse=True)) + value


def _meaning(param: Any) -> str:
    default = param.default
    shown = isinstance(default, str | int) and not isinstance(default, bool) and default != ""
    return str(param.help or "") + (f" Default: {default}." if shown else "")


def _paragraphs(help_text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(help_text or "").split("\n\n"))


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
