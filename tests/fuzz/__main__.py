"""Random suites, each run without and with threepiod, and checked as every other suite of these tests.

    python -m tests.fuzz                            a hundred suites from a new seed on
    python -m tests.fuzz --seed 7 --count 1         the suite of seed 7
    python -m tests.fuzz --seconds 600              as many as begin within ten minutes
    python -m tests.fuzz --shrink 7                 the least of the suite of seed 7 that has the same kind of complaint

Prints a line for each suite that does not hold, and keeps its files. Exit code 0 if all held, 1 if one did not, 2 for bad
usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.generator import Suite, generate
from tests.fuzz.shrinking import shrink
from tests.fuzz.trial import Complaint, run
from tests.seeds import BAD, HOLDS, add_options, short, try_all
from tests.suites.variant import NotHere


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Run random suites without and with threepiod.", allow_abbrev=False
    )
    add_options(parser, "suites")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="make the suite of this seed smaller, and print it")
    options = parser.parse_args()
    if options.shrink is not None:
        if (options.seed, options.count, options.seconds) != (None, None, None):
            parser.error("--shrink goes with no other option")
        return _shrink(options.shrink)
    return try_all(options, "suites", _tried)


def _tried(seed: int, keep: Path) -> str:
    """Run the suite of a seed, print what does not hold, and return what it counts as."""
    try:
        complaint = run(generate(seed), keep)
    except NotHere as reason:
        print(f"seed {seed}: not to be tried: {short(str(reason))}", flush=True)
        return "not to be tried"
    if complaint:
        print(f"seed {seed}: {short(complaint.text)}", flush=True)
    return BAD if complaint else HOLDS


def _shrink(seed: int) -> int:
    suite = generate(seed)
    complaint = _complaint(suite)
    if complaint is None:
        print(f"seed {seed} holds")
        return 0

    def is_same(smaller: Suite) -> bool:
        found = _complaint(smaller)
        return found is not None and found.kind == complaint.kind

    smallest = shrink(suite, is_same)
    for path, text in smallest.files.items():
        print(f"--- {path}\n{text}")
    print(f"--- {smallest.command}")
    last = _complaint(smallest)
    print(last.text[:2_000] if last else "it does not happen every time")
    return 1


def _complaint(suite: Suite) -> Complaint | None:
    try:
        return run(suite)
    except NotHere:
        return None


if __name__ == "__main__":
    sys.exit(main())
