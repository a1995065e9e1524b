"""How our own modules are imported: as everybody's are, not by pytest's rewriting of assertions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def not_rewritten() -> Iterator[None]:
    """Keep pytest's import hook out of the way of what is imported here.

    It takes every module of a distribution that brings a plugin, has its bytecode read piece by piece, and took two fifths
    of what a session's start costs. Our modules assert nothing for users to read.
    """
    finders = sys.meta_path[:]
    sys.meta_path[:] = [finder for finder in finders if not type(finder).__module__.startswith("_pytest.")]
    try:
        yield
    finally:
        sys.meta_path[:] = finders
