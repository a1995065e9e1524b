"""One process: emit the events of a kept run through the real adapter, so many a second.

    python -m benchmarks.emit_run STATE_DIR RUN ROOTDIR RATE

Where to, says its environment: THREEPIO_STATE_DIR, THREEPIO_SOCKET, THREEPIO_RUN_ID. Prints when it ended, in seconds
since the epoch.
"""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from benchmarks.emit_stream import OWN
from threepio_client.adapter import Adapter
from threepio_client.paths import StateDir
from threepio_client.runjournal import RunJournal
from threepio_client.settings import load

EVERY: Final = 100
"""Events between two looks at the clock."""


def main() -> None:
    """Emit."""
    state_dir, run_id, rootdir, rate = StateDir(Path(sys.argv[1])), sys.argv[2], sys.argv[3], float(sys.argv[4])
    adapter = Adapter(load(), {"runner": {"name": "stream"}, "rootdir": rootdir, "cwd": rootdir, "argv": []})
    begin, count = time.perf_counter(), 0
    with closing(RunJournal(state_dir, run_id)) as journal:
        journal.look()
        for step in journal.steps(0, final=True):
            if step.event is None or step.event.type in OWN:
                continue
            adapter.emit(step.event.type, step.event.payload)
            count += 1
            if count % EVERY == 0:
                time.sleep(max(begin + count / rate - time.perf_counter(), 0.0))
    adapter.close({"exitCode": 1})
    print(time.time())


if __name__ == "__main__":
    main()
