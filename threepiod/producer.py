"""The process that a run is of, as the daemon knows it: by HELLO or runStart, watched from then on, and gone at last.

Not here: how a process is looked at (`watch.py`), and what its end means to the run (`run.py`).
"""

from __future__ import annotations

import trio

from threepio_client.process import Liveness, ProcessIdentity
from threepiod.watch import ProcessWatch


class Producer:
    """The process of one run.

    Attributes:
        has_ended: whether it was seen to be gone.
        is_given_up: whether it is taken for gone, because nothing can be seen of it.
    """

    def __init__(self) -> None:
        self.has_ended = False
        self.is_given_up = False
        self._identity: ProcessIdentity | None = None
        self._watch: ProcessWatch | None = None
        self._known = trio.Event()

    @property
    def is_gone(self) -> bool:
        """Whether it is gone, or taken to be."""
        return self.has_ended or self.is_given_up

    @property
    def liveness(self) -> Liveness:
        """Whether it was alive when it was last looked at."""
        return self._watch.liveness if self._watch is not None else Liveness.UNKNOWN

    @property
    def pid(self) -> int:
        """Its process id, 0 while that is not known."""
        return self._identity.pid if self._identity is not None else 0

    @property
    def ended_at(self) -> float | None:
        """When it was seen to end, seconds since the epoch; None if it was gone when first looked at, or is not known."""
        return self._watch.ended_at if self._watch is not None else None

    @property
    def end(self) -> dict[str, object]:
        """How it ended, as the payload of an observation; empty where that is not known."""
        return self._watch.end if self._watch is not None else {}

    def identify(self, identity: ProcessIdentity | None) -> bool:
        """Have it watched, as soon as it is known which it is; return whether that is so. What is known first stands."""
        if self._identity is None and identity is not None:
            self._identity = identity
            self._watch = ProcessWatch(identity)
            self._known.set()
        return self._watch is not None

    async def wait_gone(self) -> None:
        """Return when it is known and gone."""
        await self._known.wait()
        assert self._watch is not None
        await self._watch.wait_gone()

    def close(self) -> None:
        """Let go of it."""
        if self._watch is not None:
            self._watch.close()
