"""The files of a report tree: no two groups share one, none lies outside, and none is half written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import trees
from tests.place import Place
from tests.report.test_model import Cases, write_run
from threepio_client.report.tree import RUN_PAGE, open_run, page_of, remove_run


@pytest.fixture
def rootdir(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def names_below(path: Path) -> list[str]:
    return sorted(str(found.relative_to(path)) for found in path.rglob("*"))


def test_a_usual_file_has_its_own_name() -> None:
    assert page_of("tests/test_shop.py") == "groups/tests/test_shop.py.md"
    assert page_of("test_it.py") == "groups/test_it.py.md"


GROUPS = st.lists(
    st.text("aA/.~\0\n |é", max_size=8)
    | st.sampled_from(["..", "../../x", "/etc/passwd", "", "a" * 10_000, "a/" * 300, "a.md/b"]),
    min_size=2,
    max_size=2,
    unique=True,
)


@given(GROUPS)
@example(["a", "a.md/b"])
@example(["A.py", "a.py"])
@example(["x~1", "x_1"])
@example(["a//b", "a/b"])
def test_no_two_groups_share_a_page_and_none_lies_outside(groups: list[str]) -> None:
    one, other = (page_of(group) for group in groups)

    assert one.lower() != other.lower()
    assert not one.startswith(f"{other}/")
    for page in (one, other):
        parts = page.split("/")
        assert parts[0] == "groups"
        assert page.endswith(".md")
        assert len(page) < 3_000
        assert all(part not in {"", ".", ".."} and len(os.fsencode(part)) <= 255 for part in parts)
        assert page.isascii()
        assert page.isprintable()


def test_a_page_is_whole_or_not_there(rootdir: Path) -> None:
    def breaks() -> Any:
        yield "half"
        raise OSError(28, "No space left on device")

    with open_run(rootdir / ".threepio", "run") as folder:
        folder.write(RUN_PAGE, ["first"])
        with pytest.raises(OSError, match="No space"):
            folder.write(RUN_PAGE, breaks())

    assert names_below(rootdir / ".threepio/runs") == ["run", "run/test-run.md"]
    assert (rootdir / ".threepio/runs/run/test-run.md").read_text() == "first"


def test_a_page_is_whole_where_the_system_writes_a_part_at_a_time(
    rootdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:7]))

    with open_run(rootdir / ".threepio", "run") as folder:
        folder.write(RUN_PAGE, ["a page ", b"of several", " parts\n"])
    monkeypatch.undo()

    assert (rootdir / ".threepio/runs/run" / RUN_PAGE).read_text() == "a page of several parts\n"


@pytest.mark.parametrize("run_id", [".", ".."])
def test_a_run_with_the_name_of_a_directory_has_one_of_its_own(rootdir: Path, run_id: str) -> None:
    with open_run(rootdir / ".threepio", run_id) as folder:
        folder.write(RUN_PAGE, ["run"])

    assert names_below(rootdir / ".threepio/runs") == [f"{run_id}~", f"{run_id}~/test-run.md"]
    assert (rootdir / ".threepio/latest" / RUN_PAGE).read_text() == "run"
    remove_run(rootdir / ".threepio", run_id)
    assert not os.path.lexists(rootdir / ".threepio/latest")
    assert names_below(rootdir / ".threepio/runs") == []


def test_git_sees_nothing_of_it(rootdir: Path) -> None:
    open_run(rootdir / ".threepio", "run").close()

    assert (rootdir / ".threepio/.gitignore").read_text().endswith("\n*\n")


def test_a_directory_that_was_there_gets_no_ignore_file(rootdir: Path) -> None:
    open_run(rootdir, "run").close()

    assert names_below(rootdir) == ["latest", "runs", "runs/run"]


def test_latest_points_at_the_newest_run(rootdir: Path) -> None:
    for run_id, newer in (("one", {"two", "three"}), ("three", set()), ("two", {"three"})):
        open_run(rootdir / ".threepio", run_id, is_new=lambda other, newer=newer: other not in newer).close()  # type: ignore[misc]

    assert os.readlink(rootdir / ".threepio/latest") == "runs/three"


@pytest.mark.parametrize("where", [".threepio", ".threepio/runs", ".threepio/runs/run"])
def test_a_link_in_the_place_of_a_directory_is_not_followed(rootdir: Path, tmp_path: Path, where: str) -> None:
    (tmp_path / "outside").mkdir()
    (rootdir / where).parent.mkdir(parents=True, exist_ok=True)
    (rootdir / where).symlink_to(tmp_path / "outside")

    with pytest.raises(OSError, match=r"irectory|symbolic"):
        open_run(rootdir / ".threepio", "run")

    assert names_below(tmp_path / "outside") == []


def test_a_link_below_the_runs_folder_makes_room(rootdir: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "file").write_text("kept")

    with open_run(rootdir / ".threepio", "run") as folder:
        run = rootdir / ".threepio/runs/run"
        (run / "groups").symlink_to(tmp_path / "outside")
        (run / ".part").symlink_to(tmp_path / "file")
        (run / RUN_PAGE).symlink_to(tmp_path / "file")
        folder.write("groups/a/b.py.md", ["page"])
        folder.write(RUN_PAGE, ["run"])

    assert names_below(tmp_path / "outside") == []
    assert (tmp_path / "file").read_text() == "kept"
    assert (run / "groups/a/b.py.md").read_text() == "page"


def test_a_directory_of_somebody_else_is_refused(rootdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)

    with pytest.raises(PermissionError, match="belongs to uid"):
        open_run(rootdir / ".threepio", "run")

    assert names_below(rootdir) == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to make a directory of another user")
@pytest.mark.parametrize("where", [".threepio", ".threepio/runs", ".threepio/runs/run"])
def test_nothing_is_written_into_a_directory_below_that_is_somebody_else_s(rootdir: Path, where: str) -> None:
    (rootdir / where).mkdir(parents=True)
    os.chown(rootdir / where, 65534, 65534)

    with pytest.raises(PermissionError, match="belongs to uid 65534"):
        open_run(rootdir / ".threepio", "run")

    assert names_below(rootdir / where) == []


def test_what_we_wrote_is_removed_and_nothing_else(rootdir: Path) -> None:
    base = rootdir / ".threepio"
    for run_id in ("one", "two"):
        with open_run(base, run_id) as folder:
            folder.write("groups/a/b.py.md", ["page"])
            folder.write(RUN_PAGE, ["run"])
    (base / "runs/one/groups/mine.txt").write_text("kept")

    remove_run(base, "one")
    assert os.readlink(base / "latest") == "runs/two"
    with open_run(base, "three") as folder:
        folder.write(RUN_PAGE, ["run"])
    remove_run(base, "three")
    assert os.readlink(base / "latest") == "runs/two"
    remove_run(base, "two")
    remove_run(base, "two")

    assert names_below(base) == [".gitignore", "runs", "runs/one", "runs/one/groups", "runs/one/groups/mine.txt"]


def test_a_whole_tree_is_written_from_a_report(place: Place) -> None:
    hostile = [
        "a.py::test_x[|`\n\x1b/../..]",
        "../../up.py::test_y",
        "/etc/passwd::test_z",
        "A.PY::test",
        "a.py::test_x",
    ]
    cases: Cases = [(name, "PASS", {}) for name in hostile]
    report = write_run(place, [*hostile, "b.py::test_left"], cases)
    folder = place.path / "out"
    folder.mkdir()
    (folder / "groups").mkdir()
    (folder / "groups/of_before.md").write_text("old")

    trees.write(report, folder)

    trees.check_folder(folder, report)
    assert sorted(os.listdir(place.path)) == ["out", "state"]
