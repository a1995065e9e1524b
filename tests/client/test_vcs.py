"""The commit of a checkout, from git's own files: as git itself tells it, and nothing where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from threepio_client.vcs import checkout_of, git_head

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout on the branch `main`, without its commit."""
    git_dir = tmp_path / "project" / ".git"
    (git_dir / "refs" / "heads").mkdir(parents=True)
    (git_dir / "HEAD").write_text("ref: refs/heads/main\n")
    return git_dir.parent


def test_a_branch_and_its_commit(checkout: Path) -> None:
    (checkout / ".git/refs/heads/main").write_text(f"{COMMIT}\n")
    (checkout / "src/package").mkdir(parents=True)

    assert git_head(checkout) == {"branch": "main", "commit": COMMIT}
    assert git_head(checkout / "src" / "package") == {"branch": "main", "commit": COMMIT}


def test_a_branch_with_a_slash(checkout: Path) -> None:
    (checkout / ".git/HEAD").write_text("ref: refs/heads/feature/x\n")
    (checkout / ".git/refs/heads/feature").mkdir()
    (checkout / ".git/refs/heads/feature/x").write_text(COMMIT)

    assert git_head(checkout) == {"branch": "feature/x", "commit": COMMIT}


def test_a_packed_branch_and_a_loose_one_that_is_newer(checkout: Path) -> None:
    (checkout / ".git/packed-refs").write_text(
        "# pack-refs with: peeled fully-peeled sorted\n"
        f"{OTHER} refs/heads/not-main\n{COMMIT} refs/heads/main\n{OTHER} refs/tags/v1\n^{OTHER}\n"
    )
    assert git_head(checkout) == {"branch": "main", "commit": COMMIT}

    (checkout / ".git/refs/heads/main").write_text(OTHER)
    assert git_head(checkout)["commit"] == OTHER


def test_a_detached_head(checkout: Path) -> None:
    (checkout / ".git/HEAD").write_text(f"{COMMIT}\n")

    assert git_head(checkout) == {"commit": COMMIT}


def test_a_branch_without_a_commit(checkout: Path) -> None:
    assert git_head(checkout) == {"branch": "main"}


def test_a_worktree(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".git/refs/heads/side").write_text(COMMIT)
    own = checkout / ".git/worktrees/side"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/side\n")
    (own / "commondir").write_text("../..\n")
    (tmp_path / "side").mkdir()

    for target in (str(own), "../project/.git/worktrees/side"):
        (tmp_path / "side/.git").write_text(f"gitdir: {target}\n")
        assert git_head(tmp_path / "side") == {"branch": "side", "commit": COMMIT}


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"gitdir: /nowhere"])
def test_a_broken_checkout_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".git").write_bytes(content)

    assert git_head(tmp_path) == {}


def test_an_empty_git_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    assert git_head(tmp_path) == {}


def test_no_checkout_is_none(tmp_path: Path) -> None:
    if any((parent / ".git").exists() for parent in tmp_path.parents):
        pytest.skip("the temporary directory lies in a checkout")

    assert git_head(tmp_path) == {}
    assert git_head(tmp_path / "missing") == {}


def test_it_agrees_with_git(tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("there is no git")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, env=environ, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet")
    git("checkout", "--quiet", "-b", "work")
    git("commit", "--quiet", "--allow-empty", "-m", "one")
    expected = {"branch": "work", "commit": git("rev-parse", "HEAD")}
    assert git_head(tmp_path) == expected
    git("pack-refs", "--all")
    assert git_head(tmp_path) == expected
    git("worktree", "add", "--quiet", "-b", "other", "side")
    assert git_head(tmp_path / "side") == {"branch": "other", "commit": expected["commit"]}
    git("checkout", "--quiet", "--detach")
    assert git_head(tmp_path) == {"commit": expected["commit"]}


def test_what_cannot_be_looked_into_is_no_checkout(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    assert checkout_of(tmp_path / ("x" * 300)) == tmp_path  # as good as a directory of another user's: stat(2) fails
