"""`threepio doctor` on broken installations: each is named, with its cure, and nothing else is."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.commands import Call
from tests.fake_daemon import FakeDaemon
from tests.installation import Installation
from tests.place import Place
from tests.test_bad_input import stranger
from threepio_client import __version__, doctor
from threepio_client.doctor import daemon, places

CHECKS: Final = [
    "config", "state", "disk", "sandbox", "runtime", "socket", "daemon", "plugin", "loading", "versions", "copies",
]  # fmt: skip
NO_UNIX_SOCKETS: Final = Path(__file__).parents[1] / "suites" / "no_unix_sockets.py"


class Broken(Installation):
    """An installation that a test breaks; what is opened for it is closed at the test's end."""

    def __init__(self, place: Place, patch: pytest.MonkeyPatch, stack: ExitStack) -> None:
        super().__init__(place)
        self.patch = patch
        self.stack = stack

    @property
    def socket(self) -> Path:
        return self.place.settings.socket

    def set(self, name: str, value: str) -> None:
        self.place.environ[name] = value


@pytest.fixture
def broken(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broken]:
    monkeypatch.chdir(place.path)
    monkeypatch.setattr(daemon, "PATIENCE_S", 0.1)
    environ = dict(place.environ)
    with ExitStack() as stack:
        yield Broken(place, monkeypatch, stack)
    place.environ = environ


