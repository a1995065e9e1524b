"""Which test a part of a node id means."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from threepio_client.archive import Archive
from threepio_client.cli.without_outcome import is_cut
from threepio_client.errors import NoSuchTest
from threepio_client.results import collected, not_collected, results

NAMES_SHOWN: Final = 10


def find_test(archive: Archive, part: str, views: list[dict[str, Any]]) -> str:
    """Return the node id itself if one of these runs has it, or the only one of theirs that has this part, or ends with it.

    Args:
        archive: where the runs are.
        part: of a node id.
        views: the status answers of the runs.

    Raises:
        NoSuchTest: no run has one, or they have several.
    """
    names = {name: None for view in views for name in _names(archive, view) if part in name}
    if part in names:
        return part
    ends = [name for name in names if re.search(rf"(?:^|[/:]){re.escape(part)}$", name)]
    if len(ends) == 1:
        return ends[0]
    where = f"run {views[0]['run_id']} has" if len(views) == 1 else f"the newest {len(views)} runs have"
    if not names:
        raise NoSuchTest(f"{where} no test with {part} in its node id: threepio failures shows whole ones")
    if len(names) > 1:
        error = NoSuchTest(f"{where} {len(names)} tests with {part} in their node id:")
        more = [f"  and {len(names) - NAMES_SHOWN} more"] if len(names) > NAMES_SHOWN else []
        error.lines = (*(f"  {name}" for name in list(names)[:NAMES_SHOWN]), *more)
        raise error
    return next(iter(names))


def _names(archive: Archive, view: dict[str, Any]) -> Iterator[str]:
    """Return the names of all tests that a run knows, and of what it could not collect."""
    run_id = view["run_id"]
    yield from (result.nodeid for result in results(archive, run_id))
    yield from (result.nodeid for result in not_collected(archive, run_id))
    yield from collected(archive, run_id)
    yield from (str(slot["nodeid"]) for slot in view["in_flight"] if slot["nodeid"] and not is_cut(slot))
