"""The now page: what is written can be read at any moment, by anyone, also after a kill; half a slot is never believed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from threepio_client import nowpage
from threepio_client.events import Phase
from threepio_client.line import plain_text
from threepio_client.nowpage import SLOTS, TEXT_LIMIT, End, InFlight, NowPage, read, tell_end


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.now"


@pytest.fixture
def page(path: Path) -> Iterator[NowPage]:
    made = NowPage(path, 0, "gw0", create=True)
    yield made
    made.close()


def only(path: Path) -> InFlight:
    """Return the one slot that is in use."""
    (slot,) = read(path).slots
    return slot


def test_what_is_in_flight_is_read_back(page: NowPage, path: Path) -> None:
    assert read(path) == (0, [], True, End.TO_COME)

    page.set_seq(41)
    page.set("test_it.py::test_one", Phase.SETUP, 1700000000.5)
    page.set_seq(42)

    seq, (slot,), *_ = read(path)
    assert seq == 42
    assert slot == InFlight(
        text="test_it.py::test_one",
        is_test=True,
        phase=Phase.SETUP,
        since=1700000000.5,
        seq=41,
        worker="gw0",
        whole=True,
    )


def test_a_next_phase_keeps_the_rest(page: NowPage, path: Path) -> None:
    page.set("test_it.py::test_one", Phase.SETUP, 1.0)
    page.set_seq(7)

    page.set_phase(Phase.CALL, 2.0)

    slot = only(path)
    assert (slot.text, slot.worker, slot.is_test) == ("test_it.py::test_one", "gw0", True)
    assert (slot.phase, slot.since, slot.seq) == (Phase.CALL, 2.0, 0)


def test_a_test_that_begins_anew_is_in_its_setup(page: NowPage, path: Path) -> None:
    page.set("test_it.py::test_one", Phase.SETUP, 1.0)
    page.set_phase(Phase.CALL, 2.0)
    page.set_phase(Phase.TEARDOWN, 3.0)
    assert (only(path).phase, only(path).since) == (Phase.TEARDOWN, 3.0)

    page.set_phase(Phase.SETUP, 4.0)

    slot = only(path)
    assert (slot.text, slot.is_test, slot.phase, slot.since) == ("test_it.py::test_one", True, Phase.SETUP, 4.0)


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_is_known(page: NowPage, path: Path, phase: Phase) -> None:
    page.set("", phase, 1.0, is_test=False)

    assert only(path).phase is phase
    assert not only(path).is_test


def test_a_cleared_slot_is_empty(page: NowPage, path: Path) -> None:
    page.set("test_it.py::test_one", Phase.CALL, 1.0)
    page.clear()

    assert read(path)[1] == []


@examples(max_examples=25, deadline=None)
@given(text=st.text(st.characters(exclude_categories=()), max_size=40).map(lambda text: text * 40), worker=st.text())
@example(text="x" * TEXT_LIMIT, worker="")
@example(text="x" * (TEXT_LIMIT + 1), worker="w" * 40)
@example(text="é" * TEXT_LIMIT, worker="")
@example(text="a\0b\0", worker="")
@example(text="x" * 100_000, worker="")
def test_any_text_is_kept_as_far_as_it_fits(text: str, worker: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("page") / "run.now"
    page = NowPage(path, 3, worker, create=True)
    other = NowPage(path, 4, create=False)
    other.set("neighbour", Phase.CALL, 1.0)
    page.set("before " * 100, Phase.SETUP, 0.5)

    page.set(text, Phase.CALL, 1.0)

    slot, neighbour = read(path)[1]
    kept = plain_text(text)
    assert slot.whole == (len(kept.encode()) <= TEXT_LIMIT)
    assert kept.startswith(slot.text)
    assert slot.text == kept or len(slot.text.encode()) > TEXT_LIMIT - 4
    assert neighbour.text == "neighbour"
    page.close()
    other.close()


def test_each_worker_has_a_slot_of_its_own(page: NowPage, path: Path) -> None:
    workers = [NowPage(path, slot, f"gw{slot - 1}", create=False) for slot in range(1, SLOTS)]
    for number, worker in enumerate(workers):
        worker.set(f"test {number}", Phase.CALL, float(number))

    assert [slot.text for slot in read(path)[1]] == [f"test {number}" for number in range(SLOTS - 1)]
    workers[3].clear()
    assert "test 3" not in [slot.text for slot in read(path)[1]]
    for worker in workers:
        worker.close()


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_there_are_no_further_slots(page: NowPage, path: Path, slot: int) -> None:
    with pytest.raises(OSError, match=f"no slot {slot}"):
        NowPage(path, slot, create=False)


def test_the_file_is_private_and_new(path: Path) -> None:
    old = os.umask(0)
    try:
        NowPage(path, 0, create=True).close()
    finally:
        os.umask(old)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        NowPage(path, 0, create=True)


def test_a_short_write_does_not_leave_half_a_page(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:1000]))
    NowPage(path, 0, create=True).close()
    assert read(path) == (0, [], True, End.TO_COME)


def test_the_end_of_the_session_is_told_when_the_page_is_closed(page: NowPage, path: Path) -> None:
    page.set_seq(7)
    page.close()

    tell_end(path)

    assert read(path) == (7, [], True, End.TOLD)


def test_what_a_later_version_says_of_the_end_is_not_known(page: NowPage, path: Path) -> None:
    path.write_bytes(path.read_bytes()[:12] + b"\x09" + path.read_bytes()[13:])

    assert read(path).end is End.UNKNOWN


@pytest.mark.parametrize("content", [b"", b"3pioNOW1", b"x" * 100_000], ids=["empty", "short", "other"])
def test_another_file_is_no_page(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    with pytest.raises(OSError, match="not a now page"):
        read(path)
    with pytest.raises(OSError, match="not a now page"):
        NowPage(path, 0, create=False)
    assert path.read_bytes() == content


def test_a_missing_page_and_a_link_are_errors(path: Path, page: NowPage, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)

    with pytest.raises(OSError, match="symbolic"):
        NowPage(tmp_path / "link", 0, create=False)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "missing")


class ReadsInTheMiddle:
    """Stands in for a packer: reads the page while the writer is inside the slot."""

    def __init__(self, packer: Any, path: Path) -> None:
        self._packer = packer
        self._path = path
        self.seen: list[list[InFlight]] = []

    def unpack_from(self, *args: Any) -> Any:
        return self._packer.unpack_from(*args)

    def pack_into(self, *args: Any) -> None:
        self._packer.pack_into(*args)
        self.seen.append(read(self._path)[1])


def test_a_slot_that_is_being_written_is_not_read(page: NowPage, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page.set("before", Phase.SETUP, 1.0)
    reader = ReadsInTheMiddle(nowpage._BODY, path)
    with monkeypatch.context() as patched:
        patched.setattr(nowpage, "_BODY", reader)
        page.set("after", Phase.CALL, 2.0)

    assert reader.seen == [[]]
    assert only(path).phase is Phase.CALL


def test_a_slot_that_changes_while_it_is_read_is_read_again(
    page: NowPage, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes = Path.read_bytes
    texts = ["second", "third"]

    def racing(self: Path) -> bytes:
        data = read_bytes(self)
        if texts:
            page.set(texts.pop(0), Phase.CALL, 2.0)
        return data

    page.set("first", Phase.CALL, 1.0)
    monkeypatch.setattr(Path, "read_bytes", racing)

    assert only(path).text == "third"


def test_a_writer_that_died_within_a_slot_hides_that_slot_only(page: NowPage, path: Path) -> None:
    page.set("half written", Phase.CALL, 1.0)
    other = NowPage(path, 1, create=False)
    other.set("whole", Phase.CALL, 1.0)
    data = bytearray(path.read_bytes())
    data[64] |= 1  # the lock of the first slot is odd
    path.write_bytes(data)

    assert [slot.text for slot in read(path)[1]] == ["whole"]
    other.close()


def test_the_page_is_there_after_a_kill(path: Path) -> None:
    script = """
        import os, signal, sys
        from pathlib import Path
        from threepio_client.nowpage import NowPage
        page = NowPage(Path(sys.argv[1]), 0, create=True)
        page.set_seq(5)
        page.set("test_it.py::test_kills", "call", 1.0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        check=False,
    )

    assert done.returncode == -signal.SIGKILL
    assert only(path).text == "test_it.py::test_kills"
    assert read(path)[0] == 5


