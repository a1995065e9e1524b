"""Names, messages and outputs that act on terminals or look like rows of ours: every command prints them harmlessly."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cli.test_live import read_until
from tests.commands import Call
from tests.conftest import made_place
from tests.place import COMMAND_TIMEOUT_S, Place, wait_until
from tests.scripted import case, event, gone, living, made_state_dir, write_journal
from tests.two_runs import restamped
from threepio_client.events import EventType, Phase
from threepio_client.nowpage import NowPage

ACTS: Final = (
    "\x1b]0;FORGED\x07\x1b[1337;31m\x1b]8;;http://forged\x1b\\\x9b1337m\x9d0;FORGED\x9c\x90q\x07\b\b\b\x7f\x00\x0e"
)
"""Title, colour, hyperlink, their C1 forms, device control, bell, backspaces, DEL, NUL, shift out."""
BREAKS: Final = "".join(f"{end}FORGED row{end}  FORGED row" for end in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029") + "\r\n"
"""All that some reader takes for the end of a line."""
HIDES: Final = (
    "\u202e\u2066\u2069\u200b\u200f\u2060\ufeff\u00ad\u00a0[bold red]b[/bold red][link=http://forged]l[/link]"
)
QUERIES: Final = "'\"); DROP TABLE results; --"
"""What would act on a store that put names into its statements."""
HOSTILE: Final = ACTS + BREAKS + HIDES + QUERIES + "\\x1b[31m"
LONG: Final = HOSTILE + "y" * 10_000
ENOUGH: Final = 2_500
"""Columns that no line of a text form exceeds, escapes of hostile characters included."""
NAMES: Final = {kind: f"t{HOSTILE}.py::test_{kind}[{LONG}end]" for kind in ("bad", "fine", "never", "flaky", "gone")}
ERROR: Final = {
    "message": f"E {LONG}",
    "errorType": f"E{HOSTILE}",
    "location": f"/r{HOSTILE}/a.py:7",
    "stack": f"> {HOSTILE}\nE   {HOSTILE}",
}
SHOWN: Final = {"output": [[f"Captured {HOSTILE}", HOSTILE]], "worker": f"gw{HOSTILE}"}
SUBTEST: Final = {"subtest": {"message": HOSTILE, "parameters": {HOSTILE: HOSTILE}}}
PRINTS_WHOLE: Final = {"show"}
"""What prints texts of several lines, each of them indented."""


def start(run_id: str, identity: Any) -> bytes:
    payload = {
        "schemaVersion": 1, "runId": run_id, "producerId": "p", "process": identity.to_payload(), "rootdir": f"/r{HOSTILE}",
        "argv": [HOSTILE, LONG], "command": [f"cmd{HOSTILE}"], "cwd": f"/nowhere{HOSTILE}", "ci": {"name": HOSTILE},
        "git": {"commit": HOSTILE, "branch": HOSTILE}, "parentRunId": HOSTILE, "rerunOf": HOSTILE,
    }  # fmt: skip
    return event(1, EventType.RUN_START, payload)


def write_hostile_runs(place: Place) -> None:
    """Write the runs `one` and `two`, which are over, `dead`, whose process is gone, and `live`, which is this process."""
    made_state_dir(place.state_dir.path)
    for number, run_id in enumerate(("one", "two", "dead", "live")):
        names = list(NAMES.values())
        lines = [
            start(run_id, living() if run_id == "live" else gone()),
            event(2, EventType.COLLECTION_ERROR, {"nodeid": f"c{HOSTILE}", "error": ERROR}),
            event(3, EventType.TESTS_COLLECTED, {"nodeids": names}),
            event(4, EventType.COLLECTION_FINISH, {"collected": len(names), "deselected": 0}),
            event(5, "of tomorrow", {HOSTILE: LONG}),
            case(6, NAMES["bad"], "FAIL" if run_id != "one" else "PASS", error=ERROR, **SHOWN, **SUBTEST),
            case(7, NAMES["bad"], "ERROR" if run_id != "one" else "PASS", error=ERROR, phase="setup", **SHOWN),
            case(8, NAMES["fine"], "SKIP", skipReason=LONG, xfailReason=LONG),
            case(9, NAMES["flaky"], "RERUN", error=ERROR),
            case(10, NAMES["flaky"], attempt=2, duration=9.0 if run_id == "one" else 9000.0, **SHOWN),
            event(11, EventType.ADAPTER_STATS, {"lastError": {"time": 1.0, "text": HOSTILE}, "spilled": 1}),
            event(
                12, EventType.WORKER_GONE, {"worker": HOSTILE, "nodeid": NAMES["fine"], "phase": "call", "signal": 9}
            ),
        ]
        if run_id == "one":
            lines.append(case(13, NAMES["gone"]))
        if run_id in ("one", "two"):
            stop = {
                "exitCode": 1,
                "totals": {HOSTILE: 1},
                "deselected": 0,
                "stopped": HOSTILE,
                "stats": {},
            }
            lines.append(event(len(lines) + 1, EventType.RUN_COMPLETE, stop))
        write_journal(place.state_dir, run_id, (restamped(line, number * 1000) for line in lines))
    for run_id in ("dead", "live"):
        page = NowPage(place.state_dir.now_page(run_id), 2, "g\x1b\n\x9b", create=True)
        page.set_seq(12)
        page.set(NAMES["never"], Phase.CALL, 1.0)
        page.close()
    place.state_dir.journal("torn").write_bytes(HOSTILE.encode() * 3 + b"\n" + HOSTILE.encode())


@pytest.fixture(scope="module", params=[False, True], ids=["journals", "daemon"])
def hostile(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place with the hostile runs: in their journals alone, or in the store of a daemon."""
    with made_place() as found:
        write_hostile_runs(found)
        if request.param:
            found.start_daemon()
            wait_until(lambda: all(found.status(run_id)["events"]["stored"] >= 13 for run_id in ("one", "two")))
        yield found


