"""The shapes of what the commands print with `--json`: declared here, checked by mypy where the answers are built.

docs/json.md is written from these declarations (`python -m docs.make_json`), and a test compares what the commands print
with them. Times are seconds since the epoch, names ending in `_s` seconds, in `_ms` milliseconds, in `_bytes` bytes.
"""

from __future__ import annotations

from typing import Annotated, NotRequired, TypedDict

from threepio_client.views import VIEW_VERSION

Version = Annotated[int, f"version of this document: {VIEW_VERSION}"]
RunId = Annotated[str, "the run's id"]


class Counts(TypedDict):
    """Each equals the number in pytest's own last line."""

    passed: int
    failed: int
    errors: Annotated[int, "setup, teardown and collection errors"]
    skipped: int
    xfailed: int
    xpassed: int
    rerun: Annotated[int, "attempts that were followed by another one"]
    deselected: int
    warnings: int
    subtests_passed: Annotated[int, "counted also where pytest's line leaves subtests out"]
    subtests_failed: int
    subtests_skipped: Annotated[int, "counted also where pytest's line leaves subtests out"]
    subtests_xfailed: Annotated[int, "counted also where pytest's line leaves subtests out"]
    subtests_xpassed: int


class InFlight(TypedDict):
    """What was begun and is not over."""

    nodeid: Annotated[str, "node id, or the file being imported, or empty for the session itself"]
    phase: Annotated[str, "`collect`, `setup`, `call`, `teardown`, `session end`"]
    elapsed_s: Annotated[float, "time in this phase"]
    worker: Annotated[str | None, "xdist worker id, null without workers"]


class Process(TypedDict):
    """Which process it is, as in runStart."""

    pid: int
    start_ticks: Annotated[int, "when it was started, in the kernel's ticks since boot"]
    boot_id: str
    pid_namespace: str


class Death(TypedDict):
    """How a process ended."""

    exit_code: Annotated[int | None, "null where it is not known"]
    signal: Annotated[str | None, "name of the signal that killed it"]
    out_of_memory: Annotated[bool, "the kernel killed it because memory ran out"]
    trace: Annotated[
        str | None, "what it said of itself: the stacks of faulthandler or of pytest-timeout, found by `threepio run`"
    ]


class Worker(TypedDict):
    """An xdist worker that is there."""

    worker: str
    pid: Annotated[int | None, "null where it runs on another machine"]
    process: Annotated[Process | None, "which process that is"]


class WorkerDeath(TypedDict):
    """An xdist worker that died."""

    worker: str
    nodeid: Annotated[str | None, "what it was at; null where nothing was in flight, or where that is not known"]
    phase: str | None
    exit_code: int | None
    signal: str | None
    out_of_memory: bool


class Verdict(TypedDict):
    """What became of a run."""

    kind: Annotated[str, "one word; they are listed in [protocol.md](protocol.md#verdicts)"]
    text: Annotated[str, "one sentence"]


class Ingest(TypedDict, total=False):
    """How the lines of a run came to the daemon."""

    from_socket: Annotated[int, "came over the socket; absent before a daemon has seen the run"]
    from_journal: Annotated[int, "read from the journal; absent before a daemon has seen the run"]
    duplicates: Annotated[int, "came again and were dropped; absent before a daemon has seen the run"]


class Events(Ingest):
    """Numbers of events."""

    journaled: Annotated[int, "in the journal"]
    synced: Annotated[int, "known to be on the disk: stored, or by the adapter's last statistics"]
    received: Annotated[int, "at the daemon"]
    stored: Annotated[int, "in the store, and synced"]
    acked: Annotated[int, "the adapter was told that it is stored, by its last statistics or by the daemon's view"]
    spilled: Annotated[int, "journaled and not sent, by the adapter's last statistics"]
    unjournaled: Annotated[int, "sent to the daemon because they could not be journaled"]
    lost: Annotated[int, "taken by nobody, because nothing could be written"]
    unreadable: Annotated[int, "events whose line in the journal nobody can read"]
    conflicts: Annotated[int, "lines that came with the `seq` of another one and other content; the first one stands"]
    torn_bytes: Annotated[int, "bytes of a line that was begun and not finished by a process that is gone"]


class LastError(TypedDict):
    """The last error."""

    time: Annotated[float, "seconds since the epoch"]
    text: Annotated[str, "one sentence"]


