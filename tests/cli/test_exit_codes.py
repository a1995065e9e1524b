"""Every exit code of every command, as docs/operating.md says it, obtained for real."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.main import get_command

from tests.commands import Call, runner
from tests.conftest import made_place
from tests.place import Place, wait_until
from tests.scripted import case, event, gone, living, made_state_dir, run_lines, write_journal
from tests.test_bad_input import stranger
from tests.two_runs import BREAKS, FIXED, write_two_runs
from threepio_client.cli.app import make_app
from threepio_client.events import EventType
from threepiod import control
from threepiod.commands import app as threepiod

threepio: Final = make_app()
DOCUMENT: Final = Path(__file__).parent.parent.parent / "docs" / "operating.md"
FINE: Final = "t.py::test_fine"
PYTEST: Final = ("python3", "-m", "pytest", "-q")


def write_runs(place: Place) -> None:
    """Write the failed runs `one` and `two`, the passed run `green`, the crashed run `dead` and the run `live`."""
    made_state_dir(place.state_dir.path)
    write_two_runs(place)
    for run_id, identity in (("green", gone()), ("dead", gone()), ("live", living())):
        first, *_ = run_lines(run_id, 0, nodeids=[FINE], identity=identity)
        lines = [first, event(2, EventType.TESTS_COLLECTED, {"nodeids": [FINE]})]
        lines.append(event(3, EventType.COLLECTION_FINISH, {"collected": 1, "deselected": 0}))
        if run_id == "green":
            end = {"exitCode": 0, "totals": {"passed": 1}, "deselected": 0, "stopped": None, "stats": {}}
            lines += [case(4, FINE), event(5, EventType.RUN_COMPLETE, end)]
        write_journal(place.state_dir, run_id, lines)


@pytest.fixture(scope="module")
def alone() -> Iterator[Place]:
    """The runs, and no daemon."""
    with made_place() as found:
        write_runs(found)
        yield found


@pytest.fixture(scope="module")
def stored() -> Iterator[Place]:
    """The runs, and a daemon that has stored them."""
    with made_place() as found:
        write_runs(found)
        found.start_daemon()
        wait_until(lambda: all(found.verify(run_id)["whole"] for run_id in ("one", "two", "green")))
        yield found


@pytest.mark.parametrize(
    "command",
    ["status two", "status two --json", "runs", "failures two --json", "verify two", f"show {FINE} green", "slow two"],
)
def test_an_answer_that_cannot_be_written_is_one_line_on_stderr(alone: Place, command: str) -> None:
    done = alone.shell(f"{sys.executable} -m threepio_client.cli {command} >/dev/full")

    assert done.returncode == 2
    assert done.stderr == "threepio: the answer cannot be written: No space left on device\n"


ALONE: Final[dict[tuple[str, int], list[list[str]]]] = {
    ("status", 0): [["green"], ["live"], ["gre"]],
    ("status", 1): [["two"], ["dead"]],
    ("status", 4): [["nothing"], [""], ["\x1b[31m"]],
    ("runs", 0): [[], ["--state", "crashed"], ["--branch", "none"]],
    ("failures", 0): [["green"], ["two", "-k", "nothing"]],
    ("failures", 1): [["two"]],
    ("failures", 4): [["nothing"], ["two", "--since", "nothing"]],
    ("show", 0): [[FIXED, "two"], [FINE, "green"], [FINE, "dead"], [FINE, "live"]],
    ("show", 1): [[BREAKS, "two"]],
    ("show", 4): [["nothing", "two"], ["test_", "two"], [BREAKS, "nothing"]],
    ("diff", 0): [["two", "two"]],
    ("diff", 1): [["one", "two"]],
    ("diff", 4): [["nothing", "two"], ["one", "nothing"]],
    ("slow", 0): [["two"]],
    ("slow", 4): [["nothing"]],
    ("flaky", 0): [[], ["--runs", "1"]],
    ("history", 0): [[FIXED]],
    ("history", 4): [["nothing"]],
    ("wait", 0): [["green"]],
    ("wait", 1): [["two"], ["dead", "--until", "first-failure"]],
    ("wait", 3): [["live", "--max", "0s"]],
    ("wait", 4): [["nothing", "--max", "0s"]],
    ("events", 0): [["two"], ["two", "--type", "nothing"]],
    ("events", 4): [["nothing"]],
    ("never-ran", 0): [["green"]],
    ("never-ran", 1): [["dead"], ["live"]],
    ("never-ran", 4): [["nothing"]],
    ("rerun", 0): [["green"]],
    ("rerun", 1): [["live"], ["two"]],
    ("rerun", 4): [["nothing"]],
    ("stacks", 1): [["two"], ["dead"]],
    ("stacks", 4): [["nothing"]],
    ("prune", 0): [["--older-than", "1d", "--dry-run"]],
    ("prune", 1): [["live"]],
    ("prune", 4): [["nothing"]],
    ("prune", 5): [["two"]],
    ("report", 0): [[run_id, "--format", "junit"] for run_id in ("green", "two", "dead", "live")],
    ("report", 1): [["green", "--format", "junit", "--output", "/nowhere/at all"]],
    ("report", 4): [["nothing", "--format", "junit"]],
    ("verify", 1): [["two"], ["--all"]],
    ("verify", 4): [["nothing"]],
}
"""What is asked without a daemon."""
STORED: Final[dict[tuple[str, int], list[list[str]]]] = {
    ("verify", 0): [["two"]],
    ("status", 4): [["nothing"]],
    ("show", 4): [["nothing", "two"]],
}
OF_THE_COMMAND: Final = {
    ("run", 0): ["true"],
    ("run", 7): ["sh", "-c", "exit 7"],
    ("run", 70): [*PYTEST, "test_leaves.py"],
    ("run", 127): ["/nowhere/at all"],
    ("run", 143): ["sh", "-c", "kill -TERM $$"],
    ("run", 137): ["sh", "-c", "kill -KILL $$"],
}
OTHERS: Final = {
    ("doctor", 0), ("doctor", 1),  # test_doctor.py
    ("stacks", 0), ("rerun", 7), ("threepiod start", 0), ("threepiod start", 2), ("threepiod start", 3),
    ("threepiod start", 5), ("threepiod stop", 0), ("threepiod stop", 3), ("threepiod stop", 5), ("threepiod restart", 0),
    ("threepiod restart", 3), ("threepiod restart", 5), ("threepiod status", 0), ("threepiod status", 5),
    ("threepiod config", 0), ("threepiod metrics", 0), ("threepiod metrics", 5), ("threepiod install", 0),
    ("threepiod install", 5), ("threepiod uninstall", 0), ("threepiod uninstall", 5),
    ("threepiod rebuild", 0), ("threepiod rebuild", 1), ("threepiod rebuild", 2),
}  # fmt: skip
"""Those with a test of their own below."""


def each(table: dict[tuple[str, int], list[list[str]]]) -> list[Any]:
    return [
        pytest.param(command, code, words, id=f"{code} {command} {' '.join(words)}".encode("unicode_escape").decode())
        for (command, code), questions in table.items()
        for words in questions
    ]


@pytest.mark.parametrize(("command", "code", "words"), each(ALONE))
def test_without_a_daemon(alone: Place, call: Call, command: str, code: int, words: list[str]) -> None:
    result = call(alone, command, *words)

    assert result.exit_code == code, result
    if code in (2, 4, 5):
        assert result.stdout == ""
        assert result.stderr.startswith("threepio: ")


@pytest.mark.parametrize(("command", "code", "words"), each(STORED))
def test_with_a_daemon(stored: Place, call: Call, command: str, code: int, words: list[str]) -> None:
    assert call(stored, command, *words).exit_code == code


BROKEN_STORES: Final = [b"", b"no store" * 1000, None]


@pytest.mark.parametrize("content", BROKEN_STORES, ids=["empty", "garbage", "cut"])
def test_a_store_that_cannot_be_read_changes_no_exit_code(place: Place, call: Call, content: bytes | None) -> None:
    write_runs(place)
    if content is None:
        place.start_daemon()
        place.stop_daemon()
        content = place.state_dir.store.read_bytes()[:5000]
    place.state_dir.store.write_bytes(content)

    for (command, code), questions in ALONE.items():
        for words in questions:
            result = call(place, command, *words)
            assert result.exit_code == code, (command, words, result)
            assert "Traceback" not in result.stderr


def commands() -> dict[str, Any]:
    apps: dict[str, Any] = {"threepio": get_command(threepio), "threepiod": get_command(threepiod)}
    return {
        (name if program == "threepio" else f"threepiod {name}"): command
        for program, app in apps.items()
        for name, command in app.commands.items()
    }


@pytest.mark.parametrize("command", commands())
def test_wrong_usage(alone: Place, call: Call, command: str) -> None:
    program, _, name = command.rpartition(" ")
    # What `rerun` does not know is pytest's, of the latest run here: there is none. `run` takes anything, but not nothing.
    words = [] if command == "run" else ["--wrong"]
    result = alone.threepiod(name, *words) if program else None
    code = result.returncode if result is not None else call(alone, name, *words).exit_code

    assert code == (4 if command == "rerun" else 2)


@pytest.mark.parametrize("command", [name for name in commands() if name not in ("threepiod status", "run", "doctor")])
def test_a_setting_that_cannot_be_used(alone: Place, call: Call, command: str) -> None:
    program, _, name = command.rpartition(" ")
    words = {"show": ["x"], "history": ["x"], "prune": ["two"], "report": ["--format", "junit"]}.get(name, [])
    if program:
        assert alone.threepiod(name, *words, THREEPIO_SYNC="soon").returncode == 2
    else:
        assert call(alone, name, *words, THREEPIO_SYNC="soon").exit_code == 2


@pytest.mark.parametrize(("command", "code"), OF_THE_COMMAND)
def test_of_the_command(stored: Place, command: str, code: int) -> None:
    stored.suite("import os\ndef test_leaves(): os._exit(0)", "test_leaves.py")
    words = [*stored.python, *OF_THE_COMMAND[command, code][1:]] if code == 70 else OF_THE_COMMAND[command, code]

    assert stored.threepio(command, "--", *words).returncode == code


def test_rerun_ends_as_its_command_does(stored: Place) -> None:
    stored.suite("def test_bad(): assert 0", "test_bad.py")
    ends = "def pytest_sessionfinish(session):\n    session.exitstatus = 7 if session.testsfailed else 0"
    stored.suite(ends, "ends.py")
    stored.pytest("-q", "-p", "ends", "test_bad.py", THREEPIO_RUN_ID="mine")

    assert stored.threepio("rerun", "mine").returncode == 7


def test_stacks_of_what_runs(stored: Place) -> None:
    stored.suite(
        "import os, time\ndef test_waits():\n    while not os.path.exists('go on'): time.sleep(0.01)", "test_w.py"
    )
    suite = stored.start_pytest("-q", "test_w.py", THREEPIO_RUN_ID="waits", THREEPIO_STACKS="1")
    wait_until(lambda: '"nodeid": "test_w.py::test_waits"' in stored.threepio("status", "waits", "--json").stdout)
    done = stored.threepio("stacks", "waits")
    (stored.path / "go on").touch()
    suite.communicate()

    assert done.returncode == 0


def test_a_run_that_cannot_be_removed(stored: Place) -> None:
    with stored.state_dir.journal("two").open("ab") as file:
        file.write(b"no line of this run\n")

    done = stored.threepio("prune", "two")

    assert (done.returncode, done.stdout) == (1, "")
    assert "not all of the journal of run two is stored" in done.stderr


def test_the_daemons_own(place: Place) -> None:
    def code(*words: str, **environ: str) -> int:
        return place.threepiod(*words, **environ).returncode

    write_journal(place.state_dir, "run", run_lines("run", 1))
    (place.path / "file").touch()
    assert (code("status"), code("stop"), code("metrics")) == (5, 5, 5)
    no_manager = {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere", "XDG_RUNTIME_DIR": "/nowhere"}
    assert (code("install", **no_manager), code("install", "--now", **no_manager)) == (0, 5)
    assert code("uninstall", **no_manager) == 0
    assert code("start", THREEPIO_STATE_DIR=str(place.path / "file")) == 2
    assert code("config") == 0
    assert (code("start"), code("start"), code("status"), code("metrics"), code("rebuild")) == (0, 0, 0, 0, 2)
    assert (code("restart"), code("stop"), code("rebuild")) == (0, 0, 0)
    place.state_dir.store.write_bytes(b"no store" * 1000)
    assert code("rebuild") == 1
    with stranger(place.settings.socket, b"HTTP/1.1 400 Bad Request\r\n\r\n"):
        assert (code("start"), code("restart")) == (5, 5)


@pytest.mark.parametrize("command", ["stop", "restart"])
def test_a_daemon_that_does_not_end_in_time(place: Place, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    place.start_daemon()
    monkeypatch.setattr(control, "STOP_TIMEOUT_S", 0.0)

    result = runner().invoke(threepiod, [command], env=place.environ)

    assert result.exit_code == 3
    assert "did not stop within" in result.stderr


def test_a_daemon_that_is_not_ready_in_time(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "START_TIMEOUT_S", 0.0)
    monkeypatch.setattr(control, "_END_TIMEOUT_S", 0.0)

    result = runner().invoke(threepiod, ["start"], env=place.environ)

    assert result.exit_code == 3
    assert "was not ready within 0 s" in result.stderr


def test_the_table_of_exit_codes_is_what_was_obtained() -> None:
    text = DOCUMENT.read_text().split("| command | 0 |", 1)[1].split("\n\n", 1)[0]
    header = ["0", *re.findall(r"\d+", text.splitlines()[0])]
    documented = set()
    for line in text.splitlines()[2:]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        command = name.strip("`").removeprefix("threepio ")
        documented |= {(command, int(code)) for code, cell in zip(header, cells, strict=True) if cell}

    obtained = {*ALONE, *STORED, *OF_THE_COMMAND, *OTHERS}
    assert documented == {(command, code) for command, code in obtained if code in (0, 1, 3, 4, 5)}
    assert {command for command, _ in documented} == set(commands())
