"""What a dying process said of itself: found in any output, the last one, whole, and with the line it died in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from threepio_client import faulttrace
from threepio_client.faulttrace import TRACE_LIMIT, deepest, find

FATAL = """Fatal Python error: Segmentation fault

Current thread 0x00007f5e8a0b3740 (most recent call first):
  File "/suite/test_it.py", line 7 in test_dies
  File "/lib/_pytest/python.py", line 166 in pytest_pyfunc_call

Thread 0x00007f5e89bff6c0 (most recent call first):
  File "/lib/threading.py", line 331 in wait"""
TIMEOUT = """+++++++++++++++++++ Timeout +++++++++++++++++++
~~~~~~~~~~ Stack of helper (140119) ~~~~~~~~~~
  File "/lib/threading.py", line 1002, in _bootstrap
    self._bootstrap_inner()
  File "/lib/helper.py", line 8, in waits
    wait()
~~~~~~~~~~ Stack of MainThread (140120) ~~~~~~~~~~
  File "/lib/pytest/__main__.py", line 5, in <module>
    raise SystemExit(pytest.console_main())
  File "/suite/test_it.py", line 3, in test_hangs
    time.sleep(60)
+++++++++++++++++++ Timeout +++++++++++++++++++"""


def output(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.log"
    path.write_text(text)
    return path


@pytest.mark.parametrize("trace", [FATAL, TIMEOUT], ids=["faulthandler", "pytest-timeout"])
@pytest.mark.parametrize("before", ["", "test_it.py ..F", "collected 3 items\n\n"])
@pytest.mark.parametrize("after", ["", "\n", "\nmake: *** [all] Error 139\n"])
def test_a_trace_is_found_whatever_stands_around_it(tmp_path: Path, trace: str, before: str, after: str) -> None:
    assert find(output(tmp_path, before + trace + after)) == trace


def test_dots_for_tests_of_other_workers_are_no_part_of_it(tmp_path: Path) -> None:
    dotted = FATAL.replace('  File "/suite', '.s  File "/suite').replace("\n\nThread", "\n.\nF\n\n.Thread")

    found = find(output(tmp_path, f"{dotted}\n"))

    assert "".join(found.split()) == "".join(FATAL.split())
    assert deepest(found) == "/suite/test_it.py:7 in test_dies"


def test_where_something_else_stands_before_the_thread_that_died_no_line_is_named(tmp_path: Path) -> None:
    threads = FATAL.partition("Thread 0x")
    text = f"Fatal Python error: Aborted\n\nThread 0x{threads[2]}\nsaid by a sibling\n{FATAL.partition(chr(10))[2]}"

    found = find(output(tmp_path, text))

    assert 'File "/lib/threading.py"' in found
    assert deepest(found) == ""


def test_the_last_of_several_counts(tmp_path: Path) -> None:
    later = FATAL.replace("Segmentation fault", "Aborted")

    assert find(output(tmp_path, f"{FATAL}\nworker replaced\n{TIMEOUT}\nanother one\n{later}\n")) == later


@pytest.mark.parametrize("text", ["", "3 passed in 0.1s\n", "+++ b/file.py\n++ Timeout ++\n"])
def test_an_output_without_one(tmp_path: Path, text: str) -> None:
    assert find(output(tmp_path, text)) == ""


def test_an_output_that_cannot_be_read(tmp_path: Path) -> None:
    assert find(tmp_path / "nosuch") == ""
    assert find(tmp_path) == ""


def test_a_huge_output_is_read_at_its_end_only_and_a_huge_trace_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faulttrace, "TAIL", 64 * 1024)
    frames = '  File "/suite/test_it.py", line 9 in recurses\n' * 1_000
    path = output(tmp_path, f"{FATAL}\n{'x' * 100_000}\n{FATAL}\n{frames}")

    found = find(path)

    assert found.startswith(FATAL)
    assert len(found) == TRACE_LIMIT


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(b"\xff\xfe\0\n" + FATAL.encode() + b"\n\xff")

    assert find(path) == FATAL


@pytest.mark.parametrize(
    ("trace", "line"),
    [
        (FATAL, "/suite/test_it.py:7 in test_dies"),
        (TIMEOUT, "/suite/test_it.py:3 in test_hangs"),
        ("Fatal Python error: Aborted\n\n<no Python frame>", ""),
        ("", ""),
    ],
)
def test_the_line_it_died_in(trace: str, line: str) -> None:
    assert deepest(trace) == line


def test_a_real_segmentation_fault_names_its_line(tmp_path: Path) -> None:
    script = tmp_path / "dies.py"
    script.write_text("import os, signal\ndef dies():\n    os.kill(os.getpid(), signal.SIGSEGV)\ndies()\n")
    path = tmp_path / "run.log"
    with path.open("w") as file:
        subprocess.run([sys.executable, "-X", "faulthandler", str(script)], stdout=file, stderr=file, check=False)

    assert deepest(find(path)) == f"{script}:3 in dies"
