"""The command line of what is made by chance: one seed after another is tried, and what does not hold is kept."""

from __future__ import annotations

import argparse
import itertools
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

_SHOWN: Final = 300
HOLDS: Final = "hold"
BAD: Final = "do not hold"


def add_options(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options that say which seeds, of suites or of whatever is made of them."""
    parser.add_argument("--seed", type=int, metavar="N", help="of the first one (default: a new one)")
    parser.add_argument("--count", type=_positive, metavar="N", help=f"how many {what} (default: 100)")
    parser.add_argument("--seconds", type=_positive, metavar="N", help="begin none after so many seconds")


def try_all(options: argparse.Namespace, what: str, tried: Callable[[int, Path], str]) -> int:
    """Try one seed after another, say what came of it, and return the exit code: 1 if one did not hold.

    Args:
        options: those of `add_options`.
        what: is made of seeds.
        tried: tries a seed, keeps the files of what does not hold at a path, prints a line about it, and returns what it
            counts as: HOLDS, BAD, or something else.
    """
    first = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    count, seconds = options.count or (None if options.seconds else 100), options.seconds
    keep = Path(tempfile.mkdtemp(prefix=f"{what}-"))
    print(f"seed {first}; what does not hold is kept in {keep}", flush=True)
    start = time.monotonic()
    done: Counter[str] = Counter()
    try:
        for seed in range(first, first + count) if count else itertools.count(first):
            if seconds and time.monotonic() - start > seconds:
                break
            done[tried(seed, keep / str(seed))] += 1
    except KeyboardInterrupt:
        print("stopped")
    if not done[BAD]:
        keep.rmdir()
    parts = ", ".join(f"{number} {kind}" for kind, number in sorted(done.items()))
    print(f"{done.total()} {what} in {time.monotonic() - start:.0f} s: {parts}")
    return 1 if done[BAD] else 0


def short(text: str) -> str:
    """Return as much of a text as goes into a line."""
    return " ".join(text.split())[:_SHOWN]


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number
