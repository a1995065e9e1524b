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
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.fuzz.generator import Suite, generate
from tests.fuzz.shrinking import shrink
from tests.fuzz.trial import Complaint, run
from tests.suites.variant import NotHere

_SHOWN: Final = 300
_BAD: Final = "do not hold"


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Run random suites without and with threepiod.", allow_abbrev=False
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the first suite (default: a new one)")
    parser.add_argument("--count", type=_positive, metavar="N", help="how many suites (default: 100)")
    parser.add_argument("--seconds", type=_positive, metavar="N", help="begin none after so many seconds")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="make the suite of this seed smaller, and print it")
    options = parser.parse_args()
    if options.shrink is not None:
        if (options.seed, options.count, options.seconds) != (None, None, None):
            parser.error("--shrink goes with no other option")
        return _shrink(options.shrink)
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    count = options.count or (None if options.seconds else 100)
    return _run(seed, count, options.seconds)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number


def _run(first: int, count: int | None, seconds: int | None) -> int:
    keep = Path(tempfile.mkdtemp(prefix="fuzz-"))
    print(f"seed {first}; what does not hold is kept in {keep}", flush=True)
    start = time.monotonic()
    done: Counter[str] = Counter()
    try:
        for seed in range(first, first + count) if count else itertools.count(first):
            if seconds and time.monotonic() - start > seconds:
                break
            done[_tried(seed, keep / str(seed))] += 1
    except KeyboardInterrupt:
        print("stopped")
    if not done[_BAD]:
        keep.rmdir()
    parts = ", ".join(f"{number} {what}" for what, number in sorted(done.items()))
    print(f"{done.total()} suites in {time.monotonic() - start:.0f} s: {parts}")
    return 1 if done[_BAD] else 0


def _tried(seed: int, keep: Path) -> str:
    """Run the suite of a seed, print what does not hold, and return what it counts as."""
    try:
        complaint = run(generate(seed), keep)
    except NotHere as reason:
        print(f"seed {seed}: not to be tried: {_short(str(reason))}", flush=True)
        return "not to be tried"
    if complaint:
        print(f"seed {seed}: {_short(complaint.text)}", flush=True)
    return _BAD if complaint else "hold"


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


def _short(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]


if __name__ == "__main__":
    sys.exit(main())
