"""Pages: a run as the pages of its report tree, a step at a time, in the same memory whatever the run's size.

A page is made of the rows of its group, sorted by node id: those that were stored while the group was at work, as long as
they are few enough to be kept, else those of the store. What is known of a run's pages lies in temporary tables of the
reading connection: each group's row, each cause, what never ran.

Blocking, and used in one thread at a time. Not here: when it is done (`reports.py`), which rows are kept (`keptrows.py`),
how a group's tests are told (`grouptests.py`) and its page grows (`grouppage.py`), how a page looks and what it is named
(`threepio_client.report`).
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from sys import maxsize
from typing import Any, Final, NamedTuple

from threepio_client.errors import ThreepioError
from threepio_client.events import EventType, Phase, Status, nodeids_in
from threepio_client.report.markdown import Group, group_page, group_row, run_page
from threepio_client.report.model import IN_FLIGHT
from threepio_client.report.tree import RUN_PAGE, Folder, back_from, page_of
from threepio_client.runstate import LIVE_STATES
from threepiod.batch import GROUP_EVENTS, HOLE, Failure, group_of
from threepiod.grouppage import GroupPage, Row
from threepiod.grouptests import GroupTests, Slot
from threepiod.keptrows import KeptRows, Room
from threepiod.pagecauses import TABLES, Causes
from threepiod.taken import Taken

STEP_S: Final = 0.100
"""How long a step takes, as long as a page takes no longer."""
ROWS: Final = 500
"""Rows of a table that are read or written together."""
PAGE_S: Final = 5.0
"""Of a group that goes on: how long it does before its page is written, and before that is written again."""
PAGES: Final = 32
"""Groups that are looked up together, to have their pages written."""
TOGETHER: Final = 512 * 1024
"""Bytes of their text, after which no more of them are told before these are written."""
_TABLES: Final = """
    CREATE TEMP TABLE IF NOT EXISTS pages (
        run INTEGER, name TEXT, due INTEGER NOT NULL, results INTEGER NOT NULL DEFAULT 0, ran INTEGER NOT NULL DEFAULT 0,
        counts TEXT NOT NULL DEFAULT '{}', spent INTEGER NOT NULL DEFAULT 0, bad INTEGER NOT NULL DEFAULT 0, row TEXT,
        written REAL NOT NULL, kept INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (run, name)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS temp.due_pages ON pages (run) WHERE due;
    CREATE TEMP TABLE IF NOT EXISTS never_ran (
        run INTEGER, name TEXT, nodeid TEXT, PRIMARY KEY (run, name, nodeid)) WITHOUT ROWID;
    CREATE TEMP TABLE IF NOT EXISTS broken (run INTEGER, name TEXT, seq INTEGER, PRIMARY KEY (run, seq)) WITHOUT ROWID;
"""
_TABLE_NAMES: Final = ("pages", "causes", "never_ran", "broken")

_DUE: Final = "SELECT name, kept, counts FROM pages INDEXED BY due_pages WHERE run = ? AND due LIMIT ?"
_OLDEST: Final = (
    "SELECT written, name, kept, counts FROM pages WHERE run = ? AND NOT due AND written >= 0 ORDER BY written LIMIT 1"
)
_COLLECT: Final = str(Phase.COLLECT)
_STATUSES: Final = tuple(map(str, Status))
"""Those that are known: a result with another one is no outcome, unless it says what it counts as."""
_GROUPS: Final = (
    f"SELECT seq, type, payload FROM events WHERE run = ? AND seq > ? AND seq <= ? AND type IN {GROUP_EVENTS} "
    "ORDER BY seq LIMIT ?"
)


class Rows(NamedTuple):
    """What was stored of a run, as `Batch` has it: of one batch, or of several that follow one another."""

    passed: list[Row]
    results: list[Row]
    groups: list[tuple[int, str, str]]
    failures: list[Failure]


class _Told(NamedTuple):
    """A page whose tests are told and that is not written yet: its group's sums, its path, and its row as it was."""

    page: GroupPage
    group: Group
    path: str
    kept: int
    before: str


def prepare(store: sqlite3.Connection) -> None:
    """Make the temporary tables of a connection, which `Pages` share."""
    store.isolation_level = None
    caches = "PRAGMA cache_size = -500; PRAGMA temp.cache_size = -500"  # KiB: what is read is rarely read again
    store.executescript(f"PRAGMA temp.journal_mode = OFF; {caches}; {_TABLES} {TABLES}")


class Pages:
    """The pages of one run.

    Attributes:
        is_complete: whether all of them are written, after the run was over.
        seq: the last line that was looked at.
        is_waiting: whether the page of a group that goes on was not written by `refresh` because it was too early.
    """

    def __init__(
        self,
        store: sqlite3.Connection,
        key: int,
        run_id: str,
        folder: Folder,
        spool_dir: Path,
        note: str = "",
        room: Room | None = None,
    ) -> None:
        """Begin with no page.

        Args:
            store: a prepared connection.
            key: the run's number in the store.
            run_id: the run.
            folder: where the pages go.
            spool_dir: where a part of a large page may wait.
            note: why they are not where they are wanted; empty if they are.
            room: for the rows that all runs keep; None for one of its own.
        """
        self._note = note
        self._store = store
        self._key = key
        self._run_id = run_id
        self._folder = folder
        self._spool_dir = spool_dir
        self._kept = KeptRows(room or Room())
        self._groups: Taken[Row] = Taken(itemgetter(0))
        self._begin()
        self._may_have_others = not folder.was_empty

    def _begin(self) -> None:
        self._forget()
        self._may_have_others = True  # pages that are not to be there
        self._forget_rows(maxsize)  # of none is known that all of its rows are taken
        self.is_complete = self.is_waiting = False
        self.seq = 0
        self._counts: Counter[str] = Counter()
        self._causes = Causes(self._store, self._key)
        self._results = 0
        self._tests = GroupTests(self._store, self._key)
        self._in_flight: list[dict[str, Any]] | None = None
        self._stages: list[Callable[[dict[str, Any]], object]] = [
            self._leave_out_taken_back,
            self._mark_open,
            self._mark_skipped,
            self._mark_behind,
            self._take_ends,
        ]

    def take(self, rows: Rows) -> None:
        """Take the rows of what was stored, the next after those that were taken before."""
        passed, results, groups, failures = rows
        self._causes.take(failures)
        self._groups.add(groups)
        for row in results:
            if row[3] == _COLLECT:  # a file that was skipped is no group of tests
                self._mark(row[0].partition("::")[0], is_due=True, is_kept=not self._groups.since)
        self._store.executemany(
            "INSERT INTO pages (run, name, due, written, kept) VALUES (?, ?, 0, ?, -1) ON CONFLICT DO UPDATE SET kept = -1",
            [(self._key, name, time.monotonic()) for name in self._kept.take(passed, results)],
        )

    def keep_from(self, seq: int) -> None:
        """Know that the rows that are taken from now on are those after this line; what lies before is in the store."""
        self._forget_rows(seq)
        self._causes.keep_from(seq)
        self._store.execute("UPDATE pages SET kept = 0 WHERE run = ?", (self._key,))

    def _forget_rows(self, since: int) -> None:
        self._groups.keep_from(since)
        self._kept.drop_all()

    def close(self) -> None:
        """Write no more; the files stay."""
        self._folder.close()
        self._kept.drop_all()
        self._forget()

    def _forget(self) -> None:
        for table in _TABLE_NAMES:
            self._store.execute(f"DELETE FROM temp.{table} WHERE run = ?", (self._key,))

    # While the run goes on

    def advance(self, seq: int) -> bool:
        """Take in what is new, and write pages of groups that are over; return whether there is more to do at once.

        Args:
            seq: the last line of which the rows were taken, or of a run that is over.

        Raises:
            OSError: a page cannot be written.
        """
        with self._together():
            return self._advance(seq)

    def _advance(self, seq: int) -> bool:
        until = time.monotonic() + STEP_S
        if self.is_complete and seq > self.seq:
            self._begin()  # it was not over
        self._look(seq)
        while self._causes.fold(self.seq, has_broken=self._tests.has_broken):
            if time.monotonic() > until:
                return True
        while due := self._store.execute(_DUE, (self._key, PAGES)).fetchall():
            self._write_pages(due, until, is_over=True)
            if time.monotonic() > until:
                return True
        return self.seq < seq

    @contextmanager
    def _together(self) -> Iterator[None]:
        """Make one transaction of a step: each by itself would write its pages of the temporary tables to the file."""
        self._store.execute("BEGIN")
        try:
            yield
        finally:
            self._store.execute("COMMIT")  # also after an error: what was told stands in the files

    def refresh(self, view: dict[str, Any], output: Path | None) -> None:
        """Write the page of the run, and of a group that goes on: the one that was not for longest, if it is not too early.

        Raises:
            OSError: a page cannot be written.
        """
        with self._together():
            found = self._one(_OLDEST, self._key)
            self.is_waiting = found is not None and time.monotonic() - found[0] < PAGE_S
            if found and not self.is_waiting:
                self._write_pages([found[1:]], 0.0, is_over=False)
            self._write_run(view, output)

    # When the run is over

    def finish(self, view: dict[str, Any], seq: int, output: Path | None) -> bool:
        """Do a step of what is to be done when the run is over; return whether there is more.

        Called again after it was complete, it writes what may have changed by an observation that came later.

        Raises:
            OSError: a page cannot be written.
            ThreepioError: the pages do not have what the store has.
        """
        with self._together():
            return self._finish(view, seq, output)

    def _finish(self, view: dict[str, Any], seq: int, output: Path | None) -> bool:
        if self._in_flight is not None and self._in_flight != view["in_flight"]:
            self._begin()
        if self._advance(seq):
            return True
        if not self.is_complete and self._stages:
            self._stages.pop(0)(view)
            return True
        if self._lacks_results():
            raise ThreepioError(f"run {self._run_id}: its report has not all results of the store")
        if self._may_have_others:
            self._folder.remove_others(self._is_page())
        self._write_run(view, output)
        self.is_complete = True
        return False

    def _leave_out_taken_back(self, view: dict[str, Any]) -> None:
        if view["counts"]["rerun"]:
            self._causes.leave_out_taken_back()

    def _write_run(self, view: dict[str, Any], output: Path | None) -> None:
        (spent,) = self._one("SELECT ifnull(sum(spent), 0) FROM pages WHERE run = ?", self._key)
        counts = self._counts
        if view["state"] in LIVE_STATES:  # no page has them yet
            counts = counts + Counter({IN_FLIGHT: sum("::" in slot["nodeid"] for slot in view["in_flight"])})
        totals = Group("", counts, spent)
        parts = run_page(view, totals, self._causes.told(), self._rows(), link=page_of, output=output, note=self._note)
        self._folder.write(RUN_PAGE, parts)

    def _look(self, until: int) -> None:
        """Take in which groups began, are over, or could not be collected, up to a line or until they are many."""
        if until <= self.seq:
            return
        marks: dict[str, tuple[bool, bool]] = {}
        if self.seq < self._groups.since:
            until = min(until, self._groups.since)
            stored = self._store.execute(_GROUPS, (self._key, self.seq, until, ROWS))
            rows = [(seq, kind, group_of(kind, json.loads(text))) for seq, kind, text in stored]
        else:
            rows = self._groups.next(self.seq, until, ROWS)
        for seq, kind, name in rows:
            if kind == EventType.COLLECTION_ERROR:
                self._store.execute("INSERT OR IGNORE INTO broken VALUES (?, ?, ?)", (self._key, name, seq))
                self._tests.has_broken = True
            is_due, is_kept = marks.get(name, (False, seq > self._groups.since))
            marks[name] = (is_due or kind != EventType.GROUP_START, is_kept)
        self._mark_all((name, *how) for name, how in marks.items())
        self.seq = rows[-1][0] if len(rows) == ROWS else until

    def _mark(self, name: str, *, is_due: bool, is_kept: bool = False) -> None:
        """Know of a group; its rows are all kept only if it was not known when they began to be taken."""
        self._mark_all([(name, is_due, is_kept)])

    def _mark_all(self, groups: Iterable[tuple[str, bool, bool]]) -> None:
        now = time.monotonic()
        self._store.executemany(
            "INSERT INTO pages (run, name, due, written, kept) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET due = max(due, excluded.due)",
            [(self._key, name, is_due, now, is_kept) for name, is_due, is_kept in groups],
        )

    def _rows(self) -> Iterator[str]:
        for bad in (1, 0):
            last = ""
            while True:
                query = (
                    "SELECT max(name), group_concat(row, '') FROM (SELECT name, row FROM pages WHERE run = ? AND bad = ? "
                    "AND row IS NOT NULL AND name >= ? ORDER BY name LIMIT ?)"
                )
                name, text = self._one(query, self._key, bad, last, ROWS)
                if name is None:
                    break
                yield text
                last = name + "\0"

    def _is_page(self) -> Callable[[str], bool]:
        names = self._store.execute("SELECT name FROM pages WHERE run = ? AND row IS NOT NULL", (self._key,))
        return {page_of(name) for (name,) in names}.__contains__

    # What no event of a group tells

    def _mark_open(self, _view: dict[str, Any]) -> None:
        """Mark groups that have no result: they were written while they went on, if they were."""
        self._results = self._count_results()
        self._store.execute("UPDATE pages SET due = 1 WHERE run = ? AND written >= 0", (self._key,))

    def _count_results(self) -> int:
        """Return how many results the store has."""
        told = self._count_told()
        events, holes = self._one(f"SELECT count(*), total(type = '{HOLE}') FROM events WHERE run = ?", self._key)
        if (
            not holes and told == self.seq - events
        ):  # every line is the one or the other, and events are quickly counted
            return told
        return int(self._one("SELECT count(*) FROM results WHERE run = ?", self._key)[0])

    def _count_told(self) -> int:
        return int(self._one("SELECT total(results) FROM pages WHERE run = ?", self._key)[0])

    def _lacks_results(self) -> bool:
        """Return whether the store has results that no page has: each has one place, so their numbers tell."""
        return self._results != self._count_told()

    def _mark_skipped(self, _view: dict[str, Any]) -> None:
        """Mark files that were skipped as a whole: they are no groups of tests."""
        if self._lacks_results():
            query = (
                "SELECT t.nodeid FROM results r JOIN tests t ON t.id = r.test WHERE r.run = ? AND r.phase = 'collect'"
            )
            for (nodeid,) in self._store.execute(query, (self._key,)).fetchall():
                self._mark(nodeid.partition("::")[0], is_due=True)

    def _mark_behind(self, _view: dict[str, Any]) -> None:
        """Mark groups whose pages do not have all results, whatever their events said."""
        if self._lacks_results():
            query = (
                "SELECT f.name FROM (SELECT CAST(CASE at WHEN 0 THEN blob ELSE substr(blob, 1, at - 1) END AS TEXT) "
                "AS name, count(*) AS n FROM (SELECT CAST(t.nodeid AS BLOB) AS blob, "
                "instr(CAST(t.nodeid AS BLOB), CAST('::' AS BLOB)) AS at "
                "FROM results r JOIN tests t ON t.id = r.test WHERE r.run = :run) GROUP BY 1) f "
                "LEFT JOIN pages p ON p.run = :run AND p.name = f.name WHERE f.n IS NOT p.results"
            )
            for (name,) in self._store.execute(query, {"run": self._key}).fetchall():
                self._mark(name, is_due=True)

    # What has no outcome

    def _take_ends(self, view: dict[str, Any]) -> None:
        """Take in what is in flight for ever, and what never ran."""
        self._in_flight = view["in_flight"]
        (ran,) = self._one("SELECT total(ran) FROM pages WHERE run = ?", self._key)
        slots = [slot for slot in view["in_flight"] if slot["nodeid"]]
        if slots or ran != (view["collected"] or 0):
            self._find_never_ran()
        for slot in slots:
            nodeid = self._whole_name(slot["nodeid"])
            if nodeid is not None:
                name = nodeid.partition("::")[0]
                query = "SELECT 1 FROM tests t JOIN results r ON r.run = ? AND r.test = t.id WHERE t.nodeid = ?"
                has_results = self._one(query, self._key, nodeid) is not None
                self._tests.slots.append(Slot(name, nodeid, has_results, {**slot, "nodeid": nodeid}))
                query = "DELETE FROM never_ran WHERE run = ? AND name = ? AND nodeid = ?"
                self._store.execute(query, (self._key, name, nodeid))
                self._mark(name, is_due=True)
        query = "SELECT DISTINCT name FROM never_ran WHERE run = ?"
        for (name,) in self._store.execute(query, (self._key,)).fetchall():
            self._mark(name, is_due=True)

    def _find_never_ran(self) -> None:
        self._tests.has_never_ran = True
        query = "SELECT payload FROM events WHERE run = ? AND type = ? ORDER BY seq"
        for (text,) in self._store.execute(query, (self._key, EventType.TESTS_COLLECTED)):
            nodeids = nodeids_in(json.loads(text))
            self._store.executemany(
                "INSERT OR IGNORE INTO never_ran VALUES (?, ?, ?)",
                [(self._key, nodeid.partition("::")[0], nodeid) for nodeid in nodeids],
            )
        self._store.execute(
            "DELETE FROM never_ran WHERE run = :run AND EXISTS "
            "(SELECT 1 FROM tests t JOIN results r ON r.run = :run AND r.test = t.id WHERE t.nodeid = never_ran.nodeid "
            f"AND (r.status IN {_STATUSES} OR r.details LIKE '%\"countedAs\"%'))",
            {"run": self._key},
        )

    def _whole_name(self, nodeid: str) -> str | None:
        """Return the node id that a name in a now page stands for, which cuts long ones; None where several are meant."""
        if "::" not in nodeid:
            return nodeid
        # The highest character is in no name that is text.
        rows = self._store.execute(
            "SELECT nodeid FROM never_ran WHERE run = :run AND name = :name AND nodeid >= :first AND nodeid < :end UNION "
            "SELECT t.nodeid FROM tests t JOIN results r ON r.run = :run AND r.test = t.id "
            "WHERE t.nodeid >= :first AND t.nodeid < :end ORDER BY 1 LIMIT 2",
            {
                "run": self._key,
                "name": nodeid.partition("::")[0],
                "first": nodeid,
                "end": nodeid + "\U0010ffff",
            },
        ).fetchall()
        found = [name for (name,) in rows]
        if nodeid in found or not found:
            return nodeid
        return found[0] if len(found) == 1 else None

    # Pages

    def _write_pages(self, due: list[tuple[str, int, str]], until: float, *, is_over: bool) -> None:
        """Write the pages of groups: of the first one, and of more as long as they are small and there is time.

        What is done for one page is done for all of them before the next thing is: it takes a tenth less time than page by
        page, because the code of each is in the caches then.

        Args:
            due: of each group its name, the column `kept` of its row (above 0 where all its rows are kept) and the column
                `counts`, of its page as it was.
            until: no more groups are told after this time, by the monotonic clock.
            is_over: whether nothing more is expected of the groups.
        """
        told: list[_Told] = []
        size = 0
        with ExitStack() as stack:
            for name, kept, before in due:
                page = GroupPage(name, stack, self._spool_dir)
                self._tests.tell(page, self._kept.of(name) if kept > 0 else None)
                told.append(_Told(page, Group(name, page.counts, page.spent), page_of(name), kept, before))
                size += page.size
                if size > TOGETHER or time.monotonic() > until:
                    break
            for page, group, path, _, _ in told:
                if page.counts:
                    self._folder.write(path, group_page(self._run_id, group, page.sections(), back_from(path)))
        written = -1.0 if is_over else time.monotonic()
        self._store.executemany(
            "UPDATE pages SET due = 0, results = ?, ran = ?, counts = ?, spent = ?, bad = ?, row = ?, written = ?, kept = ? "
            "WHERE run = ? AND name = ?",
            [
                (
                    page.results,
                    page.ran,
                    json.dumps(page.counts),
                    page.spent,
                    group.is_bad,
                    group_row(group, path) if page.counts else None,
                    written,
                    -1 if is_over else kept,
                    self._key,
                    page.name,
                )
                for page, group, path, kept, _ in told
            ],
        )
        for page, _, _, _, before in told:
            if before != "{}":
                self._counts.subtract(json.loads(before))
            self._counts.update(page.counts)
            if is_over:
                self._kept.drop(page.name)

    def _one(self, query: str, *values: Any) -> Any:
        return self._store.execute(query, values).fetchone()
