"""Row 19: another user of the machine reads nothing and brings nothing in, as a client or as a daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from tests.faults.peers import emitters, stored_seq
from tests.faults.row import NotHere, Result, Scale
from tests.place import Place, wait_until
from tests.scripted import gone
from threepio_client.errors import NoDaemon
from threepio_client.events import EventType
from threepio_client.line import encode
from threepio_client.protocol import VERSION, Hello, Welcome, to_frame
from threepio_client.query import QueryClient

FAULT = "another user: connect, read, symlink, directory made first"
PASSES_WHEN = "0 successes, both for a hostile client and a hostile daemon"

OTHER: Final = 65534
AS_OTHER: Final = ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups")

CONNECT: Final = """
import socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(5)
sock.connect(sys.argv[1])
sock.sendall(bytes.fromhex(sys.argv[2]))
sys.exit(0 if sock.recv(1) else 1)
"""
READ: Final = """
import os, sys
for directory, _, names in os.walk(sys.argv[1]):
    for name in names:
        try:
            if open(os.path.join(directory, name), "rb").read(1):
                sys.exit(0)
        except OSError:
            pass
sys.exit(1)
"""
LISTEN: Final = """
import socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
import os
os.chmod(sys.argv[1], 0o666)
sock.listen()
print("listening", flush=True)
while True:
    client = sock.accept()[0]
    client.settimeout(2)
    try:
        client.sendall(bytes.fromhex(sys.argv[2]))
        got = client.recv(1 << 16)
    except OSError:
        got = b""
    print("heard" if got else "nothing", flush=True)
"""


def run(scale: Scale, seed: int, place: Place) -> Result:
    if os.getuid() or shutil.which("setpriv") is None:
        raise NotHere("needs root and setpriv")
    place.path.chmod(0o755)
    if not _pythons():
        raise NotHere(f"needs a Python that uid {OTHER} can run")
    tried = 0
    failures: list[str] = []
    for attempt in (_hostile_client, _hostile_daemon, _hostile_state_dir, _hostile_runtime_dir):
        count, found = attempt(place)
        tried += count
        failures += found
    return Result(
        figures=f"{tried} attempts of uid {OTHER}: {len(failures)} successes",
        failures=tuple(f"seed {seed}: {text}" for text in failures),
    )


@cache
def _pythons() -> list[str]:
    """Return the interpreters that the other user can run: ours may lie in a private directory."""
    found = [sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"]
    return [
        path
        for path in found
        if not subprocess.run([*AS_OTHER, path, "-c", ""], capture_output=True, check=False).returncode
    ]


def _as_other(script: str, *arguments: str) -> int:
    """Run a script as the other user; return its exit code, 0 for success."""
    done = subprocess.run(
        [*AS_OTHER, _pythons()[0], "-I", "-S", "-c", script, *arguments], capture_output=True, check=False
    )
    return done.returncode


Found = tuple[int, list[str]]
"""Attempts made, and those that succeeded."""


def _hostile_client(place: Place) -> Found:
    """Connect and read: as everything is made, and with every directory and the socket left open by mistake."""
    place.start_daemon()
    directories = (place.state_dir.path, place.state_dir.journals, place.state_dir.logs)
    failures = []
    with emitters(place, 1) as (emitter,):
        emitter.do(emit=10)
        hello = to_frame(Hello(versions=[VERSION], role="query", run={}, place="")).hex()
        for is_open in (False, True):
            how = " though left open" if is_open else ""
            if is_open:
                place.settings.socket.chmod(0o666)
                for path in directories:
                    path.chmod(0o777)
            if not _as_other(CONNECT, str(place.settings.socket), hello):
                failures.append(f"the daemon answered another user{how}")
            if not _as_other(READ, str(place.state_dir.path)):
                failures.append(f"another user read a file of the state directory{how}")
        planted = place.state_dir.journals / "planted.jsonl"
        done = _as_other(PLANT, str(planted), _hostile_line())
        later = emitter.do(close=0)
        wait_until(lambda: stored_seq(place, emitter.run_id) >= 12)
        for path in directories:
            path.chmod(0o700)
        with emitters(place, 1) as (second,):  # its journal is found in the same look at the directory
            second.do(close=0)
            wait_until(lambda: stored_seq(place, second.run_id) >= 2)
        if done == 0 and stored_seq(place, "planted"):
            failures.append("a journal that another user made was stored")
        assert later["stored"]
    place.stop_daemon()
    planted.unlink(missing_ok=True)
    return 5, failures


PLANT: Final = """
import sys
with open(sys.argv[1], "xb") as file:
    file.write(bytes.fromhex(sys.argv[2]))