def test_closing_leaves_a_file_alone_that_got_the_number_of_our_descriptor(path: Path, tmp_path: Path) -> None:
    page = NowPage(path, 0, create=True)
    (number,) = [fd for fd in os.listdir("/proc/self/fd") if _target(fd) == str(path)]
    with (tmp_path / "own file").open("wb", buffering=0) as own:
        os.dup2(own.fileno(), int(number), inheritable=False)

        page.close()

        assert os.write(int(number), b"still open") == 10
        assert not os.get_inheritable(int(number))
        os.close(int(number))
    assert (tmp_path / "own file").read_bytes() == b"still open"


def test_closing_closes(path: Path) -> None:
    before = os.listdir("/proc/self/fd")
    NowPage(path, 0, create=True).close()

    assert os.listdir("/proc/self/fd") == before


@pytest.mark.filterwarnings("ignore:.*use of fork")  # a worker of xdist has threads
def test_a_forked_child_writes_nothing(page: NowPage, path: Path) -> None:
    page.set("before", Phase.CALL, 1.0)

    child = os.fork()
    if child == 0:
        page.set("after", Phase.CALL, 2.0)
        page.set_phase(Phase.TEARDOWN, 2.0)
        page.clear()
        os._exit(0)
    os.waitpid(child, 0)

    assert (only(path).text, only(path).phase) == ("before", Phase.CALL)


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""  # the descriptor of the listing itself
