"""Row 21: an old daemon with a new adapter and the reverse, from bytes that were recorded (`tests/faults/handshakes/`)."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.faults.peers import RawClient, differences, emitters, stored_seq
from tests.faults.row import NotHere, Result, Scale
from tests.place import Place, wait_until
from tests.scripted import made_state_dir
from threepio_client.archive import Archive
from threepio_client.errors import NoDaemon, Refused
from threepio_client.protocol import Role
from threepio_client.query import QueryClient

FAULT = "old daemon with new adapter and the reverse"
PASSES_WHEN = "clean refusal or agreed version; files untouched"

RECORDED: Final = Path(__file__).parents[1] / "handshakes"
PLACE: Final = b"/recorded/" + b"p" * 86 + b"/state"
"""The state directory in the recordings; one of the same length stands in for it, so that no length in them changes."""
WELCOME: Final = 2
REFUSE: Final = 3
BYE_ACK: Final = 7
REPLY: Final = 9

TO_DAEMON: Final = {
    "adapter-1.bin": ("adapter", BYE_ACK, 5 + 1),
    "adapter-1-and-2.bin": ("adapter", WELCOME, 1),
    "adapter-2.bin": ("adapter", REFUSE, "no-common-version"),
    "query-1.bin": ("query", REPLY, 1),
    "query-2.bin": ("query", REFUSE, "no-common-version"),
}
"""Recording -> role, and the type and first field of the daemon's last message."""
TO_ADAPTER: Final = {
    "daemon-1.bin": True,
    "daemon-1-more.bin": True,
    "daemon-2-refuses.bin": False,
    "daemon-2.bin": False,
    "daemon-0.bin": False,
}
"""Recording -> whether the adapter goes on with it."""


def run(scale: Scale, seed: int, place: Place) -> Result:
    failures: list[str] = []
    if len(str(place.path)) + len("/p/state") > len(PLACE):
        raise NotHere("needs a shorter temporary directory")
    directory = place.path / ("p" * (len(PLACE) - len(str(place.path)) - len("/state") - 1)) / "state"
    place.environ["THREEPIO_STATE_DIR"] = str(directory)
    for name, answer in TO_DAEMON.items():
        failures += [f"{name}: {text}" for text in _say_to_daemon(place, name, *answer)]
    place.stop_daemon()
    for name, is_agreed in TO_ADAPTER.items():
        failures += [f"{name}: {text}" for text in _say_to_adapter(place, name, is_agreed)]
        failures += [f"{name}: {text}" for text in _say_to_command(place, name, is_agreed)]
    return Result(
        figures=f"{len(TO_DAEMON)} recordings said to the daemon, {len(TO_ADAPTER)} to adapter and command: each agreed on "
        "version 1 or was refused by a code; journals and store as they were",
        failures=tuple(f"seed {seed}: {text}" for text in failures),
    )


def _recorded(place: Place, name: str) -> bytes:
    here = str(place.settings.state_dir).encode()
    assert len(here) == len(PLACE)
    return (RECORDED / name).read_bytes().replace(PLACE, here)


def _say_to_daemon(place: Place, name: str, role: str, last: int, field: Any) -> Iterator[str]:
    """Say a recording to a daemon that has stored the run already or not; what a refused one says changes no file."""
    state_dir = made_state_dir(place.settings.state_dir)
    if name == "adapter-1.bin":
        state_dir.journal("recorded").write_bytes((RECORDED / "adapter-1.jsonl").read_bytes())
        place.start_daemon()
    before = _hashes(place)
    client = RawClient(place.settings.socket, Role(role))
    client.sock.sendall(_recorded(place, name))
    if last not in (REFUSE, BYE_ACK):
        client.sock.shutdown(socket.SHUT_WR)
    word = client.last_word()
    client.close()
    if word[:2] != [last, field]:
        yield f"the daemon's last word was {word[:3]}"
    if _hashes(place) != before:
        yield "a journal was changed"
    if name == "adapter-1.bin":
        wait_until(lambda: stored_seq(place, "recorded") == 6)
    if len(Archive(state_dir).stored_lines("recorded")) != 6:
        yield "the run is not stored whole any more"


def _say_to_adapter(place: Place, name: str, is_agreed: bool) -> Iterator[str]:
    """Have an adapter meet a daemon of another version: it goes on, or keeps to its journal."""
    with _daemon_of(place, name) as heard, emitters(place, 1) as (emitter,):
        stats = emitter.do(emit=20)
        if stats["connected"] != is_agreed:
            yield f"the adapter is {'not ' if is_agreed else ''}connected"
        complaints = emitter.do(close=0)["complaints"]
        if not is_agreed and not any("version" in text or "protocol" in text for text in complaints):
            yield f"nobody is told why: {complaints}"
        if not is_agreed and any(b"testCase" in data for data in heard):
            yield "events were sent to a daemon that nothing was agreed with"
        # Nothing is stored here: only the journal is looked at.
        yield from (text for text in differences(place, emitter.run_id, 20) if "are not stored" not in text)


def _say_to_command(place: Place, name: str, is_agreed: bool) -> Iterator[str]:
    with _daemon_of(place, name):
        try:
            QueryClient.connect(place.settings.socket, 2.0).close()
            if not is_agreed:
                yield "a command took it for a daemon that it can talk to"
        except (NoDaemon, Refused) as error:
            if is_agreed:
                yield f"a command refused it: {error}"


@contextmanager
def _daemon_of(place: Place, name: str) -> Iterator[list[bytes]]:
    """Listen as a daemon that answers every connection with a recording; the value is what it hears."""
    heard: list[bytes] = []
    path = place.settings.socket
    path.unlink(missing_ok=True)
    data = _recorded(place, name)

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            heard.append(client.recv(1 << 16))
            client.sendall(data)
            if "refuses" in name:
                return
            while piece := client.recv(1 << 16):
                heard.append(piece)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield heard
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink()


def _hashes(place: Place) -> dict[str, str]:
    """Return the content of each journal."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(place.state_dir.journals.glob("*.jsonl"))
    }
