"""Which files make up a run's journal, by their names and first lines."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from tests.scripted import made_state_dir, run_lines, write_journal
from threepio_client.errors import NoSuchRun
from threepio_client.paths import SPARE_FROM, StateDir
from threepio_client.runfiles import find_run, first_record, journal_files, open_plain, producer_of, runs_of


@pytest.fixture
def state_dir(tmp_path: Path) -> StateDir:
    made = StateDir(tmp_path / "state", tmp_path / "spare")
    made_state_dir(made.path)
    (tmp_path / "spare").mkdir()
    return made


def write(path: Path, run_id: str) -> Path:
    path.write_bytes(b"".join(run_lines(run_id, 2)))
    return path


def test_a_run_has_the_files_that_begin_with_its_run_start(state_dir: StateDir) -> None:
    mine = {number: write(state_dir.journal("a", number), "a") for number in (0, 1, 3, SPARE_FROM)}
    write(state_dir.journals / "a.2.jsonl", "a.2")  # somebody chose this id

    assert journal_files(state_dir, "a") == mine
    assert list(journal_files(state_dir, "a.2")) == [0]
    assert journal_files(state_dir, "b") == {}
    assert runs_of(state_dir) == {"a": mine, "a.2": {0: state_dir.journals / "a.2.jsonl"}}


def test_a_continuation_whose_first_line_is_bad_is_still_one(state_dir: StateDir) -> None:
    write(state_dir.journal("a"), "a")
    state_dir.journal("a", 1).write_bytes(b"nonsense\n")
    state_dir.journal("b", 1).write_bytes(b"nonsense\n")  # of no run that there is

    assert list(runs_of(state_dir)) == ["a", "b.1"]
    assert list(journal_files(state_dir, "a")) == [0, 1]


def test_a_continuation_whose_first_line_is_bad_is_none_of_its_own_where_its_run_is_known(state_dir: StateDir) -> None:
    write(state_dir.journal("a"), "a")
    state_dir.journal("a", 1).write_bytes(b"nonsense\n")

    assert runs_of(state_dir, without={"a"}) == {"a": {1: state_dir.journal("a", 1)}}


def test_a_run_whose_first_file_lost_its_lines_is_known_by_the_next_one(state_dir: StateDir) -> None:
    first, second = state_dir.journal("a"), write(state_dir.journal("a", 1), "a")
    first.touch()

    assert producer_of({0: first, 1: second}) == producer_of({1: second}) is not None
    assert producer_of({0: first}) is None


def test_a_continuation_without_a_first_line_is_not_there_yet(state_dir: StateDir) -> None:
    write(state_dir.journal("a"), "a")
    state_dir.journal("a", 1).touch()

    assert list(journal_files(state_dir, "a")) == [0]
    assert list(runs_of(state_dir)["a"]) == [0]


def test_a_run_may_be_in_the_spare_directory_alone(state_dir: StateDir) -> None:
    path = write(state_dir.journal("a", SPARE_FROM), "a")

    assert runs_of(state_dir) == {"a": {SPARE_FROM: path}}
    assert journal_files(state_dir, "a") == {SPARE_FROM: path}


@pytest.mark.parametrize("name", ["a.observed.jsonl", "a.now", "notes.txt", ".jsonl", "a.jsonl.bak", "a.jsonl.gz.part"])
def test_other_files_stand_for_no_run(state_dir: StateDir, name: str) -> None:
    write(state_dir.journals / name, "a")

    assert runs_of(state_dir) == {}


@pytest.mark.parametrize("name", ["a.b", "a.jsonl", "observed", "1", "a.0", "a.01"])
def test_a_run_id_may_look_like_much(state_dir: StateDir, name: str) -> None:
    path = write(state_dir.journal(name), name)

    assert runs_of(state_dir) == {name: {0: path}}


def test_a_compressed_file_reads_like_the_plain_one(state_dir: StateDir) -> None:
    path = write(state_dir.journal("a"), "a")
    whole, first = path.read_bytes(), first_record(path)
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()

    assert journal_files(state_dir, "a") == {0: packed}
    plain = open_plain(packed)
    assert os.pread(plain, 2 * len(whole), 0) == whole
    os.close(plain)
    assert first is not None
    assert first_record(packed) == first


def test_a_plain_file_that_has_just_been_compressed_is_found_under_its_new_name(state_dir: StateDir) -> None:
    path = write(state_dir.journal("a"), "a")
    whole = path.read_bytes()
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(whole))
    path.unlink()

    plain = open_plain(path)
    assert os.pread(plain, 2 * len(whole), 0) == whole
    os.close(plain)

    path.with_name(path.name + ".gz").unlink()
    with pytest.raises(FileNotFoundError):
        open_plain(path)


@pytest.mark.parametrize(
    ("number", "shown"), [(5, "r0, r1, r2, r3, r4"), (6, "r0, r1, r2, r3, r4 and 1 more"), (9, "r4 and 4 more")]
)
def test_of_many_runs_that_begin_alike_some_are_shown(state_dir: StateDir, number: int, shown: str) -> None:
    with pytest.raises(NoSuchRun) as raised:
        find_run(state_dir, [f"r{one}" for one in range(number)], "r")

    assert str(raised.value).startswith(f"{number} runs begin with 'r': r0, ")
    assert str(raised.value).endswith(shown)


@pytest.mark.parametrize("damage", ["cut", "flipped", "other"])
def test_a_damaged_compressed_file_cannot_be_read(state_dir: StateDir, damage: str) -> None:
    data = bytearray(gzip.compress(b"".join(run_lines("a", 200))))
    if damage == "flipped":
        data[len(data) // 2] ^= 0x10
    path = state_dir.journals / "a.jsonl.gz"
    path.write_bytes(data[:-20] if damage == "cut" else b"other" if damage == "other" else data)
    before = len(os.listdir("/proc/self/fd"))

    with pytest.raises(OSError, match=r"damaged|gzip|CRC"):
        open_plain(path)

    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_without_a_first_line_is_a_run_of_its_own_where_it_goes_on_from_none(tmp_path: Path) -> None:
    state_dir = made_state_dir(tmp_path / "state")
    for name in ("build.7", "other", "other.1"):
        write_journal(state_dir, name, [] if name != "other" else run_lines("other", 1))

    assert sorted(runs_of(state_dir)) == ["build.7", "other"]
