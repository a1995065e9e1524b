"""Every message that is logged is in the table of docs/operating.md, and says what it says in the words of the design."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]
LEVELS: Final = {"debug": "debug", "info": "info", "warning": "warning", "error": "error", "exception": "error"}
OF_A_RUN: Final = "run …: "
SAID_BY: Final = {
    "_report": ("", "daemon, error"),
    "_note_error": ("", "daemon, error"),
    "_note_store_trouble": ("", "daemon, error"),
    "_note": (OF_A_RUN, "daemon, error"),
    "complain": ("", "adapter"),
}
"""Methods that log what they are given: what they put before it, and who says it how."""
ELSEWHERE: Final = {"damage", "trouble"}
"""Variables that hold a message which is written down where it is made: `NAME = f"..."`."""

OTHER_WORDS: Final = {
    "persist": "stored or synced",
    "saved": "stored",
    "committed": "stored",
    "flush": "synced",
    "fsync": "synced",
    "acknowledg": "acked",
    "confirm": "acked",
    "database": "the store",
    "sqlite": "the store",
    "queue": "spilled, or the backlog",
    "buffered": "spilled",
    "dropped": "discarded, lost or spilled",
    "imported": "ingested",
    "replay": "ingested",
    "record": "event or line",
    "entry": "event or line",
    "logfile": "journal",
    "log file": "journal",
    "session": "run",
    "job": "run",
    "producer": "adapter, or the run's process",
    "agent": "adapter",
    "server": "threepiod",
    "corrupted": "bad, or cannot be read",
    "failed test": "a test's outcome is no matter of a log",
}
"""What a message does not say, and the word of the design in its place."""


def messages() -> Iterator[tuple[str, str]]:
    """Yield (message with … for what varies, who logs it how) of every call in the product that logs."""
    for package in ("client", "pytest_plugin", "threepiod"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                    yield from _logged(node.func, node.args[0])
                elif isinstance(node, ast.Assign) and _name(node.targets[0]) == "damage" and _text(node.value):
                    yield _text(node.value), "adapter"
                elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and path.name == "newfiles.py":
                    yield from ((_text(part), "adapter") for part in node.value.elts if isinstance(part, ast.JoinedStr))


def _logged(function: ast.Attribute, argument: ast.expr) -> Iterator[tuple[str, str]]:
    text = _text(argument)
    if _name(function.value) == "log" and function.attr in LEVELS:
        if text != "…":  # a message that `SAID_BY` made
            yield text, f"daemon, {LEVELS[function.attr]}"
    elif function.attr in SAID_BY:
        before, by = SAID_BY[function.attr]
        if text:
            yield before + text, by
        else:
            assert _name(argument) in ELSEWHERE or ast.unparse(argument) in {"str(error)", "str(found)", "text"}, (
                ast.unparse(argument)
            )


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.expr) -> str:
    """Return the text of a literal with … for each thing that is put into it; empty for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[sdrg.0-9f]+", "…", node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        return re.sub("…+", "…", "".join(map(str, parts)))
    return ""


def documented() -> dict[str, str]:
    (section,) = re.findall(r"^## Log messages\n(.*?)^## ", (ROOT / "docs/operating.md").read_text(), re.M | re.S)
    return dict(re.findall(r"^\| `(.*?)` \| (.*?) \|", section, re.M))


def test_the_table_of_log_messages_is_what_the_code_logs() -> None:
    assert dict(sorted(documented().items())) == dict(sorted(messages()))


@pytest.mark.parametrize("message", [message for message, _ in messages()])
def test_a_log_message_uses_the_words_of_the_design(message: str) -> None:
    used = [f"{word!r}: say {better}" for word, better in OTHER_WORDS.items() if word in message.lower()]

    assert not used
    assert not message.endswith(".")
    assert message[0] in "…A" or message[0].islower()


def test_every_message_is_found() -> None:
    assert len(list(messages())) > 35
