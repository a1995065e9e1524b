"""`python -m benchmarks suite NAME`: a real project's own test suite, complete, test by test."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import Final

from benchmarks.bench import add_options, bench
from benchmarks.measure import Suite
from benchmarks.reportlog import count_log
from benchmarks.requirements import MissingRequirement, require_distributions

HELP: Final = "run a real project's own test suite: numpy, pandas, trio, ... or any other"

_ALWAYS: Final = ["pytest", "pytest-reportlog", "threepiod"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """A suite that needs no arguments.

    Attributes:
        arguments: of pytest. From them it finds the suite's root directory, and the configuration there.
        needs: distributions that the suite needs.
    """

    arguments: list[str]
    needs: list[str]


SUITES: Final = {
    "numpy": Known(arguments=["--pyargs", "numpy"], needs=["numpy", "hypothesis"]),
    "pandas": Known(arguments=["--pyargs", "pandas"], needs=["pandas", "hypothesis"]),
    "networkx": Known(arguments=["--pyargs", "networkx", "--doctest-modules"], needs=["networkx"]),
    "trio": Known(arguments=["--pyargs", "trio", "-p", "trio._tests.pytest_plugin"], needs=["trio", "trustme"]),
    "zope.interface": Known(arguments=["--pyargs", "zope.interface"], needs=["zope.interface", "zope.testing"]),
}

DESCRIPTION: Final = f"""\
Run a real project's own test suite with a daemon beside it, and compare what threepiod says of every single test.

NAME is one of: {", ".join(SUITES)}. Another suite is named as you like, with pytest's arguments behind `--`:

    python -m benchmarks suite numpy -n 2
    python -m benchmarks suite mine -- --pyargs mine.tests -m "not slow"

Needs, in the environment named by --python: pytest, pytest-reportlog, threepiod[daemon] and the suite; pytest-xdist for -n.
pandas (216,078 tests in 3.1.1) takes a quarter of an hour or more a round, 3 GB of memory for pytest, and in the directory
for temporary files 440 MB for the report log, besides journal and store.

Prints every count side by side as pytest-reportlog's file, pytest's last line, the journal, the daemon and the store
have it, then every requirement with what was measured. Exit code 0 if all are met, 1 if not, 2 if something is missing.
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("suite", metavar="NAME", help="the suite; any word where arguments of pytest follow")
    parser.add_argument("-n", dest="workers", type=int, default=0, metavar="N", help="xdist workers (default: none)")
    parser.add_argument(
        "--ask-every", type=float, default=1.0, metavar="S", help="seconds between two questions (default: %(default)s)"
    )
    parser.add_argument(
        "--asks", type=int, default=0, metavar="N", help="questions wanted while the run goes on (default: %(default)s)"
    )
    add_options(parser, "suite", rounds=1)
    parser.set_defaults(run=run, pytest_arguments=[])


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something, or the suite is not known.
    """
    known = SUITES.get(options.suite, Known(arguments=[], needs=[]))
    given: list[str] = options.pytest_arguments or known.arguments
    if not given:
        raise MissingRequirement(
            f"no suite {options.suite}; one of {', '.join(SUITES)}, or pytest's arguments after --"
        )
    workers: int = options.workers
    if workers:
        given = [*given, "-n", str(workers)]
    needs = [] if options.pytest_arguments else known.needs
    versions = require_distributions(options.python, [*_ALWAYS, *needs, *(["pytest-xdist"] if workers else [])])

    def arguments(work: Path) -> list[str]:
        return [*given, "--report-log", str(work / "reportlog.jsonl")]

    name = re.sub(r"[^A-Za-z0-9._-]", "-", options.suite) + (f"-n{workers}" if workers else "")
    options.name = name
    suite = Suite(
        name=name,
        python=options.python,
        arguments=arguments,
        truth=lambda work: count_log(work / "reportlog.jsonl"),
        own_times=not workers,
        imports_benchmarks=False,
        ask_every=options.ask_every,
        asks_wanted=options.asks,
        expected=None,
    )
    return bench([suite], options, versions)
