"""Whether files belong to a commit, as git says."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from threepio_client import committed
from threepio_client.committed import not_in_commit


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit of one file, in a directory."""
    (tmp_path / "sub dir").mkdir()
    (tmp_path / "sub dir" / "tést.py").touch()
    for step in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t.org", "commit", "-qm", "it"],
    ):
        subprocess.run(["git", *step], cwd=tmp_path, check=True)
    return tmp_path


def commit_of(checkout: Path) -> str:
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_files_are_looked_for_below_the_directory(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = commit_of(checkout)
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    pairs = {(commit, file) for file in ("tést.py", "new.py", "new\nline.py", "\udcff.py", "new\rline.py")}

    unknown = {(commit, file) for file in ("new.py", "\udcff.py", "new\rline.py")}
    assert not_in_commit(str(checkout / "sub dir"), pairs) == unknown
    assert not_in_commit(str(checkout), {(commit, "sub dir/tést.py")}) == set()


def test_of_a_commit_that_is_not_there_nothing_is_known(checkout: Path) -> None:
    assert not_in_commit(str(checkout), {("0" * 40, "new.py"), ("no commit", "new.py"), ("a\nb", "new.py")}) == set()


def test_where_git_cannot_be_asked_nothing_is_known(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = {(commit_of(checkout), "new.py")}

    assert not_in_commit(str(checkout), pairs) == pairs
    assert not_in_commit(str(checkout / "gone"), pairs) == set()
    assert not_in_commit("/", pairs) == set()
    tools = checkout / "tools"
    tools.mkdir()
    (tools / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setattr(committed, "TIMEOUT_S", 0.01)
    assert not_in_commit(str(checkout), pairs) == set()