def harm(text: str, *, whole: bool = False) -> list[str]:
    """Return what in a text could act on a terminal, be taken for a row of ours, or go on for ever.

    A usage error stands in a box, whose every line begins with its border.

    Args:
        text: what was printed, without what the command itself may send to a terminal.
        whole: texts of several lines are allowed, if they are indented by four.
    """
    acting = sorted(
        {
            f"U+{ord(char):04X}"
            for char in text
            if char != "\n" and unicodedata.category(char)[0] in "CZ" and char != " "
        }
    )
    forged = [
        line[:80]
        for line in text.splitlines()
        if line.lstrip(" ").startswith("FORGED") and not (whole and line.startswith("    "))
    ]
    long = [] if whole else [line[:80] for line in text.splitlines() if len(line) > ENOUGH]
    return [*acting, *forged, *long]


QUESTIONS: Final = [
    ["status", "two"], ["status", "dead"], ["status", "live"], ["runs"], ["runs", "--branch", HOSTILE],
    ["runs", "--project", f"/r{HOSTILE}"], ["failures", "two"], ["failures", "two", "--all"],
    ["failures", "two", "--budget", "2000"], ["failures", "two", "-k", HOSTILE],
    ["failures", "two", "--file", HOSTILE], ["failures", "two", "--since", "one"], ["show", NAMES["bad"], "two"],
    ["show", NAMES["flaky"], "two"], ["show", NAMES["fine"], "two"], ["show", "test_", "two"],
    ["show", NAMES["never"], "dead"], ["show", NAMES["never"], "live"], ["show", NAMES["never"], "two"],
    ["show", f"c{HOSTILE}", "two"], ["history", NAMES["never"]],
    ["show", "end]", "two"], ["diff", "one", "two", "--all"], ["diff", "two", "one"], ["slow", "two"],
    ["flaky", "--all"], ["history", NAMES["bad"]], ["wait", "two"], ["wait", "live", "--max", "0s"],
    ["events", "two"], ["events", "two", "--type", HOSTILE], ["never-ran", "dead", "--all"], ["never-ran", "live"],
    ["stacks", "live"], ["stacks", "two"], ["prune", "--keep", "1", "--dry-run"], ["prune", HOSTILE],
    ["verify", "two"], ["verify", "--all"], ["verify", "torn"], ["status", "torn"], ["status", "two", "--watch"],
]  # fmt: skip
BAD_INPUT: Final = [
    ["status", HOSTILE], ["status", LONG], ["show", HOSTILE, "two"], ["show", LONG, "two"], ["history", LONG],
    ["never-ran", LONG], ["rerun", LONG], ["stacks", LONG], ["verify", LONG], ["wait", LONG, "--max", "0s"],
    ["diff", LONG], ["slow", LONG], ["events", LONG], ["prune", LONG], [f"x{LONG}"], ["status", "two", LONG],
    [f"--{LONG}"], ["status", f"--{LONG}"], ["runs", "--limit", LONG], ["runs", "--state", LONG],
    ["prune", "--older-than", LONG], ["wait", "--max", LONG], ["wait", "--until", LONG],
    ["failures", "--budget", LONG], ["failures", "--since", LONG], ["status", "\udcff\udc9b"],
    ["show", "\udcff\udc9b", "two"], ["history", "\udcff\udc9b"], ["status", "[bold red]x[/nothing]"],
    ["x[link=x]y[/bold]"],
]  # fmt: skip


