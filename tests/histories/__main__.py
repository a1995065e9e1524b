"""Random histories: a suite that changes and is run again and again, and what every command says of all the runs.

    python -m tests.histories                       a hundred histories from a new seed on
    python -m tests.histories --seed 7 --count 1    the history of seed 7
    python -m tests.histories --seconds 600         as many as begin within ten minutes

Prints a line for each history that does not hold, with the first of its wrong answers, and keeps its files, the other wrong
answers and the commands among them. Exit code 0 if all held, 1 if one did not, 2 for bad usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.histories.generator import generate
from tests.histories.playing import play
from tests.seeds import BAD, HOLDS, add_options, short, try_all


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.histories",
        description="Play random histories, and compare what commands say with what was so.",
        allow_abbrev=False,
    )
    add_options(parser, "histories")
    return try_all(parser.parse_args(), "histories", _tried)


def _tried(seed: int, keep: Path) -> str:
    """Play the history of a seed, print what does not hold, and return what it counts as."""
    wrong = play(generate(seed), keep)
    if wrong:
        print(f"seed {seed}, {len(wrong)} wrong: {short(wrong[0])}", flush=True)
    return BAD if wrong else HOLDS


if __name__ == "__main__":
    sys.exit(main())
