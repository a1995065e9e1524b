"""The table of suites that break reporters: run every row, or some, and print what was found.

    python -m tests.suites                                  every variant, with this Python's pytest
    python -m tests.suites --only 17                        one row (may be given several times)
    python -m tests.suites --python /path/to/python         another Python's pytest (may be given several times)

Exit code 0 if all that was tried holds, 1 if something does not, 2 for bad usage.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.place import Place
from tests.suites import interpreter
from tests.suites.checker import Checker, Compared, checker_of
from tests.suites.variant import NotHere, Variant, all_rows


def main() -> int:
    """Run the variants that were asked for, one after the other, and print the table."""
    rows = {row.number: row for row in all_rows()}
    parser = argparse.ArgumentParser(
        prog="python -m tests.suites", description="Run suites that break reporters.", allow_abbrev=False
    )
    parser.add_argument(
        "--only", type=int, action="append", metavar="N", choices=list(rows), help="only row N; may be repeated"
    )
    parser.add_argument(
        "--python", action="append", metavar="PATH", help="whose pytest to run (default: this one's); may be repeated"
    )
    options = parser.parse_args()
    pythons = [interpreter.ask(path) for path in options.python or [sys.executable]]
    lines = []
    holds = True
    with _shared() as place:
        checkers = [Checker(place, python.path) for python in pythons]
        for number in options.only or rows:
            for variant in rows[number].variants:
                cells = [_try(checker, variant) for checker in checkers]
                holds = holds and not any(cell.startswith("NO") for cell in cells)
                lines.append(f"| {number} | {variant.name} | {' | '.join(cells)} |")
                print(lines[-1], file=sys.stderr, flush=True)
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{today}, `python -m tests.suites`\n")
    print(f"| # | variant | {' | '.join(f'pytest {python.pytest}, Python {python.python}' for python in pythons)} |")
    print(f"|---|---|{'---|' * len(pythons)}")
    print("\n".join(lines))
    return 0 if holds else 1


@contextmanager
def _shared() -> Iterator[Place]:
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    place = Place(path)
    try:
        place.start_daemon()
        yield place
    finally:
        place.stop_daemon()
        shutil.rmtree(path, ignore_errors=True)


def _try(checker: Checker, variant: Variant) -> str:
    """Return the table's cell for one variant and one Python."""
    start = time.monotonic()
    try:
        with checker_of(variant, checker) as own:
            found = own.check(variant)
    except NotHere as reason:
        return f"not tried: {reason}"
    except Exception as error:  # noqa: BLE001 - a variant that breaks does not take the others' results with it
        traceback.print_exc()
        return "NO: " + " ".join(str(error).split())[:300]
    return f"holds: {_figures(found)} ({time.monotonic() - start:.1f} s)"


def _figures(found: dict[str, Compared]) -> str:
    """Return what came of a variant, in a few words."""
    parts = []
    for result in found.values():
        if not result.status:
            part = f"exit code {result.exit_code}, no run"
        else:
            counts = ", ".join(f"{number} {name}" for name, number in result.counts.items()) or "nothing counted"
            part = f"{result.status['state']}, exit code {result.exit_code}; {counts}; {len(result.events)} events"
            part += f"; {result.figures}" if result.figures else ""
        if part not in parts:
            parts.append(part)
    return "; without a daemon: ".join(parts)


if __name__ == "__main__":
    sys.exit(main())
