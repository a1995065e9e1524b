"""Row 15: errors beside an outcome."""

from __future__ import annotations

from tests.suites.checker import Compared
from tests.suites.variant import Variant

DOES = "error in setup, error in teardown after pass and after fail"
HOLDS = "both facts kept"

_BOTH = {
    "test_setup": ["ERROR"],
    "test_teardown_after_pass": ["PASS", "ERROR"],
    "test_teardown_after_fail": ["FAIL", "ERROR"],
    "test_teardown_after_skip": ["SKIP", "ERROR"],
}


def _check(result: Compared) -> None:
    found = result.outcomes()
    for name, statuses in _BOTH.items():
        assert found[f"test_it.py::{name}"] == statuses, (name, found)
    both = [p for p in result.of_type("testCase") if p["testName"] == "test_teardown_after_fail"]
    assert [p["phase"] for p in both] == ["call", "teardown"]
    assert ["in call" in p["error"]["stack"] for p in both] == [True, False]
    assert "no teardown" in both[1]["error"]["message"]


VARIANTS = [
    Variant(name="in one process", suite="errors", check=_check),
    Variant(name="with workers", suite="errors", arguments=("-n", "2", "--dist", "loadfile"), plugins=("xdist",),
            with_workers=True, check=_check),
]  # fmt: skip
