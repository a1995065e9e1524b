"""Row 12: the process ends outside of a test's call."""

from __future__ import annotations

from tests.suites.checker import Compared
from tests.suites.rows.row11_deaths import DEATHS, dying, in_flight

DOES = "the same at import time of one test file, in a session fixture, in teardown, at exit"
HOLDS = "the file or the phase is named"

_DIES = "test_it.py::test_dies"
_PLACES = {
    "import": (in_flight(("test_it.py", "collect")), {}),
    "fixture": (in_flight(("test_it.py::test_first", "setup"), never_ran=3), {"passed": 1}),
    "session fixture": (in_flight((_DIES, "setup"), never_ran=2), {"passed": 2}),
    "teardown": (in_flight(("test_it.py::test_first", "teardown"), never_ran=2), {"passed": 2}),
    "session fixture's teardown": (in_flight(("test_it.py::test_after", "teardown"), never_ran=0), {"passed": 4}),
    "session's end": (in_flight(("", "session end"), never_ran=0), {"passed": 4}),
}
_SHORT = ("segfault",)
"""In the tests: the other deaths differ from it only in what row 11 and `tests/crashes` show."""


def _check_afterwards(result: Compared) -> None:
    assert result.status["verdict"]["text"].startswith("passed"), result.status["verdict"]


VARIANTS = [
    *(
        dying(how, where, counts=counts, check=check, long=how not in _SHORT)
        for where, (check, counts) in _PLACES.items()
        for how in DEATHS
    ),
    # All is told by then: the outcome stands.
    *(
        dying(how, where, counts={"passed": 4}, dies=False, state="passed", kind="passed", check=_check_afterwards,
              long=how not in _SHORT)
        for where in ("unconfigure", "exit")
        for how in DEATHS
    ),
    dying("MemoryError", "import", dies=False, exit_code=2, state="failed", kind="collection", counts={"errors": 1}),
    dying("MemoryError", "session fixture", dies=False, exit_code=1, state="failed", kind="tests-failed",
          counts={"errors": 1, "passed": 3}),
    dying("MemoryError", "teardown", dies=False, exit_code=1, state="failed", kind="tests-failed",
          counts={"errors": 2, "passed": 4}),
]  # fmt: skip
