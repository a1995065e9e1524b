"""What a check found."""

from __future__ import annotations

from typing import Literal, NamedTuple

State = Literal["ok", "problem", "unknown"]


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        check: which check.
        state: `unknown` where it could not be looked at.
        text: what was found.
        cure: what to do; empty where nothing is wrong.
    """

    check: str
    state: State
    text: str
    cure: str = ""


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check, "ok", text)


def problem(check: str, text: str, cure: str) -> Finding:
    """Return what is wrong, and what to do."""
    return Finding(check, "problem", text, cure)


def unknown(check: str, text: str) -> Finding:
    """Return what could not be looked at, and why."""
    return Finding(check, "unknown", text)
