"""`python -m benchmarks generated`: suites of 100, 1,000 and 10,000 tests with known numbers of every outcome."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from benchmarks.bench import add_options, bench
from benchmarks.measure import Suite
from benchmarks.outcomes import Counts
from benchmarks.reportlog import count_log
from benchmarks.requirements import require_distributions

HELP: Final = "run generated suites of 100, 1,000 and 10,000 tests"

DESCRIPTION: Final = """\
Write suites of 100, 1,000 and 10,000 tests - passing, failing, skipped, expected to fail, with errors in setup and
teardown; in classes, parametrised, with awkward node ids - and run each twice, with a daemon of its own beside it.

Needs, in the environment named by --python: pytest, pytest-reportlog and threepiod[daemon]. About a minute in all.

Prints the table of the pandas benchmark for every run; besides, the outcomes must be those that the suites were made to
have. Exit code 0 if all is met, 1 if not, 2 if something is missing.
"""

SIZES: Final = (100, 1_000, 10_000)

FILE_TESTS: Final = 25
"""Tests in one generated file."""

FILE_COUNTS: Final = Counts(passed=19, failed=1, skipped=2, xfailed=1, xpassed=1, errors=2)
"""What pytest counts for one generated file: the test whose teardown breaks has passed as well."""

FILE_TEXT: Final = """\
import pytest


@pytest.mark.parametrize("value", ["a", "a::b", "a/b", "[a]", "a b", "ü", "a::b[c]", "-", "../a", "1", "x" * 200, "[:"])
def test_parametrised(value):
    assert value


class TestInClass:
    @pytest.mark.parametrize("number", range(4))
    def test_parametrised(self, number):
        print("printed", number)

    def test_plain(self):
        pass

    class TestNested:
        def test_plain(self):
            pass


@pytest.fixture
def breaks_in_setup():
    raise RuntimeError("setup breaks")


@pytest.fixture
def breaks_in_teardown():
    yield
    raise RuntimeError("teardown breaks")


@pytest.fixture
def skips():
    pytest.skip("skipped in setup")


def test_fails():
    assert [1, 2] == [1, 3]


@pytest.mark.skip(reason="marked")
def test_is_skipped():
    pass


def test_skips_in_setup(skips):
    pass


@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    assert False


@pytest.mark.xfail(reason="was known")
def test_passes_unexpectedly():
    pass


def test_setup_breaks(breaks_in_setup):
    pass


def test_teardown_breaks(breaks_in_teardown):
    pass
"""


def add_parser(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add_options(parser, "generated", rounds=2)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark.

    Raises:
        MissingRequirement: the environment lacks something.
    """
    versions = require_distributions(options.python, ["pytest", "pytest-reportlog", "threepiod"])
    return bench([_suite(options.python, size) for size in SIZES], options, versions)


def write_suite(directory: Path, size: int) -> None:
    """Write a suite of `size` tests, a multiple of `FILE_TESTS`."""
    directory.mkdir()
    (directory / "pytest.ini").write_text("[pytest]\n")
    for number in range(size // FILE_TESTS):
        (directory / f"test_{number:04}.py").write_text(FILE_TEXT, encoding="utf-8")


def expected_counts(size: int) -> Counts:
    """What pytest must count for a suite of `size` tests."""
    return Counts.of({name: number * (size // FILE_TESTS) for name, number in FILE_COUNTS.as_dict().items()})


def _suite(python: Path, size: int) -> Suite:
    def arguments(work: Path) -> list[str]:
        write_suite(work / "suite", size)
        return [
            "-c",
            str(work / "suite" / "pytest.ini"),
            "--report-log",
            str(work / "reportlog.jsonl"),
            str(work / "suite"),
        ]

    return Suite(
        name=f"generated-{size}",
        python=python,
        arguments=arguments,
        truth=lambda work: count_log(work / "reportlog.jsonl"),
        own_times=True,
        imports_benchmarks=False,
        ask_every=0.02,
        asks_wanted=0,
        expected=expected_counts(size),
    )
