"""What is of here: the directory, what is in it and around it, and no other checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from threepio_client.here import SOUGHT, Here, newest

WITH_GIT = ("repo", "repo/nested", "sibling")
DIRECTORIES = ("home/plain/suite", "repo/pkg/tests", "repo/nested/tests", "sibling", "gone")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Directories, of which WITH_GIT are checkouts."""
    for name in (*WITH_GIT, *DIRECTORIES[:-1]):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    (tmp_path / "repo/.git").mkdir()
    for name in WITH_GIT[1:]:  # as a worktree has it
        (tmp_path / name / ".git").write_text("gitdir: elsewhere\n")
    (tmp_path / "link").symlink_to("repo")
    return tmp_path


@pytest.mark.parametrize(
    ("asked_in", "near"),
    [
        ("repo", ["repo", "repo/pkg/tests", "link"]),
        ("link", ["repo", "repo/pkg/tests", "link"]),
        ("repo/pkg", ["repo", "repo/pkg/tests", "link"]),
        ("repo/pkg/tests", ["repo", "repo/pkg/tests", "link"]),
        ("repo/nested", ["repo/nested", "repo/nested/tests"]),
        ("repo/nested/tests", ["repo/nested", "repo/nested/tests"]),
        ("sibling", ["sibling"]),
        ("home/plain", ["home", "home/plain/suite"]),
        ("home/plain/suite", ["home", "home/plain/suite"]),
        ("", ["home", "home/plain/suite", *WITH_GIT, "repo/pkg/tests", "repo/nested/tests", "link"]),
        ("repo/gone", ["repo", "link"]),
    ],
)
def test_checkouts_are_kept_apart_and_other_directories_are_near_by_their_paths(
    top: Path, asked_in: str, near: list[str]
) -> None:
    here = Here(str(top / asked_in))
    known = ["home", "home/plain/suite", *WITH_GIT, "repo/pkg/tests", "repo/nested/tests", "link", "repo/removed"]

    expected = known if not asked_in else near
    assert sorted(name for name in known if here.is_near(str(top / name))) == sorted(expected)
    assert not here.is_near("nul\0")


def test_a_place_of_another_users_process_breaks_nothing(top: Path) -> None:
    assert not Here(str(top / "repo")).is_near("/proc/1/cwd")


def test_a_run_is_of_here_if_its_tests_are_or_if_it_was_begun_here(top: Path) -> None:
    here = Here(str(top / "repo"))
    repo, sibling = str(top / "repo"), str(top / "sibling")

    assert here.has({"rootdir": repo, "cwd": sibling})
    assert here.has({"rootdir": sibling, "cwd": repo})
    assert not here.has({"rootdir": sibling, "cwd": sibling})
    assert not here.has({"rootdir": sibling, "cwd": 3})
    assert here.has({"rootdir": "", "cwd": 3})  # of a foreign writer
    assert here.has({})


def test_the_newest_is_of_here_among_so_many_and_none_that_only_collects_or_is_nested(top: Path) -> None:
    repo, sibling = str(top / "repo"), str(top / "sibling")
    starts: dict[str, dict[str, Any]] = {
        "listed": {"rootdir": repo, "collectOnly": True},
        "nested": {"rootdir": repo, "parentRunId": "mine"},
        "other": {"rootdir": sibling},
        "before": {"rootdir": sibling},
        "mine": {"rootdir": repo},
        "older": {"rootdir": repo},
    }

    def found(directory: str, *run_ids: str) -> str:
        return newest(run_ids, starts.__getitem__, directory)

    assert found(repo, *starts) == "mine"
    assert found(sibling, *starts) == found("", *starts) == "other"
    assert found(repo, "listed", "other") == found(repo, "other", "before") == "other"
    assert found(repo, "listed") == "listed"
    assert found(repo, "nested") == "nested"
    others = ["other"] * SOUGHT
    assert found(repo, *others[1:], "mine") == "mine"
    assert found(repo, *others, "mine") == "other"
    never_meant = ["nested", "listed"] * SOUGHT
    assert found(repo, *never_meant, "other", *never_meant, "mine") == "mine"
