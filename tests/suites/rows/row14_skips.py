"""Row 14: skips and expected failures of every kind."""

from __future__ import annotations

from tests.suites.checker import Compared
from tests.suites.variant import Variant

DOES = (
    "skip: mark, module level, in setup, in call, unittest; xfail in setup, `run=False`, strict xpass; three classes with "
    "one test name"
)
HOLDS = "each counted once"

MIXED = {
    "failed": 3,
    "passed": 7,
    "skipped": 4,
    "xfailed": 4,
    "xpassed": 1,
    "errors": 3,
    "warnings": 2,
}
_OUTCOMES = {
    "TestGroup::test_values[a::b]": ["PASS"],
    "TestGroup::test_values[c]": ["PASS"],
    "TestGroup::TestInner::test_same": ["PASS"],
    "TestOther::test_same": ["PASS"],
    "test_same": ["PASS"],
    "test_fails": ["FAIL"],
    "test_skipped": ["SKIP"],
    "test_skips_itself": ["SKIP"],
    "test_skipped_in_setup": ["SKIP"],
    "test_xfails": ["XFAIL"],
    "test_xfail_not_run": ["XFAIL"],
    "test_xpasses": ["XPASS"],
    "test_strict_xpass": ["FAIL"],
    "test_setup_error": ["ERROR"],
    "test_xfail_in_setup": ["XFAIL"],
    "test_teardown_error": ["PASS", "ERROR"],
    "test_both_errors": ["FAIL", "ERROR"],
    "TestUnit::test_skip": ["SKIP"],
    "TestUnit::test_expected": ["XFAIL"],
    "TestUnit::test_pass": ["PASS"],
}


def check_mixed(result: Compared) -> None:
    """Check every outcome of the suite `mixed`."""
    found = {nodeid.removeprefix("test_it.py::"): statuses for nodeid, statuses in result.outcomes().items()}
    assert found == _OUTCOMES, found
    assert result.status["collected"] == result.status["finished"] == 20
    assert result.status["never_ran"] == 0


def _check_classes(result: Compared) -> None:
    same = [p["parentNames"] for p in result.of_type("testCase") if p["testName"] == "test_same"]
    names = ["TestOne", "TestTwo", "TestThree", "TestWhole", "TestSetUpClass"]
    assert same == [["test_it.py", name] for name in names], same
    reasons = [p["skipReason"] for p in result.of_type("testCase") if p["testName"] == "test_skipped"]
    assert reasons == ["first", "second", "third"], reasons
    modules = [p for p in result.of_type("testCase") if p["phase"] == "collect"]
    assert {p["nodeid"] for p in modules} == {"test_module.py", "test_importorskip.py"}


VARIANTS = [
    Variant(name="every kind of outcome", suite="mixed", arguments=("-rA",), counts=MIXED, check=check_mixed),
    Variant(name="skips in classes of one test name, skipped modules", suite="classes", counts={"passed": 1, "skipped": 10},
            check=_check_classes),
    Variant(name="xfails", suite="xfails", counts={"failed": 3, "xfailed": 6, "xpassed": 2}),
]  # fmt: skip