class Git(TypedDict, total=False):
    """A checkout."""

    branch: Annotated[str, "absent where no branch is checked out"]
    commit: Annotated[str, "absent before the first commit"]
    dirty: Annotated[
        bool | None,
        "tracked files differ from the commit, when the run began; null where no daemon saw that, or files were changed "
        "before git had answered",
    ]
    changed_during_run: Annotated[
        bool | None, "commit or tracked files; null before the end, and where no daemon saw it"
    ]


class Ci(TypedDict):
    """A CI system."""

    name: str
    build: NotRequired[Annotated[str, "absent where the system does not tell, like the following"]]
    job: NotRequired[str]
    url: NotRequired[str]


class Status(TypedDict):
    """How a run is."""

    schema_version: Version
    run_id: RunId
    state: Annotated[
        str,
        "`running`, `passed`, `failed`, `interrupted`, `crashed`, `incomplete`, `detached`; only `passed` is green",
    ]
    exit_code: Annotated[int | None, "the runner's exit code; null while it runs, and where it is not known"]
    started: Annotated[float, "when the run began; 0 before its first event is known"]
    duration_s: Annotated[float, "until now, or until the run's last event, or until its process was gone"]
    collected: Annotated[int | None, "tests that were selected to run; null before collection is over"]
    finished: Annotated[int, "tests whose outcome is known, each counted once"]
    never_ran: Annotated[int, "tests without an outcome; 0 while the run lives, and if it only collects"]
    counts: Annotated[Counts, "each equals the number in pytest's own last line"]
    in_flight: Annotated[
        list[InFlight],
        "what was begun and is not over, one entry a worker; once the run is complete, what it was stopped in",
    ]
    flaky: Annotated[int, "tests that passed only after another attempt"]
    death: Annotated[
        Death | None,
        "how the process ended; null while it runs, and if it ended as the runner wanted, and no worker left a trace",
    ]
    workers: Annotated[list[Worker], "xdist workers that are there; empty once the run is over"]
    workers_died: Annotated[int, "xdist workers that died"]
    worker_deaths: Annotated[list[WorkerDeath], "the first 20 of them"]
    verdict: Annotated[Verdict, "what became of the run"]
    events: Annotated[
        Events, "numbers of events; `journaled`, `received` and `stored` are the `seq` up to which they are"
    ]
    blocked_ms: Annotated[float, "time that the run waited for the daemon, by the adapter's last statistics"]
    write_failures: Annotated[int, "writes and syncs of the journal that failed, by the adapter's last statistics"]
    last_error: Annotated[
        LastError | None,
        "what last kept the daemon from storing or the adapter from writing or sending; null if nothing did",
    ]
    pid: Annotated[int, "the tested process; 0 before it is known"]
    process: Annotated[Process | None, "which process that is, as in runStart"]
    rootdir: Annotated[str, "pytest's rootdir"]
    argv: Annotated[list[str], "the runner's arguments"]
    git: Annotated[Git, "the rootdir's checkout; empty if there is none"]
    ci: Annotated[Ci | None, "the CI system that the run was started by"]
    parent_run_id: Annotated[str | None, "the run in one of whose tests this one was started"]
    rerun_of: Annotated[str | None, "the run of which this one runs again what failed or never ran"]
    command_id: Annotated[
        str | None, "the command of `threepio run` that began it, in all its runs the same; else null"
    ]
    source: Annotated[str, "who answered: `daemon`, or `journal` for store and journals themselves"]


class RunRow(TypedDict):
    """A run in a list."""

    run_id: Annotated[str, "as in `status`, like all that follow"]
    state: str
    exit_code: int | None
    started: float
    duration_s: float
    collected: int | None
    finished: int
    counts: Counts
    rootdir: str
    branch: Annotated[str | None, "null where that is not known"]
    command_id: str | None


class Runs(TypedDict):
    """The newest runs."""

    schema_version: Version
    runs: Annotated[list[RunRow], "the latest first"]


class Subtest(TypedDict):
    """Which subtest it was."""

    message: Annotated[str, "as given to the subtest, or empty"]
    parameters: Annotated[dict[str, str], "name to value, both as text"]


class Error(TypedDict, total=False):
    """An exception; empty where there is none."""

    message: Annotated[str, "the exception's own text, or the last line of what a plugin reported"]
    stack: Annotated[str, "as pytest shows it"]
    errorType: Annotated[str, "the exception's type; absent where it is not known"]
    location: Annotated[str, "`path:line`, outside of the standard library if a frame is; absent where it is not known"]


