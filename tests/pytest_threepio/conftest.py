"""One daemon for all of these tests: a suite cannot tell, and starting one for each would take most of the time."""

from __future__ import annotations

from tests.suites.fixtures import compare

__all__ = ["compare"]
