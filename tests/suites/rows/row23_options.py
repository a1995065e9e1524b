"""Row 23: options that change what pytest shows."""

from __future__ import annotations

from tests.suites.rows.row14_skips import MIXED, check_mixed
from tests.suites.variant import Variant

DOES = "`-p no:terminal`, `-p no:capture`, `-s`, `-q -q`, `--tb=no`, `-p no:faulthandler`, `--cov`"
HOLDS = "same facts"

_OPTIONS: list[tuple[str, ...]] = [
    ("-p", "no:terminal"),
    ("-p", "no:capture"),
    ("-s",),
    ("-s", "-v", "--tb=short"),
    ("-q",),
    ("-q", "-q"),
    ("--tb=no",),
    ("-p", "no:faulthandler"),
    ("-p", "no:warnings", "-p", "no:logging", "-p", "no:junitxml"),
    ("--no-header", "--no-summary"),
    ("--capture=sys", "--color=yes", "-vv"),
]
VARIANTS = [
    *(
        Variant(name=" ".join(options), suite="mixed", arguments=options, check=check_mixed,
                counts={name: number for name, number in MIXED.items() if (name, "no:warnings" in options)
                        != ("warnings", True)})
        for options in _OPTIONS
    ),
    Variant(name="--cov", suite="covered", plugins=("pytest_cov",), arguments=("--cov=covered_code", "--cov-report=term"),
            counts={"failed": 1, "passed": 1}),
    Variant(name="--cov with a limit that is not reached", suite="covered", plugins=("pytest_cov",), exit_code=1,
            arguments=("--cov=covered_code", "--cov-fail-under=100", "-k", "test_a"), state="failed", kind="error",
            counts={"passed": 1, "deselected": 1}),
    Variant(name="--cov with workers", suite="covered", plugins=("pytest_cov", "xdist"), with_workers=True,
            arguments=("--cov=covered_code", "-n", "2"), counts={"failed": 1, "passed": 1}),
]  # fmt: skip
