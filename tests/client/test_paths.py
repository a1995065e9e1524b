"""Places: names of files, run ids, and directories that nobody else can write to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from threepio_client.errors import NoPlace
from threepio_client.paths import make_private_dir, new_run_id
from threepio_client.settings import load


def test_new_run_ids_are_short_and_may_be_chosen_by_hand_too() -> None:
    ids = {new_run_id() for _ in range(500)}

    assert len(ids) == 500
    for run_id in ids:
        assert len(run_id) == 7
        assert load({"THREEPIO_RUN_ID": run_id}).run_id == run_id
        assert not set(run_id) & set("01oil")


def test_a_directory_is_made_private_with_its_parents(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        make_private_dir(tmp_path / "a" / "b")
        make_private_dir(tmp_path / "a" / "b")  # again is fine
    finally:
        os.umask(old)

    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777, 0o1777, 0o720, 0o702])
def test_a_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(mode)
    if mode & stat.S_ISVTX and os.getuid() == 0:
        pytest.skip("root's own sticky directory is one that the system shares, such as /tmp")

    with pytest.raises(NoPlace, match=f"others may write to the directory {path}"):
        make_private_dir(path)


@pytest.mark.parametrize(("umask", "parent"), [(0o022, 0o755), (0o777, 0o700)])
def test_parents_are_as_the_umask_says_but_usable(tmp_path: Path, umask: int, parent: int) -> None:
    old = os.umask(umask)
    try:
        make_private_dir(tmp_path / "a" / "b")
    finally:
        os.umask(old)

    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")] == [parent, 0o700]


def test_a_directory_that_others_may_read_is_used(tmp_path: Path) -> None:
    path = tmp_path / "open"
    path.mkdir(mode=0o755)

    make_private_dir(path)


def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a directory away")
    path = tmp_path / "theirs"
    path.mkdir(mode=0o700)
    os.chown(path, 65534, 65534)

    with pytest.raises(NoPlace, match="belongs to uid 65534"):
        make_private_dir(path)


def test_each_directory_just_made_is_synced_into_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noting(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)

    make_private_dir(tmp_path / "state" / "journals")
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "state")]

    make_private_dir(tmp_path / "state" / "journals")
    assert len(synced) == 2


def test_a_name_that_the_system_does_not_take_is_told_with_the_setting(tmp_path: Path) -> None:
    with pytest.raises(NoPlace, match=r"File name too long.*THREEPIO_STATE_DIR"):
        make_private_dir(tmp_path / ("x" * 300))


def test_a_file_or_a_link_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    with pytest.raises(NoPlace, match="is no directory"):
        make_private_dir(tmp_path / "file")
    with pytest.raises(NoPlace, match="cannot make the directory"):
        make_private_dir(tmp_path / "file" / "below")
    with pytest.raises(NoPlace, match="is a link"):
        make_private_dir(tmp_path / "link")
