"""The next file of a journal: where it can be made, whole and synced; otherwise nothing is left of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.scripted import made_state_dir, run_lines
from threepio_client import journal
from threepio_client.journal import JournalError
from threepio_client.newfiles import make_next_file
from threepio_client.paths import FILES_LIMIT, SPARE_FROM, StateDir

LINES = run_lines("run", 3)
real_write = os.write


@pytest.fixture
def state_dir(tmp_path: Path) -> StateDir:
    made_state_dir(tmp_path / "state")
    return StateDir(tmp_path / "state", tmp_path / "spare")


def test_it_has_the_next_number_and_the_lines_synced(state_dir: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(journal, "_fdatasync", lambda fd: synced.append(os.fstat(fd).st_size))
    for number in (1, 2):
        made = make_next_file(state_dir, "run", LINES)
        made.close()

        assert made.number == number
        assert made.path == state_dir.journal("run", number)
        assert made.path.read_bytes() == b"".join(LINES)
        assert synced.pop() == made.path.stat().st_size


@pytest.mark.parametrize("fault", ["_open", "_write", "_fdatasync"])
def test_where_the_first_place_fails_the_spare_one_takes_it(
    state_dir: StateDir, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    really = getattr(journal, fault)

    def fail(what: int | Path, *rest: object) -> object:
        place = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
        if place.startswith(str(state_dir.journals)):
            raise OSError(errno.ENOSPC, "No space left on device")
        return really(what, *rest)

    monkeypatch.setattr(journal, fault, fail)
    made = make_next_file(state_dir, "run", LINES)
    made.close()

    assert made.path == state_dir.journal("run", SPARE_FROM)
    assert made.path.read_bytes() == b"".join(LINES)
    assert os.listdir(state_dir.journals) == []


def test_where_no_place_takes_it_the_first_trouble_is_told(
    state_dir: StateDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter([errno.EROFS, errno.ENOSPC])

    def fail(fd: int, data: bytes) -> int:
        code = next(codes)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(journal, "_write", fail)
    with pytest.raises(JournalError, match="Read-only file system"):
        make_next_file(state_dir, "run", LINES)

    assert state_dir.spare is not None
    assert os.listdir(state_dir.journals) == os.listdir(state_dir.spare) == []


def test_a_disk_that_fails_for_ever_is_not_filled(state_dir: StateDir) -> None:
    for number in range(1, FILES_LIMIT + 1):
        state_dir.journal("run", number).touch()

    with pytest.raises(JournalError, match=f"{FILES_LIMIT} files already"):
        make_next_file(StateDir(state_dir.path), "run", LINES)
