"""Row 1: pytest-timeout while the daemon is stopped."""

from tests.suites.variant import Variant

DOES = "`@timeout(1)` from pytest-timeout while the daemon is stopped (SIGSTOP), both timeout methods"
HOLDS = "no timeout caused by the plugin"

_SLOW = ("threepiod was slow or away",)
_EASY = {"SUITE_TIMEOUT": "4", "THREEPIO_BLOCK_TOTAL_MS": "60000"}
"""A busy machine does not time out in 4 s; waits that add up within one test do, if the budget for all allows it."""
_PASSED = {"failed": 3, "passed": 12}
_SUITES = [
    ("large failures", "timeouts", ("timeout",), {}, _PASSED),
    ("one event at a time", "timeouts", ("timeout",), {"THREEPIO_EVENT_BUFFER_SIZE": "1"}, _PASSED),
    ("two tests of 40 large subtests", "timeouts_subtests", ("timeout", "subtests"), {}, None),
]  # fmt: skip
VARIANTS = [
    *(
        Variant(
            name=f"daemon stopped by a test, method {method}, {what}, timeout {timeouts['SUITE_TIMEOUT']} s",
            suite=suite,
            arguments=(f"--timeout-method={method}", "--tb=no"),
            plugins=plugins,
            own_daemon=True,
            environ={**environ, **timeouts},
            counts=counts,
            says=_SLOW,
            solo_says=(),
            long=timeouts is not _EASY,
        )
        for timeouts in (_EASY, {"SUITE_TIMEOUT": "1"})
        for method in ("signal", "thread")
        for what, suite, plugins, environ, counts in _SUITES
    ),
    Variant(
        name="a timeout of the suite's own, method signal",
        suite="timeout_real",
        arguments=("--timeout-method=signal",),
        plugins=("timeout",),
        counts={"failed": 1, "passed": 2},
    ),
]
