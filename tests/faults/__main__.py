"""The fault table: try every row, or some, and print what was found.

    python -m tests.faults                   short form: seconds a row
    python -m tests.faults --long            the full figures: an hour or two, needs root
    python -m tests.faults --long --only 5   one row (may be given several times)

Not a row, because its faults are all of them at once: `python -m tests.faults.traces --seconds 600`.

Exit code 0 if every row that was tried holds, 1 if one does not, 2 for bad usage.
"""

from __future__ import annotations

import argparse
import datetime
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.row import NotHere, Result, Row, Scale, all_rows
from tests.place import Place


def main() -> int:
    """Run the rows that were asked for, one after the other, and print the table."""
    rows = {row.number: row for row in all_rows()}
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults", description="Try what threepiod must survive.", allow_abbrev=False
    )
    parser.add_argument("--long", action="store_true", help="the full figures instead of seconds a row")
    parser.add_argument(
        "--only", type=int, action="append", metavar="N", choices=list(rows), help="only row N; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=None, help="seed of all randomness (default: a new one, printed)")
    options = parser.parse_args()
    scale = Scale.LONG if options.long else Scale.SHORT
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    done = []
    for number in options.only or rows:
        print(f"row {number}: {rows[number].fault} (seed {seed}) ...", file=sys.stderr, flush=True)
        done.append((rows[number], *_try(rows[number], scale, seed)))
        print(_table_row(*done[-1]), file=sys.stderr, flush=True)
    date = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{date}, `python -m tests.faults{' --long' if options.long else ''}`, seed {seed}\n")
    print("| # | fault | holds | figures | seconds |\n|---|---|---|---|---|")
    for row, result, seconds in done:
        print(_table_row(row, result, seconds))
    return 1 if any(isinstance(result, Result) and result.failures for _, result, _ in done) else 0


def _try(row: Row, scale: Scale, seed: int) -> tuple[Result | NotHere, float]:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"row{row.number}-") as directory:
        place = Place(Path(directory))
        result: Result | NotHere
        try:
            result = row.run(scale, seed, place)
        except NotHere as reason:
            result = reason
        finally:
            place.stop_daemon()
    return result, time.monotonic() - start


def _table_row(row: Row, result: Result | NotHere, seconds: float) -> str:
    if isinstance(result, NotHere):
        return f"| {row.number} | {row.fault} | not tried | {result} | |"
    holds = "yes" if not result.failures else "NO: " + "; ".join(result.failures)
    return f"| {row.number} | {row.fault} | {holds} | {result.figures} | {seconds:.0f} |"


if __name__ == "__main__":
    sys.exit(main())
