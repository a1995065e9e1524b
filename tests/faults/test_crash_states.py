"""The model of a disk in a power cut, on logs made by hand: strict where POSIX promises nothing, and no stricter."""

from __future__ import annotations

import random
from pathlib import Path

from tests.faults.crash_states import SECTOR, CrashLog
from tests.faults.disk_log import CREATE, MKDIR, RENAME, SYNC_BEGIN, SYNC_END, TRUNCATE, UNLINK, WRITE, Step

ROOT = "/disk"
FILE = f"{ROOT}/file"
DIRECTORY, INODE = 1, 2
TRIES = 200


def step(
    kind: str, path: str = FILE, *, inode: int = INODE, offset: int = 0, data: bytes = b"", result: int = 0
) -> Step:
    return Step(kind, 10, 3, inode, offset, result, path, data)


def synced(path: str = FILE, *, inode: int = INODE, result: int = 0) -> list[Step]:
    return [step(SYNC_BEGIN, path, inode=inode), step(SYNC_END, path, inode=inode, result=result)]


def made() -> list[Step]:
    """Return the steps after which the file's name is durable."""
    return [step(CREATE), *synced(ROOT, inode=DIRECTORY)]


def states(steps: list[Step], *, cut: int | None = None, lose_all: bool = False) -> list[dict[str, bytes | None]]:
    log = CrashLog(Path(ROOT), steps)
    at = len(steps) if cut is None else cut
    return [log.state(at, random.Random(seed), lose_all=lose_all) for seed in range(TRIES)]


def contents(steps: list[Step], *, cut: int | None = None) -> set[bytes | None]:
    return {state.get("file") for state in states(steps, cut=cut)}


def test_what_was_synced_is_there_in_every_state() -> None:
    assert contents([*made(), step(WRITE, data=b"abc"), *synced()]) == {b"abc"}


def test_a_sync_that_has_not_returned_promises_nothing() -> None:
    steps = [*made(), step(WRITE, data=b"abc"), *synced()]
    assert b"" in contents(steps, cut=len(steps) - 1)


def test_a_sync_does_not_cover_what_is_written_while_it_runs() -> None:
    begin, end = synced()
    assert b"" in contents([*made(), begin, step(WRITE, data=b"abc"), end])


def test_what_was_not_synced_may_be_lost_torn_or_there() -> None:
    assert {b"", b"abc"} < contents([*made(), step(WRITE, data=b"abc")]) <= {b"", b"a", b"ab", b"abc", bytes(3)}


def test_of_several_sectors_any_may_be_lost() -> None:
    found = contents([*made(), step(WRITE, data=b"x" * SECTOR * 2)])
    assert {bytes(SECTOR) + b"x" * SECTOR, b"x" * SECTOR + bytes(SECTOR)} <= found


def test_a_sector_keeps_what_is_durable_in_it() -> None:
    found = contents([*made(), step(WRITE, data=b"abc"), *synced(), step(WRITE, offset=3, data=b"def" * 400)])
    assert all(content is not None and content.startswith(b"abc") for content in found)
    assert len(found) > 3


def test_after_a_failed_sync_no_later_one_covers_the_same() -> None:
    steps = [*made(), step(WRITE, data=b"abc"), *synced(result=-1), *synced()]
    assert b"" in contents(steps)
    assert states(steps, lose_all=True)[0] == {"file": b""}


def test_what_is_written_again_after_a_failed_sync_can_be_made_durable() -> None:
    steps = [*made(), step(WRITE, data=b"abc"), *synced(result=-1), step(WRITE, data=b"abc"), *synced()]
    assert contents(steps) == {b"abc"}


def test_a_name_is_gone_until_its_directory_is_synced() -> None:
    steps = [step(CREATE), step(WRITE, data=b"abc"), *synced()]
    assert contents(steps) == {None, b"abc"}
    assert contents([*steps, *synced(ROOT, inode=DIRECTORY)]) == {b"abc"}


def test_with_a_directory_everything_in_it_is_gone() -> None:
    inner = f"{ROOT}/inner"
    steps = [
        step(MKDIR, inner, inode=0),
        step(CREATE, f"{inner}/file"),
        step(WRITE, f"{inner}/file", data=b"abc"),
        *synced(f"{inner}/file"),
        *synced(inner, inode=DIRECTORY),
    ]
    found = states(steps)
    assert {} in found
    assert all(state in ({}, {"inner": None, "inner/file": b"abc"}) for state in found)


def test_a_removed_file_may_come_back_and_a_rename_is_whole() -> None:
    steps = [*made(), step(WRITE, data=b"abc"), *synced(), step(UNLINK, inode=0)]
    assert contents(steps) == {None, b"abc"}
    steps[-1] = step(RENAME, inode=0, data=f"{ROOT}/other".encode())
    assert all(state in ({"file": b"abc"}, {"other": b"abc"}) for state in states(steps))


def test_a_truncate_is_a_change_like_others() -> None:
    steps = [*made(), step(WRITE, data=b"abc"), *synced(), step(TRUNCATE, offset=1)]
    assert contents(steps) <= {b"abc", b"a", b"a\0\0"}
    assert contents([*steps, *synced()]) == {b"a"}