def label(arguments: list[str]) -> str:
    return " ".join(re.sub(r"[^\w.-]+", "_", word)[:12] for word in arguments)


@pytest.mark.parametrize("arguments", [*QUESTIONS, *BAD_INPUT], ids=label)
def test_what_goes_into_a_pipe(hostile: Place, call: Call, arguments: list[str]) -> None:
    result = call(hostile, *arguments)

    assert harm(result.stdout, whole=arguments[0] in PRINTS_WHOLE | {"events"}) == []
    assert harm(result.stderr) == []
    if arguments in BAD_INPUT:
        assert result.exit_code in (2, 4)
        assert len(result.stderr.splitlines()) <= 12


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


WITH_JSON: Final = [question for question in QUESTIONS if question[0] != "events" and "--watch" not in question]
CUT_BEFORE: Final = 985
"""Bytes of a node id that the now page has room for."""


@pytest.mark.parametrize("arguments", WITH_JSON, ids=label)
def test_json_is_ascii_and_holds_names_whole(hostile: Place, call: Call, arguments: list[str]) -> None:
    result = call(hostile, *arguments, "--json")

    assert all(char == "\n" or " " <= char <= "~" for char in result.stdout)
    if result.stdout:
        named = [
            text for text in strings(json.loads(result.stdout)) if "::test_" in text and len(text) > 2 * CUT_BEFORE
        ]
        assert [text[:80] for text in named if text not in NAMES.values() and "presumably" not in text] == []
        assert (
            named
            or f"c{HOSTILE}" in arguments
            or arguments[0] in ("runs", "verify", "prune", "stacks", "status", "wait", "failures", "flaky")
        )


def test_a_budget_counts_what_is_printed(hostile: Place, call: Call) -> None:
    text = call(hostile, "failures", "two", "--budget", "100").stdout

    assert len(text.encode()) <= 400
    assert "causes" in text


def test_an_event_is_json_whatever_it_holds(hostile: Place, call: Call) -> None:
    lines = call(hostile, "events", "two").stdout.splitlines()

    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert any(json.loads(line)["payload"].get("nodeid") == NAMES["bad"] for line in lines)


