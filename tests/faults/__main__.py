"""The fault table: try every row, or some, and print what was found.

    python -m tests.faults                   short form: seconds a row
    python -m tests.faults --long            the full figures: an hour or two, needs root
    python -m tests.faults --long --only 5   one row (may be given several times)
    python -m tests.faults --planted         instead: the bugs planted on purpose, five seeds each

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
import traceback
from pathlib import Path
from typing import Final

from tests.faults.proofs import table
from tests.faults.row import NotHere, Result, Row, Scale, all_rows
from tests.place import Place

PROOF_SEEDS: Final = 5


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
    parser.add_argument("--planted", action="store_true", help="prove the oracle: it must find every planted bug")
    parser.add_argument("--seed", type=int, default=None, help="seed of all randomness (default: a new one, printed)")
    options = parser.parse_args()
    scale = Scale.LONG if options.long else Scale.SHORT
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    if options.planted:
        return _prove(seed)
    done = []
    for number in options.only or rows:
        print(f"row {number}: {rows[number].fault} (seed {seed}) ...", file=sys.stderr, flush=True)
        done.append((rows[number], *_try(rows[number], scale, seed)))
        print(_table_row(*done[-1]), file=sys.stderr, flush=True)
    print(f"{_today()}, `python -m tests.faults{' --long' if options.long else ''}`, seed {seed}\n")
    print("| # | fault | holds | figures | seconds |\n|---|---|---|---|---|")
    for row, result, seconds in done:
        print(_table_row(row, result, seconds))
    return 1 if any(isinstance(result, Result) and result.failures for _, result, _ in done) else 0


def _prove(seed: int) -> int:
    lines, holds = table([seed + number for number in range(PROOF_SEEDS)])
    print(f"{_today()}, `python -m tests.faults --planted`, seeds {seed} to {seed + PROOF_SEEDS - 1}\n")
    print("\n".join(lines))
    return 0 if holds else 1


def _today() -> datetime.date:
    return datetime.datetime.now(tz=datetime.UTC).date()


def _try(row: Row, scale: Scale, seed: int) -> tuple[Result | NotHere, float]:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"row{row.number}-") as directory:
        place = Place(Path(directory))
        result: Result | NotHere
        try:
            result = row.run(scale, seed, place)
        except NotHere as reason:
            result = reason
        except Exception as error:  # noqa: BLE001 - a row that breaks does not take the others' results with it
            traceback.print_exc()
            result = Result(figures="it ended early", failures=(f"seed {seed}: {error!r}",))
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
