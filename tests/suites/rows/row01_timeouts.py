"""Row 1: pytest-timeout while the daemon is stopped."""

from tests.suites.variant import Variant

DOES = "`@timeout(1)` from pytest-timeout while the daemon is stopped (SIGSTOP), both timeout methods"
HOLDS = "no timeout caused by the plugin"

_SLOW = ("threepiod was slow or away",)
VARIANTS = [
    *(
        Variant(
            name=f"daemon stopped by a test, method {method}, {what}",
            suite=suite,
            arguments=(f"--timeout-method={method}", "--tb=no"),
            plugins=plugins,
            own_daemon=True,
            environ=environ,
            counts=counts,
            says=_SLOW,
            solo_says=(),
        )
        for method in ("signal", "thread")
        for what, suite, plugins, environ, counts in [
            ("large failures", "timeouts", ("timeout",), {}, {"failed": 3, "passed": 12}),
            ("one event at a time", "timeouts", ("timeout",), {"THREEPIO_EVENT_BUFFER_SIZE": "1"},
             {"failed": 3, "passed": 12}),
            ("two tests of 40 large subtests", "timeouts_subtests", ("timeout", "subtests"), {},
             {"passed": 2, "skipped": 1, "subtests_skipped": 80}),
        ]
    ),
    Variant(
        name="a timeout of the suite's own, method signal",
        suite="timeout_real",
        arguments=("--timeout-method=signal",),
        plugins=("timeout",),
        counts={"failed": 1, "passed": 2},
    ),
]  # fmt: skip