class BadResult(TypedDict):
    """A test that failed or broke, or what could not be collected."""

    nodeid: Annotated[str, "node id of the test, or of what could not be collected"]
    seq: Annotated[int, "number of the event in its run"]
    status: Annotated[str, "`FAIL` or `ERROR`"]
    phase: Annotated[str, "`setup`, `call`, `teardown`, `collect`"]
    duration_s: Annotated[float, "of the test up to then; 0 for what could not be collected"]
    worker: Annotated[str | None, "xdist worker id, null without workers"]
    attempt: Annotated[int, "1, or more after reruns"]
    subtest: Annotated[Subtest | None, "null unless a subtest failed"]
    error: Error
    output: Annotated[list[list[str]], "captured output: pairs of title and text"]


class Failure(BadResult):
    """A failure with its cause."""

    cause: Annotated[str, "its cause"]


class Cause(TypedDict):
    """Failures that look alike."""

    cause: Annotated[str, "eight hexadecimal digits, of error type, message and place; for `--cause`"]
    count: Annotated[int, "how many failures it has"]
    error_type: Annotated[str, "empty where it is not known"]
    message: Annotated[str, "of the first of them, its first line"]
    location: Annotated[str | None, "`path:line`; null where it is not known"]
    example: Annotated[str, "node id of the first of them"]


class Failures(TypedDict):
    """What failed in a run."""

    schema_version: Version
    run_id: RunId
    state: Annotated[str, "as in `status`"]
    causes: Annotated[list[Cause], "failures that look alike, the most frequent first"]
    failures: Annotated[list[Failure], "in the order in which they happened"]


class ShownResult(TypedDict):
    """One outcome that was reported of a test."""

    status: Annotated[str, "as in `failures`, and `PASS`, `SKIP`, `XFAIL`, `XPASS`, `RERUN`"]
    phase: str
    attempt: int
    duration_s: float
    worker: str | None
    subtest: Annotated[Subtest | None, "as in `failures`"]
    error: Annotated[Error, "as in `failures`; empty where there is none"]
    output: Annotated[list[list[str]], "as in `failures`"]
    reason: Annotated[str | None, "why it was skipped or is expected to fail"]


class Before(TypedDict):
    """What became of a test in another run."""

    run_id: str
    status: str


class WithoutOutcome(TypedDict):
    """How a test stands that has no outcome."""

    how: Annotated[
        str,
        "`in-flight`; `died`: the process or its worker did, in this test; `waiting`: collected, and the run goes on; "
        "`never-ran`: collected",
    ]
    phase: Annotated[str | None, "in which it is, or was; null where it was not begun"]
    elapsed_s: Annotated[float | None, "time in this phase; null where that is not known"]
    worker: Annotated[str | None, "xdist worker id, null without workers"]


class WithoutOutcomeIn(WithoutOutcome):
    """The same in one of several runs."""

    run_id: str
    started: Annotated[float, "when the run began"]


class Shown(TypedDict):
    """One test in one run."""

    schema_version: Version
    run_id: RunId
    nodeid: str
    status: Annotated[
        str | None,
        "what became of the test: of its last attempt; `ERROR` where its teardown failed, `FAIL` where a subtest did; "
        "null where it has no outcome",
    ]
    without_outcome: Annotated[WithoutOutcome | None, "how it stands if it has no outcome, else null"]
    attempts: Annotated[int, "how often it was run; 0 without an outcome"]
    results: Annotated[list[ShownResult], "every outcome that was reported, in their order"]
    history: Annotated[list[Before], "up to ten other runs, the latest first"]


class Slower(TypedDict):
    """A test that is much slower than before."""

    nodeid: str
    before_s: float
    after_s: float


class Diff(TypedDict):
    """Two runs compared. The lists hold node ids."""

    schema_version: Version
    before: Annotated[str, "id of the earlier run"]
    after: Annotated[str, "id of the later run"]
    newly_failing: Annotated[
        list[str], "node ids, like all that follow: bad now, and fine or without an outcome before"
    ]
    new_failing: Annotated[list[str], "bad now, and not there before"]
    fixed: Annotated[list[str], "fine now, and bad before"]
    excused: Annotated[list[str], "skipped or failing as expected now, and neither before: nobody saw them pass"]
    other_reason: Annotated[list[str], "bad in both, with another type or message of the error"]
    still_failing: Annotated[list[str], "bad in both for the same reason"]
    new: Annotated[list[str], "fine now, and not there before"]
    ran_now: Annotated[list[str], "fine now, and without an outcome before"]
    never_ran: Annotated[
        list[str],
        "collected now and without an outcome (yet); or there before, and now in a file that could not be collected, or "
        "where collection was not over",
    ]
    gone: Annotated[list[str], "there before, and not collected now"]
    left_out: Annotated[
        list[str], "with an outcome before, and not asked for now: other arguments, a rerun, or only collected"
    ]
    slower: Annotated[list[Slower], "at least twice as long, and 0.1 s more"]


