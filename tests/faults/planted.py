"""Bugs planted on purpose, to prove that the oracle sees them.

    python -m tests.faults.planted NAME daemon FD     a daemon with the bug, started as `threepiod.lifecycle` is
    python -m tests.faults.planted NAME producer      a producer with the bug, or the parent of such producers

A bug is a function that patches the product in the process that is to have it. What must see it stands in `proofs.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final, NamedTuple

from threepio_client.events import Payload
from threepio_client.line import decode


class Bug(NamedTuple):
    """Attributes: role: which process has it, `daemon` or `producer`. plant: what puts it in."""

    role: str
    plant: Callable[[], None]


def _ack_before_commit() -> None:
    """The daemon acks what it took, then commits."""
    from threepiod.run import Run

    store_batch = Run._store_batch

    async def hasty(self: Run) -> bool:
        for connection in list(self._connections):
            connection.ack(self.cursor)
        return await store_batch(self)

    Run._store_batch = hasty  # type: ignore[method-assign]


def _no_duplicate_check() -> None:
    """Lines that are taken already are taken again, from socket and journal; nor does the store refuse them by a key."""
    from threepiod import run, schema, store

    def take_again(self: run.Run, seq: int, raw: bytes, source: str) -> bool:
        cursor = self.cursor
        self._take([decode(raw)], [raw], 0)
        self.cursor = cursor
        return True

    def without_keys(statement: str) -> str:
        for key in ("run, test, seq", "run, seq"):
            statement = statement.replace(f",\n                PRIMARY KEY ({key})\n            ) WITHOUT ROWID", ")")
        return statement

    run.Run._drop = take_again  # type: ignore[method-assign]
    vars(store)["MIGRATIONS"] = tuple(
        schema.Migration(name=step.name, statements=tuple(without_keys(text) for text in step.statements))
        for step in schema.MIGRATIONS
    )


def _adapter_drops_when_blocked() -> None:
    """Out of credit or with a full socket the adapter throws an event away: `emit` returns, and nothing is counted."""
    from threepio_client.adapter import Adapter

    emit = Adapter.emit

    def careless(self: Adapter, event_type: str, payload: Payload) -> None:
        link = self._link
        if link is not None and link.is_open:
            link.hear()
            if link._out or not link._credit.allows(0):
                return
        emit(self, event_type, payload)

    Adapter.emit = careless  # type: ignore[method-assign]


BUGS: Final = {
    "ack before commit": Bug("daemon", _ack_before_commit),
    "no duplicate check": Bug("daemon", _no_duplicate_check),
    "adapter drops when blocked": Bug("producer", _adapter_drops_when_blocked),
}
"""By the names of faults.md."""


def main() -> None:
    """Plant the bug, then be the process."""
    name, role, *arguments = sys.argv[1:]
    BUGS[name].plant()
    if role == "daemon":
        from threepiod import lifecycle

        sys.argv = ["threepiod.lifecycle", *arguments]
        lifecycle.main()
    else:
        from tests.faults import producer

        producer.main(arguments)


if __name__ == "__main__":
    main()
