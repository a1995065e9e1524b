"""The crash matrix: let a suite die everywhere and in every way, and print what the system says of it.

    python -m tests.crashes                          the cells that differ in kind: a minute
    python -m tests.crashes --long                   every cell: a quarter of an hour; as root, for the control groups
    python -m tests.crashes --only "call,"    the cells whose name has this in it (may be given several times)

Exit code 0 if all that was tried is right, 1 if something is not, 2 for bad usage.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from pathlib import Path

from tests.crashes.cell import Cell, Outcome, all_cells, short_cells, try_cell
from tests.faults.row import NotHere
from tests.place import Place


def main() -> int:
    """Try the cells that were asked for, one after the other, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description="Let a suite die.", allow_abbrev=False)
    parser.add_argument("--long", action="store_true", help="every cell")
    parser.add_argument(
        "--only", action="append", metavar="TEXT", help="cells with this in their name; may be repeated"
    )
    options = parser.parse_args()
    offered = all_cells() if options.long or options.only else short_cells()
    cells = [cell for cell in offered if not options.only or any(text in cell.name for text in options.only)]
    done: list[tuple[Cell, Outcome | NotHere]] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="crash-") as directory:
        served, alone = Place(Path(directory) / "served"), Place(Path(directory) / "alone")
        for place in (served, alone):
            place.path.mkdir()
        served.start_daemon()
        try:
            for number, cell in enumerate(cells):
                outcome: Outcome | NotHere
                try:
                    outcome = try_cell(cell, served, alone, Path(directory) / f"cell{number}")
                except NotHere as reason:
                    outcome = reason
                except Exception as error:  # noqa: BLE001 - a cell that breaks does not take the others' results with it
                    outcome = Outcome(said="", failures=(repr(error),))
                done.append((cell, outcome))
                print(_row(cell, outcome), file=sys.stderr, flush=True)
        finally:
            served.stop_daemon()
    today = datetime.datetime.now(tz=datetime.UTC).date()
    bad = sum(isinstance(outcome, Outcome) and bool(outcome.failures) for _, outcome in done)
    print(f"{today}, `python -m tests.crashes{' --long' if options.long else ''}`, {time.monotonic() - start:.0f} s\n")
    return 1 if bad else 0


def _row(cell: Cell, outcome: Outcome | NotHere) -> str:
    if isinstance(outcome, NotHere):
        return f"| {cell.name} | not tried | {outcome} |"
    right = "NO: " + "; ".join(outcome.failures) if outcome.failures else "yes"
    return f"| {cell.name} | {right} | {outcome.said} |"


if __name__ == "__main__":
    sys.exit(main())
