"""Row 16: collection that fails, finds nothing, or is all that is wanted."""

from __future__ import annotations

from tests.suites.checker import Compared
from tests.suites.variant import Variant

DOES = (
    "collection errors, with and without `--continue-on-collection-errors`; `--collect-only`; nothing collected; usage "
    "error; missing file"
)
HOLDS = "text kept; pytest's exit code"


def _check_texts(result: Compared) -> None:
    errors = {payload["nodeid"]: payload["error"]["stack"] for payload in result.of_type("collectionError")}
    assert "No module named 'nothing_of_this_name'" in errors["test_a.py"], errors
    assert "SyntaxError" in errors["test_c.py"], errors


def _check_collected(result: Compared) -> None:
    assert result.outcomes() == {}
    assert (result.status["collected"], result.status["finished"]) == (3, 0)


VARIANTS = [
    Variant(name="errors", suite="broken", arguments=("--ignore=test_d.py",), exit_code=2, state="failed",
            kind="collection", counts={"errors": 3}, check=_check_texts),
    Variant(name="errors and --continue-on-collection-errors", suite="broken", exit_code=1,
            counts={"errors": 3, "passed": 1}, check=_check_texts,
            arguments=("--continue-on-collection-errors", "--ignore=test_d.py")),
    Variant(name="a file that exits", suite="broken", arguments=("test_b.py", "test_d.py"), exit_code=3, state="failed",
            kind="internal-error"),
    Variant(name="only an error", suite="broken_one", arguments=("-q",), exit_code=2, state="failed", kind="collection",
            counts={"errors": 1}),
    Variant(name="an error with workers", suite="broken", arguments=("--ignore=test_d.py", "-n", "2"), plugins=("xdist",),
            with_workers=True, exit_code=1, state="failed", kind=("collection", "tests-failed"), counts=None),
    Variant(name="a broken conftest.py", suite="broken_conftest", exit_code=4, has_run=False),
    Variant(name="a broken conftest.py below", suite="broken_below", exit_code=2, state="failed", kind="collection",
            counts={"errors": 1}),
    Variant(name="--collect-only", suite="four", arguments=("--collect-only", "-k", "not 3"), exit_code=0,
            kind="collect-only", state="passed", counts={"deselected": 1}, check=_check_collected),
    Variant(name="--collect-only with an error", suite="broken_one", arguments=("--collect-only",), exit_code=2,
            state="failed", kind="collection", counts={"errors": 1}),
    Variant(name="nothing collected", suite="empty", exit_code=5, state="failed", kind="no-tests", counts={}),
    Variant(name="all deselected", suite="four", arguments=("-k", "nothing"), exit_code=5, state="failed", kind="no-tests",
            counts={"deselected": 4}),
    Variant(name="some deselected", suite="four", arguments=("-k", "1 or 3"), exit_code=0,
            counts={"passed": 2, "deselected": 2}),
    Variant(name="a missing file", suite="four", arguments=("missing.py",), exit_code=4, state="failed", kind="usage",
            counts={}),
    Variant(name="a missing test", suite="four", arguments=("test_it.py::test_missing",), exit_code=4, state="failed",
            kind="usage", counts={}),
    Variant(name="an unknown option", suite="four", arguments=("--no-such-option",), exit_code=4, has_run=False),
    Variant(name="an internal error", suite="internal_error", exit_code=3, state="failed", kind="internal-error",
            counts={"failed": 1}),
    Variant(name="an exit code that a plugin set", suite="exit_code_set", exit_code=1, state="failed", kind="error",
            counts={"passed": 1}),
]  # fmt: skip
