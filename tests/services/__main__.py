"""`python -m tests.services`: boot a systemd in namespaces of its own, install the service, and try it. Needs root.

Exit code 0 if every check holds, 1 if not, 2 if the machine cannot be made here.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.services.checks import CHECKS, Tried
from tests.services.machine import Machine, NotHere


def main() -> int:
    """Run all checks, one after the other: each begins with what the one before left."""
    argparse.ArgumentParser(prog="python -m tests.services", description=__doc__).parse_args()
    failed = 0
    try:
        with Machine() as machine:
            print(machine.as_root("systemctl", "--version").stdout.splitlines()[0], flush=True)
            tried = Tried(machine)
            for check in CHECKS:
                started = time.monotonic()
                try:
                    seen, is_fine = check(tried), True
                except AssertionError:
                    seen, is_fine = traceback.format_exc(), False
                failed += not is_fine
                word = "OK" if is_fine else "NOT OK"
                print(f"{check.__name__:<14} {word:<7} {time.monotonic() - started:5.1f} s  {seen}", flush=True)
    except NotHere as reason:
        print(f"tests.services: {reason}", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
