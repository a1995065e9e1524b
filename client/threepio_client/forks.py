"""Forked children: what belongs to the parent's run is let go of there."""

from __future__ import annotations

import os
import weakref
from typing import Final, Protocol


class Forgets(Protocol):
    """What a forked child must not use."""

    def forget(self) -> None:
        """Be of no use from now on."""


_known: Final[weakref.WeakSet[Forgets]] = weakref.WeakSet()
_is_hook_set: bool = False


def forget_in_children(thing: Forgets) -> None:
    """Call `thing.forget` in every child that is forked from now on."""
    global _is_hook_set
    _known.add(thing)
    if not _is_hook_set:  # once: it cannot be taken back
        _is_hook_set = True
        os.register_at_fork(after_in_child=_forget_all)


def _forget_all() -> None:
    for thing in list(_known):
        thing.forget()