def ask(broken: Broken, call: Call) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit code and what was found."""
    done = call(broken.place, "doctor", "--json", "--python", str(broken.python))
    answer = json.loads(done.stdout)
    assert answer["ok"] == (done.exit_code == 0)
    return done.exit_code, answer["checks"]


def test_where_nothing_is_wrong_each_check_has_a_line(broken: Broken, call: Call) -> None:
    before = sorted(broken.place.path.rglob("*"))

    done = call(broken.place, "doctor", "--python", str(broken.python))

    assert (done.exit_code, done.stderr) == (0, "")
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert [(label, check) for label, check, _ in lines] == [("ok", check) for check in CHECKS]
    assert sorted(broken.place.path.rglob("*")) == before


def sandbox(broken: Broken) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    broken.patch.setattr(socket, "socket", forbidden)


def stale_socket(broken: Broken) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(broken.socket))
    broken.socket.chmod(0o600)


def listening(answer: bytes | None) -> Callable[[Broken], None]:
    def listen(broken: Broken) -> None:
        broken.stack.enter_context(stranger(broken.socket, answer))
        broken.socket.chmod(0o600)

    return listen


def refusing(broken: Broken) -> None:
    fake = broken.stack.enter_context(FakeDaemon(broken.socket))
    broken.socket.chmod(0o600)
    fake.refusal = ("version", "it speaks version 9")


def another_owner(broken: Broken) -> None:
    stale_socket(broken)
    uid = os.getuid()
    broken.patch.setattr(os, "getuid", lambda: uid + 1)


def linked_state(broken: Broken) -> None:
    (broken.place.path / "link").symlink_to("state")
    broken.set("THREEPIO_STATE_DIR", str(broken.place.path / "link"))


def failing_disk(number: int) -> Callable[[Broken], None]:
    def fails(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    return lambda broken: broken.patch.setattr(os, "fdatasync", fails)


def full_disk(broken: Broken) -> None:
    class Room:
        f_bavail, f_frsize, f_files, f_favail, f_flag = 100, 2**20, 0, 0, 0

    broken.patch.setattr(os, "statvfs", lambda _: Room)


def slow_disk(broken: Broken) -> None:
    broken.patch.setattr(places, "SLOW_SYNC_S", 0.0)


def no_entry_point(broken: Broken) -> None:
    broken.remove("threepiod")
    broken.package("threepiod", __version__)


def older_plugin(broken: Broken) -> None:
    broken.remove("threepiod")
    broken.package("threepiod", "0.0.9", plugin=True)


def second_copy(broken: Broken) -> None:
    hidden = broken.place.path / "user site"
    broken.package("threepiod", "0.0.8", hidden, plugin=True)
    broken.interpreter([3, 11], [broken.site, hidden])


def command_of_another(broken: Broken) -> None:
    broken.package("threepiod", "0.0.7", broken.command("threepiod", "pipx"))


def command_without_extra(broken: Broken) -> None:
    broken.package("threepiod", __version__, broken.command("threepio", "plain"))


def ini(name: str, text: str) -> Callable[[Broken], None]:
    def write(broken: Broken) -> None:
        (broken.place.path / name).write_text(text)

    return write


def variable(name: str, value: str) -> Callable[[Broken], None]:
    return lambda broken: broken.set(name, value)


Case = tuple[Callable[[Broken], object], str, str, str]
INSTALLATIONS: Final[dict[str, Case]] = {
    # how it is broken, which check says so, what is wrong, what to do
    "broken file": (lambda it: it.place.configure("sync ="), "config", "is no TOML", "correct it or remove it"),
    "bad variable": (
        variable("THREEPIO_SYNC", "soon"),
        "config", "THREEPIO_SYNC='soon': must be one of", "correct it",
    ),
    "misspelt variable": (
        variable("THREEPIO_STATEDIR", "/x"),
        "config", "THREEPIO_STATEDIR is no", "call it THREEPIO_STATE_DIR",
    ),
    "open state directory": (
        lambda it: it.place.state_dir.path.chmod(0o777),
        "state", "mode 0777: others may write", "chmod 700 ",
    ),
    "readable journals": (
        lambda it: it.place.state_dir.journals.chmod(0o755),
        "state", "others may look", "chmod 700 ",
    ),
    "linked state directory": (linked_state, "state", "is a link", "set state_dir (THREEPIO_STATE_DIR) to "),
    "file for a directory": (
        variable("THREEPIO_STATE_DIR", __file__),
        "state", "is no directory", "to another directory",
    ),
    "open runtime directory": (lambda it: it.place.path.chmod(0o720), "runtime", "others may write", "chmod 700 "),
    "failing disk": (failing_disk(errno.EIO), "disk", "cannot be written and synced: Input/output", "kernel's log"),
    "no space": (failing_disk(errno.ENOSPC), "disk", "No space left", "free space, or set state_dir"),
    "read-only": (failing_disk(errno.EROFS), "disk", "Read-only file system", "mount it for writing"),
    "nearly full": (full_disk, "disk", "100 MiB are free", "threepio prune"),
    "slow disk": (slow_disk, "disk", "a sync at ", 'sync = "exit"'),
    "disk of another machine": (
        lambda it: it.patch.setattr(places, "_file_system", lambda _: "nfs4"),
        "disk", "is on nfs4", "a disk of this machine",
    ),
    "sandbox": (sandbox, "sandbox", "no Unix socket can be made here (Operation not permitted)", "allow AF_UNIX"),
    "long path": (
        variable("THREEPIO_SOCKET", "/tmp/" + "s" * 110),
        "socket", "115 bytes, the system allows 107", "set THREEPIO_SOCKET to a shorter",
    ),
    "linked socket": (lambda it: it.socket.symlink_to("elsewhere"), "socket", "is a link, not a socket", "remove it"),
    "file for a socket": (lambda it: it.socket.touch(), "socket", "is a file, not a socket", "remove it"),
    "stale socket": (stale_socket, "daemon", "nobody listens there", "threepiod start"),
    "another program": (
        listening(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "daemon", "not threepiod", "stop what listens there",
    ),
    "daemon hangs": (listening(None), "daemon", "does not answer within", "threepiod restart; if that"),
    "newer daemon": (refusing, "daemon", "it speaks version 9", "run one version everywhere"),
    "no daemon, and required": (
        variable("THREEPIO", "require"),
        "daemon", "THREEPIO=require keeps", "threepiod start",
    ),
    "no interpreter": (lambda it: it.python.unlink(), "plugin", "cannot be asked: No such file", "--python"),
    "old Python": (
        lambda it: it.interpreter([3, 9], [it.site]),
        "plugin", "is Python 3.9, the plugin needs 3.11", "newer Python",
    ),
    "no pytest": (
        lambda it: it.remove("pytest"),
        "plugin", "no pytest in the environment", "-m pip install threepiod pytest",
    ),
    "no plugin": (
        lambda it: it.remove("threepiod"),
        "plugin", "threepiod is not installed there", "env/bin/python -m pip install threepiod",
    ),
    "no entry point": (no_entry_point, "plugin", "no entry point pytest11", "--force-reinstall threepiod"),
    "half installed": (lambda it: it.remove("msgpack"), "plugin", "lacks msgpack", "-m pip install msgpack"),
    "switched off": (variable("THREEPIO", "Off"), "loading", "THREEPIO=Off switches", "unset THREEPIO"),
    "off in the file": (
        lambda it: it.place.configure("mode = 'off'"),
        "loading", "in the configuration file switches", "set THREEPIO=auto",
    ),
    "off by ini": (
        ini("pytest.ini", "[pytest]\nthreepio = off"),
        "loading", "threepio = off in /", "remove it there",
    ),
    "kept out": (
        variable("PYTEST_ADDOPTS", "-q -p no:threepio"),
        "loading", "-p no:threepio in PYTEST_ADDOPTS", "remove it there",
    ),
    "kept out by ini": (
        ini("pyproject.toml", "[tool.pytest.ini_options]\naddopts = ['-pno:threepio']"),
        "loading", "-p no:threepio in addopts of", "remove it",
    ),
    "no autoload": (
        variable("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1"),
        "loading", "PYTEST_DISABLE_PLUGIN_AUTOLOAD keeps", "-p threepio",
    ),
    "older plugin": (
        older_plugin,
        "versions", "the plugin 0.0.9", f"install threepiod {__version__} where the tests run",
    ),
    "two copies": (second_copy, "copies", "which hides 0.0.8 in /", "pip uninstall threepiod, until one is left"),
    "another one on PATH": (
        command_of_another,
        "copies", "first on PATH is /", "pip install --upgrade threepiod",
    ),
    "one without its extra": (command_without_extra, "copies", "without threepiod[daemon]", "first on PATH, or call /"),
}  # fmt: skip


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_a_broken_installation_is_named_with_its_cure(broken: Broken, call: Call, name: str) -> None:
    breaks, check, text, cure = INSTALLATIONS[name]
    breaks(broken)

    code, findings = ask(broken, call)

    assert code == 1
    (found,) = (one for one in findings if one["state"] == "problem")
    assert found["check"] == check
    assert text in found["text"]
    assert cure in found["cure"]
    assert not list(broken.place.path.rglob("*.probe"))


def test_the_text_has_a_line_for_each_problem_with_its_cure(broken: Broken, call: Call) -> None:
    second_copy(broken)
    broken.place.configure("sync = 'soon'\nblock_mss = 1")

    done = call(broken.place, "doctor", "--python", str(broken.python))

    assert done.exit_code == 1
    problems = [line for line in done.stdout.splitlines() if line.startswith("PROBLEM  ")]
    assert [line.split()[1] for line in problems] == ["config", "config", "copies"]
    assert all(". Do: " in line for line in problems)


def test_places_of_another_user(broken: Broken, call: Call) -> None:
    another_owner(broken)

    problems = [one for one in ask(broken, call)[1] if one["state"] == "problem"]

    assert [one["check"] for one in problems][:3] == ["state", "runtime", "socket"]
    assert all(f"not to you (uid {os.getuid()})" in one["text"] for one in problems[:3])
    assert f"chown -R {os.getuid()} {broken.place.state_dir.path}" in problems[0]["cure"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a file of somebody else")
def test_what_sudo_left_in_the_state_directory(broken: Broken, call: Call) -> None:
    left = broken.place.state_dir.journal("run")
    left.touch()
    os.chown(left, 65534, 65534)

    (found,) = (one for one in ask(broken, call)[1] if one["state"] == "problem")

    assert f"{left} of the state directory belongs to uid 65534" in found["text"]
    assert "sudo" in found["cure"]


def test_a_state_directory_that_nobody_may_make(broken: Broken, call: Call) -> None:
    broken.set("THREEPIO_STATE_DIR", f"{__file__}/state")
    (found,) = (one for one in ask(broken, call)[1] if one["state"] == "problem")
    assert (found["check"], "Not a directory" in found["text"]) == ("state", True)

    broken.set("THREEPIO_STATE_DIR", "/proc/none/state")
    *_, found = (one for one in ask(broken, call)[1] if one["state"] == "problem")
    assert found["check"] == "disk"
    assert "cannot be written and synced" in found["text"]


def test_an_installation_that_is_not_there_yet_is_fine(broken: Broken, call: Call) -> None:
    broken.set("THREEPIO_STATE_DIR", str(broken.place.path / "new" / "state"))

    code, findings = ask(broken, call)

    assert code == 0
    assert "is not there yet, and can be made" in next(one["text"] for one in findings if one["check"] == "state")
    assert not (broken.place.path / "new").exists()


def test_a_running_daemon(broken: Broken, call: Call) -> None:
    pid = broken.place.start_daemon()
    code, findings = ask(broken, call)
    assert code == 0
    told = {one["check"]: one["text"] for one in findings}
    assert told["daemon"] == f"answers: pid {pid}, 0 runs active"
    assert told["versions"] == f"threepio is {__version__}, the daemon {__version__}, the plugin {__version__}"

    broken.patch.setattr(doctor, "__version__", "0.2.0")
    (found,) = (one for one in ask(broken, call)[1] if one["state"] == "problem")
    assert (found["check"], found["text"][:17]) == ("versions", "threepio is 0.2.0")
    assert found["cure"].startswith("threepiod restart; install threepiod 0.2.0")
    broken.patch.setattr(doctor, "__version__", __version__)

    listens = broken.place.environ["THREEPIO_SOCKET"]
    broken.set("THREEPIO_SOCKET", str(broken.place.path / "another"))
    (found,) = (one for one in ask(broken, call)[1] if one["state"] == "problem")
    assert f"threepiod (pid {pid}) keeps " in found["text"]
    assert found["cure"].startswith(f"kill {pid} ")
    broken.set("THREEPIO_SOCKET", listens)

    other = broken.place.path / "other"
    other.mkdir(mode=0o700)
    broken.set("THREEPIO_STATE_DIR", str(other))
    (found,) = (one for one in ask(broken, call)[1] if one["state"] == "problem")
    assert (found["check"], found["cure"][:17]) == ("daemon", "threepiod restart")
    assert f"keeps {broken.place.path / 'state'}, and {other} is asked for" in found["text"]


def test_a_real_sandbox_without_unix_sockets(broken: Broken) -> None:
    stale_socket(broken)
    command = [sys.executable, str(NO_UNIX_SOCKETS), sys.executable, "-m", "threepio_client.cli", "doctor", "--json"]
    environ = {**broken.place.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}

    done = subprocess.run(
        [*command, "--python", str(broken.python)],
        env=environ,
        cwd=broken.place.path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1, done.stderr
    states = {one["check"]: one["state"] for one in json.loads(done.stdout)["checks"]}
    assert [check for check, state in states.items() if state == "problem"] == ["sandbox"]
    assert states["daemon"] == "unknown"
