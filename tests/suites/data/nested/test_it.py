import os
import subprocess
import sys

import pytest

INNER = """
import pytest

def test_inner_passes(): pass

def test_inner_fails(): assert 0

@pytest.mark.skip
def test_inner_skipped(): pass
"""
QUICK = os.environ["SUITE_BLOCKED"].split()


def test_before():
    pass


def test_in_process(pytester):
    pytester.makepyfile(INNER)
    pytester.runpytest_inprocess(*QUICK).assert_outcomes(passed=1, failed=1, skipped=1)


def test_in_a_process_of_pytester(pytester):
    pytester.makepyfile(INNER)
    pytester.runpytest_subprocess(*QUICK).assert_outcomes(passed=1, failed=1, skipped=1)


def test_in_a_process(tmp_path):
    (tmp_path / "test_inner.py").write_text(INNER)
    done = subprocess.run([sys.executable, "-m", "pytest", *QUICK, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "1 failed, 1 passed, 1 skipped" in done.stdout


def test_that_dies_within(tmp_path):
    (tmp_path / "test_inner.py").write_text("import os\ndef test_dies(): os._exit(3)")
    assert subprocess.run([sys.executable, "-m", "pytest", *QUICK, str(tmp_path)], stdout=-1).returncode == 3


def test_main_called(tmp_path):
    (tmp_path / "test_called.py").write_text("def test_fails(): assert 0")
    assert pytest.main([*QUICK, f"--rootdir={tmp_path}", str(tmp_path)]) == 1


def test_fails():
    assert os.environ["PYTEST_CURRENT_TEST"] == ""
