"""Directories and disk: what is fine, and what the probe leaves behind (what is wrong: tests/cli/test_doctor.py)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from threepio_client.doctor import places


def test_the_probe_is_removed_even_where_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = places.check_disk(tmp_path)
    assert found.state == "ok"

    def fails(fd: int) -> None:
        assert len(os.listdir(tmp_path)) == 1
        raise OSError(5, "I/O error")

    monkeypatch.setattr(os, "fdatasync", fails)
    (found,) = places.check_disk(tmp_path)
    assert found.state == "problem"
    assert os.listdir(tmp_path) == []


def test_a_slow_disk_is_not_probed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[int] = []
    monkeypatch.setattr(os, "fdatasync", syncs.append)
    monkeypatch.setattr(places, "PROBE_TIME_S", 1e-9)
    list(places.check_disk(tmp_path))
    assert len(syncs) == 1


def test_a_directory_that_is_not_there_is_judged_by_the_one_above(tmp_path: Path) -> None:
    assert [one.state for one in places.check_state_dir(tmp_path / "a" / "b")] == ["ok"]
    assert [one.state for one in places.check_disk(tmp_path / "a" / "b")] == ["ok"]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_the_system_shares_is_fine_for_a_socket() -> None:
    if os.stat("/tmp").st_uid != 0:
        pytest.skip("/tmp is not the system's")
    assert [one.state for one in places.check_socket_dir(Path("/tmp"))] == ["ok"]


def test_the_kind_of_a_file_system_is_told() -> None:
    assert places._file_system(Path("/proc/self")) == "proc"
    assert places._file_system(Path("/")) not in ("", "proc")


def test_several_problems_of_a_disk_are_each_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Room:
        f_bavail, f_frsize, f_files, f_favail = 1, 4096, 1000, 3

    monkeypatch.setattr(os, "statvfs", lambda _: Room)
    monkeypatch.setattr(places, "_file_system", lambda _: "nfs")

    found = list(places.check_disk(tmp_path))

    assert [one.state for one in found] == ["problem"] * 3
    assert "only 3 more files" in found[1].text