@contextmanager
def terminal(command: list[str], environ: dict[str, str], cwd: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a command on a terminal of 80 columns."""
    master, slave = pty.openpty()
    environ = {**environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    process = subprocess.Popen(command, env=environ, cwd=cwd, stdout=slave, stderr=slave)
    os.close(slave)
    try:
        yield process, master
    finally:
        process.kill()
        process.wait()
        os.close(master)


def shown_to_its_end(fd: int) -> str:
    """Return what a terminal shows until nobody writes to it any more."""
    seen = b""
    while True:
        assert select.select([fd], [], [], COMMAND_TIMEOUT_S)[0], seen
        try:
            data = os.read(fd, 65536)
        except OSError:  # how a terminal says so
            return seen.decode("utf-8", "surrogateescape")
        seen += data


OWN: Final = re.compile(
    r"\x1b\[(?:\d{1,2}(?:;\d{1,3})*)?m|\x1b\[[?]?\d{0,4}[hlHJKA]|\r(?=\n|\x1b\[K|\x1b\[2K)|\x1b\[\d?[ABCDK]"
)
"""What rich and the live line send to a terminal; no hostile sequence has this form."""

ALL_ON_A_TERMINAL: Final = """
import json, sys
from threepio_client.cli.app import make_app
app = make_app()
for arguments in json.load(open(sys.argv[1])):
    print("BEGINS", flush=True)
    try:
        app(arguments, prog_name="threepio")
    except SystemExit:
        pass
"""


def test_what_a_terminal_gets(hostile: Place) -> None:
    assert set(OWN.findall(HOSTILE)) == {"\r"}  # of its own line end, which begins a row that is found
    asked = [*QUESTIONS, *BAD_INPUT]
    (hostile.path / "asked").write_text(json.dumps(asked))
    command = [sys.executable, "-c", ALL_ON_A_TERMINAL, str(hostile.path / "asked")]
    with terminal(command, hostile.environ, hostile.path) as (_, screen):
        parts = OWN.sub("", shown_to_its_end(screen)).split("BEGINS\n")[1:]

    assert len(parts) == len(asked)
    found = {
        label(question): harm(part, whole=question[0] in PRINTS_WHOLE | {"events"})
        for question, part in zip(asked, parts, strict=True)
    }
    assert {name: problems for name, problems in found.items() if problems} == {}


CONFTEST = """
import os, time
import pytest

class Item(pytest.Item):
    def runtest(self):
        open("reached", "w").close()
        if "never" in self.name:
            while not os.path.exists("go on"): time.sleep(0.01)
        print(HOSTILE)
        if "bad" in self.name:
            raise ValueError(HOSTILE)
        if "fine" in self.name:
            pytest.skip(HOSTILE)

def pytest_collection_modifyitems(session, items):
    items[:] = [Item.from_parent(items[0].parent, name=name) for name in NAMES]
"""


def test_run_and_watch_on_a_terminal_and_rerun(served: Place) -> None:
    names = [f"test_{kind}[{LONG}]" for kind in ("bad", "fine", "never")]
    served.suite(f"HOSTILE = {HOSTILE!r}\nNAMES = {names!r}\n{CONFTEST}", "conftest.py")
    served.suite("def test_it(): pass", "test_\x1b[1337m\u202e\u4e2d.py")
    environ = {**served.environ, "THREEPIO_RUN_ID": "real"}
    threepio = [*served.python, "-m", "threepio_client.cli"]
    run = [*threepio, "run", "--", *served.python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    with terminal(run, environ, served.path) as (process, screen):
        seen = read_until(screen, rb"test_never")
        with terminal([*threepio, "status", "real", "--watch"], served.environ, served.path) as (watching, other):
            watched = read_until(other, rb"call  .")
            watching.send_signal(signal.SIGINT)
            watched += shown_to_its_end(other).encode("utf-8", "surrogateescape")
        (served.path / "go on").touch()
        seen += shown_to_its_end(screen).encode("utf-8", "surrogateescape")
        assert process.wait(COMMAND_TIMEOUT_S) == 1
    again = served.threepio("rerun", "real", THREEPIO_RUN_ID="again")
    unknown = served.threepio("run", "--", f"/nowhere{HOSTILE.replace(chr(0), '')}")

    assert [harm(OWN.sub("", text.decode())) for text in (seen, watched)] == [[], []]
    assert "1 failed" in seen.decode()
    assert harm(again.stdout + again.stderr) == []
    assert "rerun=real" in again.stdout
    assert (unknown.returncode, harm(unknown.stderr)) == (127, [])