class SlowTest(TypedDict):
    """A test and its time."""

    nodeid: str
    status: Annotated[str, "as in `show`"]
    duration_s: Annotated[float, "setup and call; with workers the call alone"]


class SlowFile(TypedDict):
    """A file and the time of its tests."""

    file: str
    tests: int
    duration_s: Annotated[float, "sum of its tests'"]


class Slow(TypedDict):
    """Where the time of a run went."""

    schema_version: Version
    run_id: RunId
    tests: Annotated[list[SlowTest], "the slowest first"]
    files: Annotated[list[SlowFile], "likewise"]


class FlakyTest(TypedDict):
    """A test that does not always say the same."""

    nodeid: str
    needed_attempts: Annotated[int, "runs in which it passed only after another attempt"]
    changed_at_one_commit: Annotated[bool, "it passed and failed at one commit, with a clean checkout"]


class Flaky(TypedDict):
    """Tests that do not always say the same."""

    schema_version: Version
    runs: Annotated[int, "how many runs were looked at"]
    tests: Annotated[list[FlakyTest], "those that needed other attempts most often come first"]


class HistoryRow(TypedDict):
    """What became of a test in one run."""

    run_id: str
    started: float
    status: Annotated[str, "as in `show`"]
    attempts: int
    duration_s: float
    commit: Annotated[str, "empty where it is not known"]
    dirty: Annotated[bool | None, "tracked files differed from it, when the run began; null where that is not known"]


class History(TypedDict):
    """What became of one test."""

    schema_version: Version
    nodeid: str
    runs: Annotated[list[HistoryRow], "the latest first"]
    without_outcome: Annotated[
        list[WithoutOutcomeIn], "where no run has an outcome of it: how it stands in the newest five, the latest first"
    ]


class NeverRan(TypedDict):
    """What was collected and has no outcome."""

    schema_version: Version
    run_id: RunId
    collection_finished: Annotated[bool, "if not, more never ran than anybody can name"]
    suspects: Annotated[
        list[str],
        "what was in flight when the process or a worker died, whether it has an outcome or not: node ids, or the file "
        "that was being imported",
    ]
    never_ran: Annotated[list[str], "node ids of tests without an outcome, in the order of collection"]


class Frame(TypedDict):
    """A line that a stack is at."""

    file: str
    line: int
    function: str


class Stack(TypedDict):
    """A thread or a task."""

    kind: Annotated[str, "`thread`, or `task` of an event loop"]
    name: str
    active: Annotated[bool | None, "it uses a processor; null where that is not known"]
    frames: Annotated[list[Frame], "the innermost call first"]


class StackedProcess(TypedDict):
    """A process of a run."""

    worker: Annotated[str | None, "xdist worker id"]
    pid: int | None
    in_flight: Annotated[InFlight | None, "what it is at, as in `status`"]
    trouble: Annotated[str | None, "why there are no stacks"]
    stacks: Annotated[list[Stack], "the main thread first, then tasks, then other threads"]


class Stacks(TypedDict):
    """Where a run is just now."""

    schema_version: Version
    run_id: RunId
    processes: Annotated[list[StackedProcess], "the xdist workers, then the process that the tests were started with"]


class Pruned(TypedDict):
    """Which runs are removed."""

    schema_version: Version
    dry_run: Annotated[bool, "they would be removed, and are still there"]
    runs: Annotated[list[str], "run ids, the latest first"]


class TypeCount(TypedDict):
    """Events of one type."""

    journal: Annotated[int, "events of this type in the journal"]
    stored: Annotated[int, "events of this type in the store"]


class Verification(TypedDict):
    """A run's journal against the store and against the runner's own totals."""

    schema_version: Version
    run_id: RunId
    whole: Annotated[bool, "nothing missing, no duplicates, nothing corrupt, no conflicts, no events lost"]
    journal_events: Annotated[int, "different events in the journal"]
    stored_events: Annotated[int, "events in the store"]
    missing: Annotated[
        int, "missing in journal or store, stored with other content, or counted by the runner and not there"
    ]
    duplicates: Annotated[int, "events that journal or store have more than once"]
    corrupt: Annotated[int, "lines of the journal that nobody can read"]
    conflicts: Annotated[int, "lines of the journal that have the `seq` of another one and other content"]
    pending: Annotated[int, "not stored yet, of a run that lives; these are not missing"]
    torn_bytes: Annotated[int, "bytes of a line that was begun and not finished"]
    events_lost: Annotated[int, "counted as lost by the adapter"]
    by_type: Annotated[dict[str, TypeCount], "event type to numbers"]
    problems: Annotated[list[str], "one sentence each"]


