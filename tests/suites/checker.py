"""One suite run three times - without the plugin, with it and a daemon, with it and no daemon - and all that must hold.

`Checker.check` is the one checker of every suite in these tests: same exit code, same output but for the plugin's own lines,
counts that equal pytest's last line, outcomes that equal what reportlog wrote test by test, a journal that is whole, a
store that equals it, what never ran, reports in every format, the report tree, and the word for it all. The run without a
daemon writes to the same state directory, so the daemon takes it from there.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from tests import reports, trees
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.suites import interpreter, truth, unforeseen
from tests.suites.output import comparable, last_line_counts, summary
from tests.suites.variant import Kind, NotHere, Process, Variant
from threepio_client.archive import Archive
from threepio_client.errors import NoSuchRun
from threepio_client.line import Event
from threepio_client.query import QueryClient
from threepio_client.runjournal import RunJournal
from threepio_client.runstate import LIVE_STATES
from threepio_client.selection import select
from threepio_client.verification import settle_and_verify
from threepio_client.views import is_good

DATA: Final = Path(__file__).parent / "data"
SUITE: Final = "test_it.py"
NONE, WITH, SOLO = "none", "with", "solo"
"""The processes of a variant; as parts of a path all of one length, so that pytest wraps its lines alike."""
_SAME: Final = ("state", "verdict", "counts", "collected", "finished", "never_ran", "in_flight")
"""What the daemon answers, and store and journal without it."""
_USUAL: Final[dict[int, tuple[str, str]]] = {0: ("passed", "passed"), 1: ("failed", "tests-failed")}


@dataclass(kw_only=True)
class Compared:
    """What a run with the plugin left behind.

    Attributes:
        name: WITH or SOLO.
        run_id: its id.
        place: where it was recorded.
        exit_code: of every process of the variant.
        output: what it printed, the plugin's own lines left out.
        said: the plugin's own lines, without the beginning that is the same in all.
        directory: where the suite lies.
        status: the daemon's answer about the run; empty if there was no run.
        events: the journal, decoded.
        figures: what a check measured.
    """

    name: str
    run_id: str
    place: Place
    exit_code: int
    output: str
    said: list[str]
    directory: Path
    status: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    figures: str = ""

    @property
    def counts(self) -> dict[str, int]:
        """The counts that are not zero."""
        return {name: number for name, number in self.status["counts"].items() if number}

    def of_type(self, *names: str) -> list[dict[str, Any]]:
        """Return the payloads of the events of these types."""
        return [event["payload"] for event in self.events if event["type"] in names]

    def outcomes(self) -> dict[str, list[str]]:
        """Return the statuses of each node id, in their order."""
        found: dict[str, list[str]] = {}
        for payload in self.of_type("testCase"):
            found.setdefault(payload["nodeid"], []).append(payload["status"])
        return found

    def collected(self) -> list[str]:
        """Return the node ids that were collected."""
        return [nodeid for payload in self.of_type("testsCollected") for nodeid in payload["nodeids"]]

    def over(self) -> set[str]:
        """Return the node ids that have an outcome, or were not collected."""
        found = {str(payload["nodeid"]) for payload in self.of_type("collectionError")}
        for payload in self.of_type("testCase"):
            if payload["status"] == "RERUN":
                found.discard(payload["nodeid"])
            elif payload["phase"] != "teardown" and "subtest" not in payload:
                found.add(payload["nodeid"])
        return found

    def case(self, name: str) -> dict[str, Any]:
        """Return the payload of the only testCase whose own name this is."""
        (found,) = (payload for payload in self.of_type("testCase") if payload["testName"] == name)
        return found

    def in_flight(self) -> list[tuple[str, str]]:
        """Return (node id, phase) of each slot."""
        return [(slot["nodeid"], slot["phase"]) for slot in self.status["in_flight"]]


_NUMBERS: Final = itertools.count(1)
"""Of the checks: checkers of several Pythons share a place, so each check has directories and run ids of its own."""


@contextmanager
def checker_of(variant: Variant, shared: Checker) -> Iterator[Checker]:
    """Return the shared checker, or one with a place and a daemon of the variant's own."""
    if not (variant.own_daemon or variant.ground is not None):
        yield shared
        return
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    place = Place(path)
    try:
        with ExitStack() as stack:
            if variant.ground is not None:
                stack.enter_context(variant.ground(place))
            stack.callback(place.stop_daemon)
            place.start_daemon()
            yield Checker(place, shared.python.path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


class Checker:
    """Runs suites against one daemon.

    Attributes:
        place: with a daemon that runs.
        python: what runs pytest.
    """

    def __init__(self, place: Place, python: str = sys.executable) -> None:
        self.place = place
        self.python = interpreter.ask(python)

    def run(self, files: str | Mapping[str, str], *arguments: str, **particular: Any) -> Compared:
        """Check a suite given as text (a lone text is SUITE) and return the run with a daemon; see `Variant`."""
        given = {SUITE: files} if isinstance(files, str) else files
        plugins = particular.pop("plugins", ("xdist", "rerunfailures"))
        variant = Variant(files=given, arguments=arguments, plugins=plugins, runs_alone=False, **particular)
        return self.check(variant)[WITH]

    def check(self, variant: Variant) -> dict[str, Compared]:
        """Run the variant's processes side by side, check what must hold, and return the runs with the plugin.

        Raises:
            AssertionError: something does not hold.
            NotHere: this Python or this machine lacks what the variant needs.
        """
        self._check_needs(variant)
        number = next(_NUMBERS)
        names = [NONE, WITH, SOLO] if variant.runs_alone else [NONE, WITH]
        base = self.place.path / str(number)
        codes: dict[str, int] = {}
        with ExitStack() as stack:
            processes = [stack.enter_context(self._prepared(variant, name, base, number)) for name in names]
            started = [stack.enter_context(self._started(variant, process)) for process in processes]
            for name, popen in zip(names, started, strict=True):
                try:
                    codes[name] = popen.wait(COMMAND_TIMEOUT_S * (5 if variant.long else 1))
                except subprocess.TimeoutExpired:
                    raise AssertionError(f"{name}: did not end in time: {_printed(base / name)}") from None
        outputs = {name: _printed(base / name) for name in names}
        if variant.own_daemon:
            self.place.restart_daemon()
        expected, _ = comparable(outputs[NONE], base / NONE)
        if variant.exit_code is not None:
            assert codes[NONE] == variant.exit_code, f"pytest alone ended with {codes[NONE]}: {outputs[NONE]}"
        results = {}
        for name in names[1:]:
            truth_of = name if variant.own_output else NONE
            code = codes[truth_of if variant.unforeseen else NONE]
            assert codes[name] == code, f"{name}: exit code {codes[name]}, not {code}: {outputs[name]}"
            lines, said = comparable(outputs[name], base / name)
            result = Compared(
                name=name,
                run_id=f"run{number}-{name}",
                place=self.place,
                exit_code=code,
                output="\n".join(lines),
                said=[line.removeprefix("threepio: ") for line in said],
                directory=base / name / "suite",
            )
            self._check_output(variant, result, expected, lines)
            log, seen = base / truth_of / "report.jsonl", variant
            if variant.unforeseen:
                seen = unforeseen.seen(variant, outputs[truth_of], log, self.place.state_dir.journal(result.run_id))
            self._check_run(seen, result, outputs[truth_of], log)
            results[name] = result
        return results

    def answer(self, run_id: str) -> dict[str, Any]:
        """Return the daemon's status of a run."""
        with QueryClient.connect(self.place.settings.socket) as client:
            found: dict[str, Any] = client.ask("status", {"run": run_id})
        return found

    def _check_needs(self, variant: Variant) -> None:
        if self.python.major < variant.min_pytest:
            raise NotHere(f"needs pytest {variant.min_pytest}")
        builtin = {"cacheprovider", *(("subtests",) if self.python.major >= 9 else ())}
        lacking = set(variant.plugins) - self.python.plugins - builtin | set(variant.modules) - self.python.modules
        if lacking:
            raise NotHere(f"not installed: {', '.join(sorted(lacking))}")

    @contextmanager
    def _prepared(self, variant: Variant, name: str, base: Path, number: int) -> Iterator[Process]:
        """Lay the suite and the surroundings of one process."""
        directory = base / name / "suite"
        if variant.suite:
            shutil.copytree(DATA / variant.suite, directory, symlinks=True)
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in variant.files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_text(text)
        environ = {**self.place.environ, "COLUMNS": "200", "PYTHONDONTWRITEBYTECODE": "1", **variant.environ}
        environ["PYTEST_ADDOPTS"] = ""  # each variant says which plugins it has
        environ["SUITE_BLOCKED"] = " ".join(self.python.blocked(variant.plugins))
        if name != NONE:
            environ["THREEPIO_RUN_ID"] = f"run{number}-{name}"
        if name == SOLO:
            environ["THREEPIO_SOCKET"] = str(self.place.path / "nobody")
        if name == WITH and (variant.own_daemon or variant.ground is not None):
            environ["DAEMON_PID"] = str(self.place.daemon_pid())
        process = Process(name=name, place=self.place, directory=directory, environ=environ)
        with ExitStack() as stack:
            if variant.around is not None:
                stack.enter_context(variant.around(process))
            yield process

    @contextmanager
    def _started(self, variant: Variant, process: Process) -> Iterator[subprocess.Popen[bytes]]:
        """Start a process whose output goes through a pipe into a file: a suite may forbid itself to write files."""
        with_log = variant.reportlog and variant.has_run and (process.name == NONE or variant.own_output)
        arguments = self.python.blocked((*variant.plugins, "pytest_reportlog") if with_log else variant.plugins)
        if process.name == NONE:
            arguments += ["-p", "no:threepio"]
        if with_log:
            arguments.append(f"--report-log={process.directory.parent / 'report.jsonl'}")
        popen = subprocess.Popen(
            [*process.prefix, self.python.path, "-m", "pytest", *arguments, *variant.arguments],
            env=process.environ,
            cwd=process.directory / variant.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        assert popen.stdout is not None
        reader = threading.Thread(target=_drain, args=(popen.stdout, process.directory.parent / "output"), daemon=True)
        reader.start()
        try:
            yield popen
        finally:
            if variant.unforeseen or popen.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(popen.pid, signal.SIGKILL)
                popen.wait()
            reader.join(COMMAND_TIMEOUT_S)

    def _check_output(self, variant: Variant, result: Compared, expected: list[str], lines: list[str]) -> None:
        if variant.own_output:
            pass
        elif variant.with_workers:
            only_one = set(summary(lines)) ^ set(summary(expected))
            assert summary(lines) == summary(expected), f"{result.name}: only one has {only_one}: {result.output}"
        else:
            differing = [f"{a!r} became {b!r}" for a, b in itertools.zip_longest(expected, lines) if a != b]
            assert not differing, f"{result.name}: output: {differing[:5]}"
        must = variant.says
        if result.name == SOLO and variant.solo_says is not None:
            must = variant.solo_says
        rest = [line for line in result.said if not line.startswith(f"run {result.run_id}")]
        unexpected = [line for line in rest if not line.startswith((*must, *variant.may_say))]
        assert not unexpected, f"{result.name}: said {unexpected}"
        unsaid = [beginning for beginning in must if not any(line.startswith(beginning) for line in rest)]
        assert not unsaid, f"{result.name}: did not say {unsaid}, but {result.said}: {result.output}"

    def _check_run(self, variant: Variant, result: Compared, printed: str, log: Path) -> None:
        """Check what was recorded of a run."""
        if not variant.has_run:
            assert not self.place.state_dir.journal(result.run_id).exists(), "there is a journal"
            return
        loses = variant.loses or (variant.solo_loses and result.name == SOLO)
        if variant.state or not variant.loses:
            result.status = self._settled(result.run_id)
            self._check_verdict(variant, result)
        if not loses:
            self._read(result)
            self._check_counts(variant, result, printed)
            self._check_outcomes(variant, result, log)
            self._check_never_ran(result)
            self._check_end(variant, result)
            if variant.unforeseen:
                unforeseen.check_verdict(result, printed, log)
        self._check_reports(result, loses=loses)
        if variant.check is not None:
            variant.check(result)

    def _settled(self, run_id: str) -> dict[str, Any]:
        """Return the daemon's answer as soon as the run is over and store and journal alone give the same answer."""
        found: dict[str, Any] = {}
        differing: dict[str, Any] = {}

        def is_over() -> bool:
            try:
                found.update(self.answer(run_id))
            except NoSuchRun:
                return False
            without = Archive(self.place.state_dir).view(run_id)
            differing.clear()
            differing.update({name: without[name] for name in _SAME if without[name] != found[name]})
            return found["state"] not in LIVE_STATES and not differing

        try:
            wait_until(is_over)
        except AssertionError:
            raise AssertionError(f"run {run_id} is not over: {found}; without a daemon: {differing}") from None
        return found

    def _check_verdict(self, variant: Variant, result: Compared) -> None:
        found = result.status["state"], result.status["verdict"]["kind"]
        text = result.status["verdict"]["text"]
        if not variant.unforeseen:
            state, kind = _expected_verdict(variant, result)
            assert found[0] in _words(state), f"{result.name}: {found}, not {state}: {text}"
            assert not kind or found[1] in _words(kind), f"{result.name}: {found}, not {kind}: {text}"
        assert is_good(result.status) == (found[0] == "passed"), "only `passed` is green"

    def _read(self, result: Compared) -> None:
        """Read the journal, which must be whole, and compare it with the store."""
        with closing(RunJournal(self.place.state_dir, result.run_id)) as journal:
            journal.look()
            found = [step.event for step in journal.steps(0, final=True)]
        assert None not in found, f"{result.name}: a line of the journal is bad"
        # A continuation begins with the first line again.
        events = [event for number, event in enumerate(found) if event and (event.seq > 1 or not number)]
        numbers = [event.seq for event in events]
        assert numbers == list(range(1, len(events) + 1)), f"{result.name}: the journal's numbers are {numbers}"
        verified = settle_and_verify(Archive(self.place.state_dir), result.run_id, wait=True)
        assert verified["whole"], f"{result.name}: not whole: {verified}"
        assert verified["journal_events"] == verified["stored_events"] == len(events), f"{result.name}: {verified}"
        result.events = [{name: getattr(event, name) for name in Event._fields} for event in events]
        result.status = self._settled(result.run_id)
        assert result.status["events"]["lost"] == 0, f"{result.name}: {result.status['events']}"

    def _check_counts(self, variant: Variant, result: Compared, printed: str) -> None:
        counted = None if variant.dies else last_line_counts(printed)
        counts = variant.counts if variant.counts_8 is None or self.python.major > 8 else variant.counts_8
        is_said = counted is not None or counts is not None or variant.dies or variant.unforeseen
        assert is_said, f"pytest printed no last line: {printed}"
        # Unless it is verbose or quiet, pytest counts subtests that did not fail nowhere; we keep them.
        unsaid = {f"subtests_{outcome}" for outcome in ("passed", "skipped", "xfailed", "xpassed")} - (
            counted or {}
        ).keys()
        if counted is not None:
            if counts is not None:
                said = {name: number for name, number in counts.items() if name not in unsaid}
                assert counted == said, f"pytest's last line says {counted}, not {said}: {printed}"
            compared = {name: number for name, number in result.counts.items() if name not in unsaid}
            assert compared == counted, f"{result.name}: counts {compared}, pytest's last line says {counted}"
        if counts is not None:
            assert result.counts == dict(counts), f"{result.name}: counts {result.counts}, not {counts}"

    def _check_outcomes(self, variant: Variant, result: Compared, log: Path) -> None:
        if not variant.reportlog:
            return
        ours, theirs = truth.of_events(result.events), truth.of_reportlog(log)
        differing = {name: (ours.get(name), theirs.get(name)) for name in ours.keys() | theirs.keys()}
        differing = {name: both for name, both in differing.items() if both[0] != both[1]}
        assert not differing, f"{result.name}: (ours, reportlog's) {dict(list(differing.items())[:5])}"

    def _check_never_ran(self, result: Compared) -> None:
        """Compare what `threepio never-ran` says with the journal's own events."""
        collected = result.collected()
        over = result.over()
        found = select(self.place.state_dir, result.run_id)
        if found.start.get("collectOnly"):
            assert not found.never_ran, f"{result.name}: nothing was to run"
            return
        named = {nodeid for nodeid in (*found.never_ran, *found.suspects) if nodeid in set(collected)} - over
        assert named == set(collected) - over, f"{result.name}: never ran: {named}"
        if len(set(collected)) == len(collected):
            assert result.status["never_ran"] == len(named), f"{result.name}: {result.status['never_ran']} never ran"

    def _check_reports(self, result: Compared, *, loses: bool) -> None:
        """Have every format written, compare its sums with the status answer and with the journal's own events, and check
        the tree that the daemon wrote."""
        archive = Archive(self.place.state_dir)
        try:
            if not loses:
                reports.check(archive, result.run_id, result.over(), result.collected())
                trees.check(self.place.state_dir, result.run_id)
            elif result.run_id in archive.run_ids():
                reports.check_form(reports.loaded(archive, result.run_id))
        except AssertionError as error:
            raise AssertionError(f"{result.name}: report: {error}") from error

    def _check_end(self, variant: Variant, result: Compared) -> None:
        ends = result.of_type("runComplete")
        if variant.dies:
            assert not ends, f"{result.name}: a run that died is complete"
            return
        if result.exit_code >= 0 and ends:
            code = result.status["exit_code"]
            has_note = "; afterwards the process exited" in result.status["verdict"]["text"]
            is_unknown = code is None and variant.kind == "internal-error"
            assert code == result.exit_code or has_note or is_unknown or variant.state == "passed", (
                f"{result.name}: exit code said to be {code}, not {result.exit_code}"
            )
            assert ends[0]["pluginErrors"] == 0, f"{result.name}: {result.said}"


def _drain(stream: IO[bytes], path: Path) -> None:
    with stream, path.open("wb") as file:
        shutil.copyfileobj(stream, file)


def _printed(directory: Path) -> str:
    """Return what a process printed; of very much only the end."""
    with (directory / "output").open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 64 * 1024 * 1024, 0))
        return file.read().decode("utf-8", "backslashreplace")


def _words(kind: Kind) -> tuple[str, ...]:
    return kind if isinstance(kind, tuple) else (kind,)


def _expected_verdict(variant: Variant, result: Compared) -> tuple[Kind, Kind]:
    state, kind = variant.state, variant.kind
    if not state:
        state, usual = _USUAL[result.exit_code]
        kind = kind or usual
    if result.name == SOLO:
        state, kind = variant.solo_state or state, variant.solo_kind or kind
    return state, kind
