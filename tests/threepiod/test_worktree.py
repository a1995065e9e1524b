"""Whether the tested checkout is as committed, as git says, and whether it changed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.scripted import in_trio
from threepiod import worktree

AUTHOR = ("-c", "user.name=tests", "-c", "user.email=tests@example.org")


def git(directory: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", *AUTHOR, *arguments], cwd=directory, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with two committed files, one of them in a directory."""
    top = tmp_path / "project"
    (top / "a directory").mkdir(parents=True)
    (top / "a directory" / "a file.py").write_text("one")
    (top / "plain.py").write_text("one")
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "first")
    return top


LATER = 4e9


async def described(directory: Path, since: float = LATER) -> dict[str, Any]:
    found = await worktree.describe(str(directory), since)
    assert found is not None
    return found


@in_trio
async def test_a_clean_tree(checkout: Path) -> None:
    found = await described(checkout / "a directory")

    assert found["commit"] == git(checkout, "rev-parse", "HEAD").strip()
    assert found["dirty"] is False
    assert found == await described(checkout)


@in_trio
async def test_what_was_edited_later_is_the_same_from_within_a_directory(checkout: Path) -> None:
    (checkout / "plain.py").write_text("two")

    found = await described(checkout / "a directory", since=0.0)

    assert (found["dirty"], found["changed"]) == (None, True)
    assert found == await described(checkout, since=0.0)


@in_trio
async def test_what_is_not_tracked_does_not_make_it_dirty(checkout: Path) -> None:
    before = await described(checkout)
    (checkout / "made by a test").write_text("x")

    assert await described(checkout) == before


@in_trio
async def test_every_change_of_a_tracked_file_shows(checkout: Path) -> None:
    digests = [(await described(checkout))["digest"]]
    changed = checkout / "a directory" / "a file.py"

    for number, change in enumerate(("two", "three!", None)):
        if change is None:
            changed.unlink()
        else:
            changed.write_text(change)
            os.utime(changed, ns=(number, number))
        found = await described(checkout)
        assert found["dirty"] is True
        digests.append(found["digest"])
    git(checkout, "mv", "plain.py", "renamed.py")
    digests.append((await described(checkout))["digest"])
    git(checkout, "commit", "-q", "-a", "-m", "second")
    digests.append((await described(checkout))["digest"])

    assert len(set(digests)) == len(digests)
    assert (await described(checkout))["dirty"] is False


@in_trio
async def test_a_file_that_changed_since_the_run_began_did_not_make_it_dirty(checkout: Path) -> None:
    os.utime(checkout / "plain.py", (1000.0, 1000.0))
    (checkout / "plain.py").write_text("two")
    os.utime(checkout / "plain.py", (2000.0, 2000.0))

    for since, dirty, changed in ((1500.0, None, True), (2500.0, True, False)):
        found = await described(checkout, since)
        assert (found["dirty"], found["changed"]) == (dirty, changed)


@in_trio
async def test_git_is_left_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook
    index = checkout / ".git" / "index"
    (checkout / ".git" / "index.lock").touch()  # as while the user commits
    os.utime(checkout / "plain.py", ns=(5, 5))  # git would write this into its index
    before = index.read_bytes()

    assert (await described(checkout))["dirty"] is False
    assert index.read_bytes() == before


@in_trio
async def test_nothing_is_known_without_a_checkout_or_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await worktree.describe(str(tmp_path), LATER) is None
    assert await worktree.describe(str(tmp_path / "gone"), LATER) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await worktree.describe(str(tmp_path), LATER) is None


@in_trio
async def test_a_tree_that_takes_too_long_is_not_known(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = checkout.parent / "tools"
    tools.mkdir()
    (tools / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(worktree, "TIMEOUT_S", 0.05)

    assert await worktree.describe(str(checkout), LATER) is None
