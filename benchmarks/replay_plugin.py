"""A pytest plugin that plays a recorded report log through pytest's real hooks instead of collecting and running.

    python -m pytest -p benchmarks.replay_plugin --replay FILE [--replay-limit N]

The items are real ones below a real chain of nodes (session, directories, file, classes), made from the recorded node
ids; the reports are rebuilt by pytest's own deserializer. So every other plugin sees what it saw when the recording was
made, except for the hooks of the phases themselves (`pytest_runtest_setup`, `_call`, `_teardown`, `_makereport`) and of
fixtures: no test code runs. Reports are read from the file as they are needed and not kept here (pytest's terminal
reporter keeps them).
"""

from __future__ import annotations

import gc
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.reportlog import read_log

_PLAYER: Final = pytest.StashKey["Player"]()


class RecordedDirectory(pytest.Directory):
    """A directory of the recorded suite; it need not exist."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Nothing: the recording says what there is."""
        return ()


class RecordedFile(pytest.File):
    """A test file of the recorded suite; it need not exist."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Nothing: the recording says what there is."""
        return ()


class RecordedClass(pytest.Class):
    """A test class of the recorded suite."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Nothing: the recording says what there is."""
        return ()


class RecordedItem(pytest.Item):
    """A test of the recorded suite, at its recorded location."""

    def runtest(self) -> None:
        """Never called: the recorded reports stand for it."""
        raise NotImplementedError

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The recorded location."""
        return self.path, self.location[1], self.location[2]


class NodeTree:
    """The nodes of the recorded suite by node id, below the session."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._collectors: dict[str, pytest.Collector] = {"": session}
        self._collected: dict[str, list[pytest.Item | pytest.Collector]] = {}

    def collector(self, nodeid: str) -> pytest.Collector:
        """The directory, file or class with this node id, made with its parents if it was not there yet."""
        known = self._collectors.get(nodeid)
        if known is not None:
            return known
        path, _, names = nodeid.partition("::")
        made: pytest.Collector
        if names:
            above, _, name = nodeid.rpartition("::")
            parent = self.collector(above)
            made = RecordedClass.from_parent(parent, name=name, obj=None)
            made.obj = type(name, (), {})
        else:
            parent = self.collector(path.rpartition("/")[0])
            kind = RecordedFile if path.endswith(".py") else RecordedDirectory
            made = kind.from_parent(parent, path=self._session.config.rootpath / path)
        self._collectors[nodeid] = made
        self._collected.setdefault(parent.nodeid, []).append(made)
        return made

    def item(self, nodeid: str, location: tuple[str, int | None, str]) -> RecordedItem:
        """A new item; what stands in brackets is one parameter set and is never split."""
        names, bracket, parameters = nodeid.partition("[") if "::" in nodeid else (nodeid, "", "")
        above, _, name = names.rpartition("::")
        parent = self.collector(above)
        item: RecordedItem = RecordedItem.from_parent(parent, name=name + bracket + parameters, nodeid=nodeid)
        item.location = location
        self._collected.setdefault(parent.nodeid, []).append(item)
        return item

    def take_collected(self, nodeid: str) -> list[pytest.Item | pytest.Collector]:
        """What was found below a collector; forgotten here afterwards."""
        return self._collected.pop(nodeid, [])


class Player:
    """Plays one recording: the collection from a first reading, the reports from a second one."""

    def __init__(self, recording: Path, limit: int | None) -> None:
        self._recording = recording
        self._limit = limit
        self._reports: Iterator[dict[str, Any]] = iter(())

    def collect(self, session: pytest.Session) -> None:
        """Fill `session.items` and tell the collection's hooks what the recorded collection told them."""
        tree = NodeTree(session)
        hook = session.config.hook
        collect_reports: list[dict[str, Any]] = []
        places: dict[str, str] = {}
        session.items = []
        for entry in read_log(self._recording):
            if entry["$report_type"] == "CollectReport":
                collect_reports.append(entry)
            elif entry["$report_type"] == "TestReport" and entry["when"] == "setup":
                if self._limit is not None and len(session.items) >= self._limit:
                    break
                path, lineno, name = entry["location"]
                session.items.append(tree.item(entry["nodeid"], (places.setdefault(path, path), lineno, name)))
        for entry in collect_reports:
            hook.pytest_collectstart(collector=tree.collector(entry["nodeid"]))
            report = _report(session.config, entry)
            report.result = tree.take_collected(entry["nodeid"])
            for node in report.result:
                if isinstance(node, pytest.Item):
                    hook.pytest_itemcollected(item=node)
            hook.pytest_collectreport(report=report)
        recorded = list(session.items)
        hook.pytest_collection_modifyitems(session=session, config=session.config, items=session.items)
        session.items = recorded  # whatever order a plugin likes better
        hook.pytest_collection_finish(session=session)
        session.testscollected = len(session.items)
        self._reports = (e for e in read_log(self._recording) if e["$report_type"] == "TestReport")

    def run(self, item: pytest.Item) -> None:
        """Play the reports of one test."""
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        keywords: dict[str, int] | None = None
        phase = None
        while phase != "teardown":
            entry = self._take(item.nodeid)
            phase = entry["when"]
            # As in a real run, the reports of a test share these: 311 instead of 444 MB of memory after 40,000 tests.
            entry["nodeid"], entry["location"] = item.nodeid, item.location
            if keywords == entry["keywords"]:
                entry["keywords"] = keywords
            keywords = entry["keywords"]
            hook.pytest_runtest_logreport(report=_report(item.config, entry))
        hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)

    def _take(self, nodeid: str) -> dict[str, Any]:
        entry = next(self._reports, None)
        if entry is None or entry["nodeid"] != nodeid:
            found = "its end" if entry is None else entry["nodeid"]
            raise pytest.UsageError(
                f"--replay: a report of {nodeid} should come next in the recording, but {found} does;"
                " only a whole run in one process, in its recorded order, can be replayed"
            )
        return entry


def _report(config: pytest.Config, entry: dict[str, Any]) -> Any:
    """The report that was recorded as `entry`; JSON has made a list of a skip's location, in pytest it is a tuple."""
    if entry["outcome"] == "skipped" and isinstance(entry["longrepr"], list):
        entry["longrepr"] = tuple(entry["longrepr"])
    return config.hook.pytest_report_from_serializable(config=config, data=entry)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the replay."""
    group = parser.getgroup("replay", "replaying a recorded report log")
    group.addoption("--replay", metavar="FILE", type=Path, help="file of pytest-reportlog to play, also .xz or .gz")
    group.addoption("--replay-limit", metavar="N", type=int, help="play only the first N tests")


def pytest_configure(config: pytest.Config) -> None:
    """Check the recording before anything is started."""
    recording = config.getoption("replay")
    if recording is None:
        raise pytest.UsageError("benchmarks.replay_plugin needs --replay FILE")
    if not recording.is_file():
        raise pytest.UsageError(f"--replay: there is no file {recording}")
    config.stash[_PLAYER] = Player(recording, config.getoption("replay_limit"))


def pytest_collection(session: pytest.Session) -> bool:
    """In place of pytest's collection."""
    session.config.stash[_PLAYER].collect(session)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """Keep the garbage collector away from items and reports: there are a million, and all of them stay to the end."""
    gc.freeze()
    try:
        return (yield)
    finally:
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool:
    """In place of pytest's own and of plugins that run tests themselves; what wraps it sees the item as in any run."""
    item.config.stash[_PLAYER].run(item)
    return True
