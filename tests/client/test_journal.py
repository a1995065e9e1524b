"""The journal: what was appended is there, whole and once, whatever interrupts the writing or is done to the file."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import FrameType

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.scripted import file_size_limit
from threepio_client import journal
from threepio_client.events import LINE_LIMIT, EventType, ObservationType
from threepio_client.journal import (
    READ_SIZE,
    JournalError,
    JournalWriter,
    append_observation,
    blocks_of_lines,
    records,
    tail_size,
    whole_lines,
)
from threepio_client.line import encode, encode_payload

real_write = os.write


def torn(path: Path) -> int:
    with path.open("rb") as file:
        return tail_size(file.fileno())


def event(name: str, more: object = "") -> tuple[str, str, float]:
    """Return type, payload and time of an event that is told from others by its name."""
    return EventType.TEST_CASE, encode_payload({"testName": name, "more": more}), 1.0


def line(name: str, seq: int) -> bytes:
    """Return the line of such an event."""
    return encode(seq, EventType.TEST_CASE, {"testName": name}, 1.0)


def names(path: Path) -> list[tuple[int, str]]:
    """Return (seq, name) of every line; all of them must be good."""
    found = []
    for record in records(path):
        assert record.event is not None, record
        found.append((record.event.seq, record.event.payload["testName"]))
    return found


def descriptor_of(path: Path) -> int:
    """Return the descriptor of this process that has the file open."""
    (found,) = [fd for fd in os.listdir("/proc/self/fd") if _link(fd) == str(path)]
    return int(found)


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").removesuffix(" (deleted)")
    except OSError:
        return ""  # the descriptor of the listing itself


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


@pytest.fixture
def writer(path: Path) -> Iterator[JournalWriter]:
    made = JournalWriter(path)
    yield made
    made.close()


def test_lines_are_numbered_from_one_and_read_back(writer: JournalWriter, path: Path) -> None:
    written = [writer.append(*event(f"test {n}")) for n in range(1, 4)]

    assert [seq for seq, _ in written] == [1, 2, 3]
    assert b"".join(line for _, line in written) == path.read_bytes()
    found = list(records(path))
    assert [record.raw + b"\n" for record in found] == [line for _, line in written]
    assert found[-1].end == writer.end == path.stat().st_size
    assert writer.seq == 3
    assert [record.event for record in records(path, found[0].end)] == [record.event for record in found[1:]]


def test_the_file_is_private_and_new(path: Path) -> None:
    old = os.umask(0)
    try:
        JournalWriter(path).close()
    finally:
        os.umask(old)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        JournalWriter(path)


def test_a_planted_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(FileExistsError):
        JournalWriter(path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_journal_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "run.jsonl"

    with pytest.raises(JournalError, match=str(path)):
        JournalWriter(path)


def test_the_directory_is_synced_after_creation(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))

    JournalWriter(path).close()

    assert synced == [str(path.parent)]


def test_a_line_of_the_largest_size_and_more_than_one_read_come_back(writer: JournalWriter, path: Path) -> None:
    text = "x" * (READ_SIZE // 3)
    for n in range(9):
        writer.append(*event(f"{n}", text))
    writer.append(*event("9", ["x" * 60_000] * 7))

    assert writer.end > 3 * READ_SIZE
    assert names(path) == [(n + 1, f"{n}") for n in range(10)]


class Interrupted(BaseException):
    """What a signal handler throws in."""


def test_an_exception_before_the_write_uses_no_number(
    writer: JournalWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*event: object) -> bytes:
        raise Interrupted

    with monkeypatch.context() as patched:
        patched.setattr(journal, "seal", interrupted)
        with pytest.raises(Interrupted):
            writer.append(*event("lost"))
    writer.append(*event("next"))

    assert names(path) == [(1, "next")]


@pytest.mark.parametrize("written", [0, 1, 40, 10_000], ids=["nothing", "a byte", "a part", "all"])
@pytest.mark.parametrize("error", [Interrupted(), OSError(errno.ENOSPC, "No space left on device")], ids=repr)
def test_a_begun_line_is_finished_by_the_next_append(
    writer: JournalWriter, path: Path, monkeypatch: pytest.MonkeyPatch, written: int, error: BaseException
) -> None:
    def write(fd: int, data: bytes) -> int:
        real_write(fd, data[:written])
        raise error

    writer.append(*event("before"))
    with monkeypatch.context() as patched:
        patched.setattr(journal, "_write", write)
        with pytest.raises(Interrupted if isinstance(error, Interrupted) else JournalError):
            writer.append(*event("begun"))

    assert writer.append(*event("after"))[0] == 3

    assert names(path) == [(1, "before"), (2, "begun"), (3, "after")]
    assert writer.damage == ""


def test_a_signal_handler_that_throws_leaves_no_half_line(
    writer: JournalWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    def write(fd: int, data: bytes) -> int:
        size = real_write(fd, data[:20])
        signal.raise_signal(signal.SIGUSR1)
        return size

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_write", write)
            with pytest.raises(Interrupted):
                writer.append(*event("begun"))
    finally:
        signal.signal(signal.SIGUSR1, old)
    writer.append(*event("after"))

    assert names(path) == [(1, "begun"), (2, "after")]


faults = st.lists(
    st.tuples(st.integers(0, 130), st.sampled_from(["short", "ENOSPC", "interrupted"])) | st.none(), max_size=20
)


@examples(max_examples=60, deadline=None)
@given(plan=faults)
def test_whatever_happens_to_writes_the_journal_is_whole(
    plan: list[tuple[int, str] | None], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("journal") / "run.jsonl"
    writer = JournalWriter(path)
    remaining = list(plan)

    def write(fd: int, data: bytes) -> int:
        fault = remaining.pop(0) if remaining else None
        if fault is None:
            return real_write(fd, data)
        size = real_write(fd, data[: fault[0]])
        if fault[1] == "interrupted":
            raise Interrupted
        if fault[1] == "ENOSPC":
            raise OSError(errno.ENOSPC, "No space left on device")
        return size

    returned = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal, "_write", write)
        while remaining:
            try:
                name = f"test {len(remaining)}"
                returned.append((writer.append(*event(name))[0], name))
            except (Interrupted, JournalError):
                pass
    returned.append((writer.append(*event("last"))[0], "last"))
    writer.close()

    found = names(path)
    assert [seq for seq, _ in found] == list(range(1, len(found) + 1))
    assert set(returned) <= set(found)
    assert len({name for _, name in found}) == len(found)


def test_a_write_that_is_refused_by_the_system_is_named_and_made_up_for(writer: JournalWriter, path: Path) -> None:
    writer.append(*event("before"))
    with file_size_limit(path.stat().st_size + 30):
        with pytest.raises(JournalError, match="File too large"):
            writer.append(*event("begun"))
        with pytest.raises(JournalError, match="File too large"):
            writer.append(*event("not begun"))
        assert torn(path) == 30

    writer.append(*event("after"))

    assert names(path) == [(1, "before"), (2, "begun"), (3, "after")]


def test_a_closed_descriptor_is_opened_again(writer: JournalWriter, path: Path) -> None:
    writer.append(*event("before"))
    os.close(descriptor_of(path))

    writer.append(*event("after"))
    writer.sync()

    assert names(path) == [(1, "before"), (2, "after")]
    assert writer.reopened == 1


def test_a_reused_descriptor_is_left_alone(writer: JournalWriter, path: Path, tmp_path: Path) -> None:
    writer.append(*event("before"))
    number = descriptor_of(path)
    with (tmp_path / "own file").open("wb", buffering=0) as own:
        os.dup2(own.fileno(), number)
        own.write(b"own text")

        writer.append(*event("after"))
        os.lseek(number, 0, os.SEEK_END)
        writer.close()

        os.write(number, b", still open")
        os.close(number)
    assert (tmp_path / "own file").read_bytes() == b"own text, still open"
    assert names(path) == [(1, "before"), (2, "after")]


def test_close_does_not_close_somebody_elses_file(writer: JournalWriter, path: Path, tmp_path: Path) -> None:
    number = descriptor_of(path)
    with (tmp_path / "own file").open("wb") as own:
        os.dup2(own.fileno(), number)

        writer.close()

        assert os.fstat(number).st_ino == os.fstat(own.fileno()).st_ino
        os.close(number)
    writer.close()  # a second time is nothing


def test_close_closes(writer: JournalWriter, path: Path) -> None:
    number = descriptor_of(path)

    writer.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_a_removed_journal_is_said(writer: JournalWriter, path: Path) -> None:
    writer.append(*event("before"))
    path.unlink()

    assert writer.append(*event("after"))[0] == 2
    writer.sync()

    assert "was removed" in writer.damage


def test_a_journal_that_was_replaced_is_not_written_to(writer: JournalWriter, path: Path) -> None:
    writer.append(*event("before"))
    number = descriptor_of(path)
    os.link(path, path.with_name("kept"))  # its inode must not be given to the new file
    path.unlink()
    os.close(number)
    path.write_bytes(b"somebody else's")

    for _ in range(2):
        with pytest.raises(JournalError, match="replaced"):
            writer.append(*event("lost"))

    assert path.read_bytes() == b"somebody else's"
    assert writer.seq == 1


@pytest.mark.parametrize("size", [0, 30], ids=["to nothing", "within a line"])
@pytest.mark.parametrize("begun", [False, True], ids=["", "line begun"])
def test_lines_after_a_truncation_are_whole(
    writer: JournalWriter, path: Path, monkeypatch: pytest.MonkeyPatch, size: int, begun: bool
) -> None:
    def write(fd: int, data: bytes) -> int:
        real_write(fd, data[:20])
        raise Interrupted

    writer.append(*event("gone"))
    if begun:
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_write", write)
            with pytest.raises(Interrupted):
                writer.append(*event("begun"))
    os.truncate(path, size)

    writer.append(*event("after"))
    writer.append(*event("last"))

    found = [record.event for record in records(path) if record.event is not None]
    assert [event.payload["testName"] for event in found][-2:] == ["after", "last"]
    assert [event.seq for event in found][-2:] == ([3, 4] if begun else [2, 3])
    assert "something else changed it" in writer.damage


def test_lines_after_foreign_text_are_whole(writer: JournalWriter, path: Path) -> None:
    writer.append(*event("before"))
    with path.open("ab") as file:
        file.write(b"somebody's text")

    writer.append(*event("after"))

    found = [record.event and record.event.payload["testName"] for record in records(path)]
    assert found == ["before", None, "after"]
    assert "something else changed it" in writer.damage


def test_sync_is_asked_of_the_system_and_its_failure_is_told(
    writer: JournalWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(journal, "_fdatasync", lambda fd: synced.append(_link(str(fd))))
    writer.sync()
    assert synced == [str(path)]
    monkeypatch.setattr(journal, "_fdatasync", fail)
    with pytest.raises(JournalError, match="Input/output error"):
        writer.sync()


def test_patched_functions_of_os_do_not_matter(
    writer: JournalWriter, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        for name in ("write", "fstat", "open", "close", "fsync", "fdatasync"):
            patched.setattr(os, name, refuse)
        writer.append(*event("one"))
        writer.sync()

    assert names(path) == [(1, "one")]


# Reading


def test_a_line_without_its_end_is_not_there_yet(path: Path) -> None:
    first, second = line("one", 1), line("two", 2)
    for size in range(1, len(second)):
        path.write_bytes(first + second[:size])
        assert names(path) == [(1, "one")]
        assert torn(path) == size

    path.write_bytes(first + second)

    assert names(path) == [(1, "one"), (2, "two")]
    assert torn(path) == 0


def test_a_bad_line_is_told_and_reading_goes_on(path: Path) -> None:
    lines = [line(f"test {n}", n) for n in range(1, 5)]
    lines[1] = lines[1].replace(b"test 2", b"test X")
    lines[2] = b"\n"
    path.write_bytes(b"".join(lines))

    found = list(records(path))

    assert [record.event is None for record in found] == [False, True, True, False]
    assert "checksum" in found[1].reason
    assert found[3].reason == ""


def test_a_file_without_newlines_takes_little_memory(path: Path) -> None:
    size = 4 * LINE_LIMIT
    path.write_bytes(b"x" * size + b"\n" + line("after", 7))

    found = list(records(path))

    assert max(len(record.raw) for record in found) <= LINE_LIMIT + READ_SIZE
    assert found[-1].event is not None
    assert all(record.event is None for record in found[:-1])
    assert found[-1].end == path.stat().st_size


def test_the_tail_of_a_long_and_of_an_empty_file(path: Path) -> None:
    path.write_bytes(b"")
    assert torn(path) == 0
    path.write_bytes(b"x" * (READ_SIZE + 5))
    assert torn(path) == READ_SIZE + 5
    path.write_bytes(b"a\n" + b"x" * (2 * READ_SIZE + 5))
    assert torn(path) == 2 * READ_SIZE + 5


def test_a_link_is_not_read(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(line("one", 1))
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic links"):
        list(records(path))


# Observations


def observe(path: Path, pid: int) -> None:
    append_observation(path, ObservationType.EXIT_STATUS, {"pid": pid}, 1.0)


def observed(path: Path) -> list[tuple[int, int]]:
    return [(record.event.seq, record.event.payload["pid"]) for record in records(path) if record.event is not None]


def test_observations_are_appended_and_numbered(path: Path) -> None:
    for pid in (10, 20, 30):
        observe(path, pid)

    assert observed(path) == [(1, 10), (2, 20), (3, 30)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_observation_is_on_the_disk_with_its_name_when_it_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: dict[str, int] = {}

    def sync(fd: int) -> None:
        synced[os.readlink(f"/proc/self/fd/{fd}")] = os.fstat(fd).st_size

    monkeypatch.setattr(os, "fsync", sync)
    observe(path, 10)

    assert set(synced) == {str(path), str(path.parent)}
    assert synced[str(path)] == path.stat().st_size > 0


def test_observers_take_turns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = []

    def write(fd: int, data: bytes) -> int:
        other = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free.append(data)
        except BlockingIOError:
            pass
        finally:
            os.close(other)
        return real_write(fd, data)

    monkeypatch.setattr(os, "write", write)
    observe(path, 10)

    assert observed(path) == [(1, 10)]
    assert free == []  # while one writes, nobody else can


def test_an_observation_after_a_torn_one_is_whole(path: Path) -> None:
    observe(path, 10)
    with path.open("ab") as file:
        file.write(b'{"seq":2,"eventTy')  # its writer was killed

    observe(path, 30)

    assert [pid for _, pid in observed(path)] == [10, 30]


def test_an_observation_that_is_not_written_whole_is_an_error(path: Path) -> None:
    observe(path, 10)
    with file_size_limit(path.stat().st_size + 30), pytest.raises(OSError, match="File too large"):
        observe(path, 20)

    observe(path, 30)

    assert [pid for _, pid in observed(path)] == [10, 30]


@pytest.mark.parametrize("read_size", [1, 7, 64, 4096])
@pytest.mark.parametrize("wanted", [b"two", b'"o"', b"absent", b"x"])
def test_lines_with_a_text_are_those_that_have_it_wherever_reading_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_size: int, wanted: bytes
) -> None:
    path = tmp_path / "lines"
    path.write_bytes(b"one\n\ntwo and two\n" + b"x" * 100 + b'\n"o"\nxtwox\nabsent in a torn tail, two')
    monkeypatch.setattr(journal, "READ_SIZE", read_size)
    fd = os.open(path, os.O_RDONLY)
    try:
        every = list(whole_lines(fd, 0))
        found = list(chain.from_iterable(blocks_of_lines(fd, 0, wanted=wanted)))
    finally:
        os.close(fd)
    assert len(every) == 6
    assert found == [(line, end) for line, end in every if wanted in line]