"""


def _hostile_line() -> str:
    start = {"schemaVersion": 1, "runId": "planted", "producerId": "hostile", "process": gone().to_payload()}
    return encode(1, EventType.RUN_START, start, 1.0).hex()


def _hostile_daemon(place: Place) -> Found:
    """Listen where the adapter and the commands look, and welcome them at once."""
    failures = []
    with _open_directory() as directory:
        path = directory / "socket"
        welcome = to_frame(Welcome(version=VERSION, cursor=0, window=0)).hex()
        listener = subprocess.Popen(
            [*AS_OTHER, _pythons()[0], "-I", "-S", "-c", LISTEN, str(path), welcome], stdout=subprocess.PIPE, text=True
        )
        try:
            assert listener.stdout is not None
            assert listener.stdout.readline() == "listening\n"
            with emitters(place, 1, THREEPIO_SOCKET=str(path)) as (emitter,):
                if emitter.hello["connected"]:
                    failures.append("the adapter connected to another user's daemon")
                emitter.do(emit=10)
                emitter.do(close=0)
            if listener.stdout.readline() != "nothing\n":
                failures.append("the adapter told another user's daemon something")
            try:
                QueryClient.connect(path).close()
                failures.append("a command connected to another user's daemon")
            except NoDaemon:
                pass
            if listener.stdout.readline() != "nothing\n":
                failures.append("a command told another user's daemon something")
            if _daemon_starts(place, THREEPIO_SOCKET=str(path)):
                failures.append("a daemon started over another user's socket")
        finally:
            listener.kill()
            listener.communicate()
    return 5, failures


def _hostile_state_dir(place: Place) -> Found:
    """Make the state directory first, or a link in its place, or keep it open for others."""
    failures = []
    for how in ("mkdir", "link", "open"):
        with _open_directory() as directory:
            target, path = directory / "theirs", directory / "state"
            if how == "open":
                path.mkdir()
                path.chmod(0o777)
            else:
                _as_other(MAKE, how, str(path), str(target))
            environ = {"THREEPIO_STATE_DIR": str(path)}
            if _adapter_starts(place, **environ):
                failures.append(f"the adapter wrote into a directory of another user ({how})")
            if _daemon_starts(place, **environ):
                failures.append(f"the daemon used a directory of another user ({how})")
    return 6, failures


MAKE: Final = """
import os, sys
how, path, target = sys.argv[1:]
os.mkdir(path if how == "mkdir" else target, 0o777)
if how == "link":
    os.symlink(target, path)
"""


def _hostile_runtime_dir(place: Place) -> Found:
    """The same with the directory of the socket."""
    failures = []
    for how in ("mkdir", "link", "open"):
        with _open_directory() as directory:
            target, path = directory / "theirs", directory / "run"
            if how == "open":
                path.mkdir()
                path.chmod(0o777)
            else:
                _as_other(MAKE, how, str(path), str(target))
            if _daemon_starts(place, THREEPIO_SOCKET=str(path / "socket")):
                failures.append(f"the daemon made its socket in a directory of another user ({how})")
    return 3, failures


@contextmanager
def _open_directory() -> Iterator[Path]:
    """Give a directory in which everybody may make files, as in /tmp without its sticky bit."""
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    path.chmod(0o777)
    try:
        yield path
    finally:
        shutil.rmtree(path)


def _daemon_starts(place: Place, **environ: str) -> bool:
    """Return whether a daemon starts; end it if it does."""
    daemon = subprocess.Popen(
        [sys.executable, "-P", "-m", "threepiod.lifecycle"],
        env={**place.environ, **environ},
        cwd=place.path,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert daemon.stderr is not None
        return "ready: pid" in daemon.stderr.readline()  # else it says in a line why it does not start
    finally:
        daemon.kill()
        daemon.communicate()


def _adapter_starts(place: Place, **environ: str) -> bool:
    """Return whether an adapter begins a run."""
    try:
        with emitters(place, 1, **environ):
            return True
    except ValueError:  # it ended without an answer
        return False
