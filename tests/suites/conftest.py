"""One daemon for all suites that leave it alone: starting one for each would take most of the time."""

from __future__ import annotations

from tests.suites.fixtures import compare

__all__ = ["compare"]

collect_ignore = ["data"]
