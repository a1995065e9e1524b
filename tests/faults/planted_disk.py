"""Bugs about syncing, planted on purpose: with each of them the crash-state oracle must go red, or it proves nothing.

    python -m tests.faults.planted_disk NAME daemon|producer [ARGUMENTS OF THE PRODUCER]

A patch is put in before anything of the product is imported: it changes what `os` offers.
"""

from __future__ import annotations

import os
import runpy
import stat
import sys
from collections.abc import Callable
from typing import Final

MODULES: Final = {"daemon": "threepiod.lifecycle", "producer": "tests.faults.emitter"}


def retry_failed_sync() -> None:
    """A sync that fails is tried once more, and that one's success is believed."""
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        try:
            real(fd)
        except OSError:
            real(fd)

    os.fdatasync = fdatasync  # type: ignore[assignment]


def skip_directory_sync() -> None:
    """The directory of the journals is never synced."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if not (stat.S_ISDIR(os.fstat(fd).st_mode) and os.readlink(f"/proc/self/fd/{fd}").endswith("/journals")):
            real(fd)

    os.fsync = fsync  # type: ignore[assignment]


BUGS: Final[dict[str, dict[str, Callable[[], None]]]] = {
    "retry after a failed fsync": {"daemon": retry_failed_sync, "producer": retry_failed_sync},
    "directory not synced": {"daemon": skip_directory_sync, "producer": skip_directory_sync},
}
"""Name of the bug -> role of the process -> what plants it there."""


def main() -> None:
    """Plant a bug in this process and be the daemon or the producer."""
    name, role = sys.argv[1:3]
    BUGS[name][role]()
    del sys.argv[1:3]
    runpy.run_module(MODULES[role], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
