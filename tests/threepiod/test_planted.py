"""Files that another user planted while a directory was left open by mistake: none is used, and each is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.place import Place, wait_until
from tests.scripted import run_lines, write_journal
from threepio_client.events import ObservationType
from threepio_client.journal import append_observation

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root to make files of another user")
OTHER = 65534


def plant(path: Path, content: bytes = b"") -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o666)
    os.chown(path, OTHER, OTHER)


@pytest.mark.parametrize("kind", ["theirs", "a link"])
def test_a_store_is_neither_written_nor_read(place: Place, kind: str) -> None:
    place.start_daemon()
    place.stop_daemon()
    store = place.state_dir.store
    kept = store.rename(place.path / "kept")
    if kind == "theirs":
        plant(store, kept.read_bytes())
    else:
        store.symlink_to(kept)
    before = kept.read_bytes()
    write_journal(place.state_dir, "run", run_lines("run", 1))

    daemon = place.threepiod("start")
    answer = place.threepio("status", "run")

    why = f"it belongs to uid {OTHER}, not to you" if kind == "theirs" else "it is no file"
    assert daemon.returncode == 5
    assert f"cannot use the store {store}: {why}" in daemon.stderr
    assert "Move it away" in daemon.stderr
    assert answer.returncode == 0
    assert f"the store {store} is not read, because {why}" in answer.stderr
    assert kept.read_bytes() == before


@pytest.mark.parametrize("kind", ["theirs", "a link"])
def test_a_log_is_not_written(place: Place, kind: str) -> None:
    log = place.state_dir.daemon_log
    victim = place.path / "victim"
    plant(log)
    if kind == "a link":
        log.unlink()
        victim.touch()
        log.symlink_to(victim)

    done = place.threepiod("start")

    assert done.returncode == 2
    assert f"cannot write the log {log}: " in done.stderr
    assert (log if kind == "theirs" else victim).read_bytes() == b""


def test_an_output_file_is_not_written(served: Place) -> None:
    served.suite("def test_it(): pass")
    output = served.state_dir.output("mine")
    plant(output)

    done = served.threepio("run", "--", *served.python, "-m", "pytest", "-q", THREEPIO_RUN_ID="mine")

    assert done.returncode == 0
    assert "the command's output comes here, not into a file" in done.stderr
    assert "it belongs to another user" in done.stderr
    assert output.read_bytes() == b""


def test_an_adapters_log_is_not_written(place: Place) -> None:
    place.suite("def test_it(): pass")
    log = place.state_dir.adapter_log
    plant(log)

    done = place.pytest("-q", THREEPIO_MASK_ENV="PIN", PIN="1")  # which it complains of

    assert done.returncode == 0
    assert f"cannot write {log}: it belongs to another user" in done.stdout
    assert log.read_bytes() == b""


def test_an_observation_is_neither_believed_nor_added_to(place: Place) -> None:
    write_journal(place.state_dir, "run", run_lines("run", 1))
    theirs = place.path / "theirs"
    append_observation(theirs, ObservationType.PROCESS_GONE, {"pid": 1}, 1.0)
    observed = place.state_dir.observed("run")
    plant(observed, theirs.read_bytes())

    with pytest.raises(PermissionError, match="it belongs to another user"):
        append_observation(observed, ObservationType.PROCESS_GONE, {"pid": 1}, 1.0)
    status = place.status("run")
    place.start_daemon()
    wait_until(lambda: place.verify("run")["missing"] == 0)

    assert f"run run: what was observed of it is not believed, because it belongs to uid {OTHER}" in (
        place.state_dir.daemon_log.read_text()
    )
    assert observed.read_bytes() == theirs.read_bytes()
    assert status["state"] == "passed"
