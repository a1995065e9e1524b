"""With a daemon the tested process does not wait for the disk: by its system calls, not by what it says of itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest

from tests.place import QUICK, Place

SUITE = """
import time
import pytest

@pytest.mark.parametrize("n", range(300))
def test_quick(n): pass

@pytest.mark.parametrize("n", range(3))
def test_slow(n): time.sleep(0.4)  # longer than the window of a run that is alone
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("has_daemon", [True, False], ids=["daemon", "alone"])
def test_with_a_daemon_nothing_is_synced_until_the_end(place: Place, has_daemon: bool) -> None:
    place.suite(SUITE)
    if has_daemon:
        place.start_daemon()
    log = place.path / "strace.log"
    # Alone, how often it syncs depends on the disk: here at every line.
    environ = place.environ if has_daemon else {**place.environ, "THREEPIO_SYNC": "always"}
    command = ["strace", "-f", "-y", "-e", "trace=fsync,fdatasync,sync,syncfs,msync", "-o", str(log)]
    done = subprocess.run(
        [*command, sys.executable, "-m", "pytest", *QUICK, "-q"],
        env=environ,
        cwd=place.path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert "303 passed" in done.stdout, done.stdout + done.stderr
    calls = re.findall(r"(\w+)\(\d+<[^>]*?/?([^/>]*)>\) += 0", log.read_text())
    names = [call for call, _ in calls]
    syncs = names.count("fdatasync")
    assert syncs == 1 if has_daemon else syncs > 303
    assert names == [*["fsync"] * (len(names) - syncs), *["fdatasync"] * syncs]  # directories, when the journal is made
