"""From `emit` to what a reader gets: any payload, whichever file of the journal its line had to go to."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tests.client.test_line import assert_same, payloads
from threepio_client import journal
from threepio_client.adapter import Adapter
from threepio_client.events import EventType
from threepio_client.runjournal import RunJournal
from threepio_client.settings import load

TROUBLES = {
    "short": "half of the line is written, then the disk is full",
    "full": "the disk is full",
    "sync": "the sync of the file fails",
}


@examples(max_examples=25, deadline=None)
@given(emitted=st.lists(st.tuples(payloads, st.sampled_from(["", "", *TROUBLES])), min_size=1, max_size=8))
def test_what_is_emitted_is_read_back_over_all_files_of_the_journal(
    emitted: list[tuple[dict[str, Any], str]],
) -> None:
    trouble = ""

    def write(fd: int, data: bytes) -> int:
        nonlocal trouble
        if trouble == "full":
            trouble = ""
            raise OSError(errno.ENOSPC, "No space left on device")
        if trouble == "short":
            trouble = "full"
            return os.write(fd, data[: len(data) // 2])
        return os.write(fd, data)

    def sync(fd: int) -> None:
        nonlocal trouble
        if trouble == "sync":
            trouble = ""
            raise OSError(errno.EIO, "Input/output error")

    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        place = {"THREEPIO_STATE_DIR": f"{directory}/state", "THREEPIO_SOCKET": f"{directory}/state/socket"}
        patched.setattr(journal, "_write", write)
        patched.setattr(journal, "_fdatasync", sync)
        adapter = Adapter(load({**place, "THREEPIO_RUN_ID": "run", "THREEPIO_SYNC": "always"}), {})
        for payload, name in emitted:
            trouble = name
            adapter.emit(EventType.TEST_CASE, payload)
        adapter.close({"exitCode": 0})
        files = len(list(Path(directory, "state", "journals").glob("run*.jsonl")))
        with closing(RunJournal(adapter._state_dir, "run")) as reader:
            reader.look()
            found = {step.event.seq: step.event for step in reader.steps(0, final=True) if step.event is not None}

    assert files == 1 + sum(bool(name) for _, name in emitted)
    assert list(found) == list(range(1, len(emitted) + 3))
    assert found[len(found)].payload["stats"]["eventsLost"] == 0
    for number, (payload, _) in enumerate(emitted, start=2):
        assert_same(found[number].payload, payload)
