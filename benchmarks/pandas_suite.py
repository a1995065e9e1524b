"""`python -m benchmarks pandas`: the test suite that comes in pandas' wheel, for real."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from benchmarks.bench import add_options, bench
from benchmarks.measure import Suite
from benchmarks.reportlog import count_log
from benchmarks.requirements import require_distributions

HELP: Final = "run pandas' own test suite from its wheel"

DESCRIPTION: Final = """\
Run the test suite that comes in pandas' wheel (216,078 tests in 3.1.1), twice, with a daemon of its own beside it.

Needs, in the environment named by --python: pytest, pytest-reportlog, pandas, hypothesis and threepiod[daemon]. A
quarter of an hour or more a round, 3 GB of memory for pytest, and in the directory for temporary files 440 MB for the
report log, besides journal and store.

Prints every count side by side as pytest-reportlog's file, pytest's last line, the journal, the daemon and the store
have it, then every requirement with what was measured. Exit code 0 if all are met, 1 if not, 2 if something is missing.
"""

_DISTRIBUTIONS: Final = ["pytest", "pytest-reportlog", "pandas", "hypothesis", "threepiod"]

_ASKS_WANTED: Final = 100


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "pandas", rounds=2)
    parser.add_argument(
        "--module", default="pandas", help="run a part only, such as pandas.tests.apply (default: %(default)s)"
    )
    parser.add_argument(
        "--ask-every", type=float, default=1.0, metavar="S", help="seconds between two questions (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something.
    """
    versions = require_distributions(options.python, _DISTRIBUTIONS)

    def arguments(work: Path) -> list[str]:
        # From the arguments pytest finds its root directory, pandas' own, and the configuration there.
        return ["--pyargs", options.module, "--report-log", str(work / "reportlog.jsonl")]

    suite = Suite(
        name="pandas",
        python=options.python,
        arguments=arguments,
        truth=lambda work: count_log(work / "reportlog.jsonl"),
        own_times=True,
        imports_benchmarks=False,
        ask_every=options.ask_every,
        asks_wanted=_ASKS_WANTED,
        expected=None,
    )
    return bench([suite], options, versions)
