"""Where the time of a run went: its slowest tests, and the time of its files."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

from threepio_client.archive import Archive
from threepio_client.badresults import IS_BAD, OF_SUBTEST
from threepio_client.events import Phase
from threepio_client.results import outcomes, results


class TestTime(NamedTuple):
    """How long a test took: `seq` is that of the event that decided."""

    nodeid: str
    status: str
    duration_ms: float
    seq: int


class Times(NamedTuple):
    """Where the time of a run went.

    Attributes:
        tests: the slowest ones, the slowest first; of equals the earlier one.
        files: of every file the milliseconds and the tests.
    """

    tests: list[TestTime]
    files: dict[str, tuple[float, int]]


def times_of(archive: Archive, run_id: str, number: int) -> Times:
    """Return where the time of a run went, with up to `number` tests.

    Of a run that is over the store sums up the tests that have one result; all others are read.
    """
    several, tests, files = _times_of_singles(archive, run_id, number)
    # A file that is skipped as a whole is no test.
    found = outcomes(result for result in results(archive, run_id, tests=several) if result.phase != Phase.COLLECT)
    for nodeid, outcome in found.items():
        name = nodeid.partition("::")[0]
        spent, count = files.get(name, (0.0, 0))
        files[name] = (spent + outcome.duration_ms, count + 1)
    tests += [TestTime(nodeid, one.status, one.duration_ms, one.seq) for nodeid, one in found.items()]
    return Times(sorted(tests, key=lambda test: (-test.duration_ms, test.seq))[:number], files)


_DURATION: Final = "CASE WHEN typeof(duration) IN ('real', 'integer') THEN duration ELSE 0.0 END"
"""A foreign writer may have put anything there."""


def _times_of_singles(
    archive: Archive, run_id: str, number: int
) -> tuple[list[int] | None, list[TestTime], dict[str, tuple[float, int]]]:
    """Return what is left to be read (None: everything), the slowest tests that have one result, and times of files."""
    stored = archive.stored(run_id)
    with archive.reading() as store:
        if store is None or stored is None or not stored.final:
            return None, [], {}
        query = "SELECT test FROM results WHERE run = ? GROUP BY test HAVING count(*) > 1"
        several = [test for (test,) in store.execute(query, (stored.key,))]
        values: list[Any] = [stored.key]
        single = (
            f"run = ? AND phase IS NOT 'collect' AND ({IS_BAD} "
            f"OR status <> 'RERUN' AND NOT {OF_SUBTEST})"  # else it was begun, and not finished
        )
        if several:
            single += " AND test NOT IN (SELECT value FROM json_each(?))"
            values.append(json.dumps(several))
        tests = store.execute(
            f"SELECT t.nodeid, s.status, s.duration, s.seq FROM (SELECT test, seq, status, {_DURATION} AS duration "
            f"FROM results WHERE {single} ORDER BY duration DESC, seq LIMIT ?) s JOIN tests t ON t.id = s.test",
            [*values, number],
        )
        slowest = [TestTime(*row) for row in tests]
        files = store.execute(
            "SELECT CASE instr(t.nodeid, '::') WHEN 0 THEN t.nodeid "
            "ELSE substr(t.nodeid, 1, instr(t.nodeid, '::') - 1) END, "
            f"sum({_DURATION}), count(*) FROM (SELECT * FROM results WHERE {single}) r "
            "JOIN tests t ON t.id = r.test GROUP BY 1",
            values,
        )
        return several, slowest, {name: (spent, count) for name, spent, count in files}
