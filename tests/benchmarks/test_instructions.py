"""Counted instructions are those of a command and of every process that it starts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.instructions import counted
from benchmarks.measure import BenchmarkFailed

CALLGRIND = """#!/bin/sh
for option; do case "$option" in --log-file=*) log=${option#--log-file=} ;; esac; done
echo "==11== Collected : 4000" > "${log%%%p}11"
echo "==12== Collected : 23" > "${log%%%p}12"
"""


@pytest.fixture
def valgrind(tmp_path: Path) -> Path:
    """A tool that says what callgrind says of two processes."""
    tool = tmp_path / "bin" / "valgrind"
    tool.parent.mkdir()
    tool.write_text(CALLGRIND)
    tool.chmod(0o700)
    (tmp_path / "cwd").mkdir()
    return tool


def count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return counted("callgrind", ["true"], tmp_path / "cwd", dict(os.environ))


@pytest.mark.usefixtures("valgrind")
def test_those_of_all_processes_are_summed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert count(tmp_path, monkeypatch) == 4023


def test_a_process_that_was_not_counted_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valgrind: Path
) -> None:
    valgrind.write_text(CALLGRIND.replace("Collected : 23", "killed"))

    with pytest.raises(BenchmarkFailed, match="did not count every process"):
        count(tmp_path, monkeypatch)