class Verifications(TypedDict):
    """Every run verified."""

    schema_version: Version
    runs: Annotated[list[Verification], "the latest first, each as `threepio verify RUN --json` says it"]


class EventTotals(TypedDict):
    """What happened to events."""

    received: Annotated[int, "taken, over a socket or from a journal"]
    stored: int
    duplicates: Annotated[int, "came again and were discarded"]
    conflicts: Annotated[int, "came again with other content"]
    corrupt: Annotated[int, "lines of journals that nobody can read"]
    kept: Annotated[int, "journaled by the daemon itself, because the run's own files could not hold them"]
    failures: Annotated[int, "failures to write, sync or read"]


class Daemon(TypedDict):
    """How the daemon is."""

    schema_version: Version
    pid: Annotated[int, "the daemon's process"]
    uptime_s: Annotated[float, "since it was started"]
    socket: Annotated[str, "absolute path"]
    state_dir: Annotated[str, "absolute path"]
    version: Annotated[str, "the daemon's version"]
    runs_active: Annotated[int, "runs that are not over"]
    runs_connected: Annotated[int, "of these, with an adapter connected"]
    events_per_s: Annotated[float, "taken, over the last 5 seconds"]
    backlog: Annotated[int, "events received and not stored yet"]
    events: Annotated[EventTotals, "what happened to events since the daemon was started"]
    commits: Annotated[int, "transactions of the store"]
    rss_bytes: Annotated[int, "resident memory of the daemon"]
    errors: Annotated[int, "errors since it was started"]
    last_error: Annotated[LastError | None, "null if there was none"]


class Rebuilt(TypedDict):
    """What `threepiod rebuild` did."""

    schema_version: Version
    runs: Annotated[int, "runs in the new store"]
    events: Annotated[int, "events in the new store"]
    old_runs: Annotated[int, "runs of which the old store had something that no journal has"]
    old_events: Annotated[int, "events that came from the old store only"]
    unreadable: Annotated[
        list[str],
        "what could not be read and is in no other place, one sentence each; exit code 1 if there is any",
    ]
    kept: Annotated[str | None, "where the old store is, if it was damaged"]
    seconds: Annotated[float, "how long it took"]


class SettingFound(TypedDict):
    """A setting."""

    key: Annotated[str, "its name in the configuration file"]
    environment: Annotated[str, "its name in the environment; in lower case that of the ini option"]
    value: Annotated[str | None, "as it would be written; null where it is made for each run"]
    source: Annotated[str, "`environment`, `file` or `default`"]


class Config(TypedDict):
    """Every setting and where it comes from."""

    schema_version: Version
    file: Annotated[str, "where the configuration file is, or would be"]
    file_is_there: bool
    settings: list[SettingFound]
    problems: Annotated[list[str], "what cannot be used, one sentence each; exit code 2 if there is any"]


class Checked(TypedDict):
    """What a check found."""

    check: Annotated[
        str,
        "`config`, `state`, `disk`, `sandbox`, `runtime`, `socket`, `daemon`, `plugin`, `loading`, `versions`, `copies`; "
        "once, or once a problem",
    ]
    state: Annotated[str, "`ok`, `problem`, or `unknown` where it could not be looked at"]
    text: Annotated[str, "what was found"]
    cure: Annotated[str | None, "what to do; null where there is no problem"]


class Examined(TypedDict):
    """What is wrong with the installation."""

    schema_version: Version
    ok: Annotated[bool, "there is no problem"]
    checks: list[Checked]


ANSWERS: dict[str, type] = {
    "threepio status": Status,
    "threepio wait": Status,
    "threepio runs": Runs,
    "threepio failures": Failures,
    "threepio show": Shown,
    "threepio diff": Diff,
    "threepio slow": Slow,
    "threepio flaky": Flaky,
    "threepio history": History,
    "threepio never-ran": NeverRan,
    "threepio stacks": Stacks,
    "threepio prune": Pruned,
    "threepio verify": Verification,
    "threepio verify --all": Verifications,
    "threepio doctor": Examined,
    "threepiod status": Daemon,
    "threepiod config": Config,
    "threepiod rebuild": Rebuilt,
}
"""What each command prints."""
