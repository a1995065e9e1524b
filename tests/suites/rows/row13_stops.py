"""Row 13: somebody or something stops the run."""

from __future__ import annotations

from collections.abc import Callable

from tests.commands import call_threepio
from tests.suites.checker import Compared
from tests.suites.variant import Kind, Variant

DOES = "`-x`, `--maxfail`, `pytest.exit()`, Ctrl-C, SIGTERM, `KeyboardInterrupt` in a fixture"
HOLDS = "`interrupted`, with why; what never ran is listed"


def _never_ran(*names: str, why: str, names_a_file: bool = False) -> Callable[[Compared], None]:
    """Return a check of what `threepio never-ran` lists, and of the reason that the verdict names."""

    def check(result: Compared) -> None:
        listed = call_threepio(result.place, "never-ran", result.run_id, "--all")
        assert listed.exit_code == (1 if names or names_a_file else 0), listed
        found = [line.split()[0] for line in listed.stdout.splitlines()[1:] if "::" in line]
        assert found == [f"test_it.py::{name}" for name in names], listed.stdout
        assert why in result.status["verdict"]["text"], result.status["verdict"]

    return check


def _stopped(
    how: str,
    where: str,
    code: int,
    kind: Kind,
    counts: dict[str, int],
    *never_ran: str,
    why: str,
    names_a_file: bool = False,
) -> Variant:
    return Variant(name=f"{how} in {where}", suite="stops", environ={"STOP_HOW": how, "STOP_WHERE": where},
                   exit_code=code, state="interrupted", kind=kind, counts=counts,
                   check=_never_ran(*never_ran, why=why, names_a_file=names_a_file))  # fmt: skip


_ONE = {"passed": 1}
_B_ON = ("test_b", "test_c", "test_d")
VARIANTS = [
    Variant(name="-x", suite="four", arguments=("-x",), exit_code=1, state="interrupted", kind="maxfail",
            counts={"failed": 1}, check=_never_ran("test_n[1]", "test_n[2]", "test_n[3]", why="stopping after 1 failures")),
    Variant(name="--maxfail=2", suite="four", arguments=("--maxfail=2",), exit_code=1, state="interrupted", kind="maxfail",
            counts={"failed": 2, "passed": 1}, check=_never_ran("test_n[3]", why="stopping after 2 failures")),
    _stopped("exit with 7", "test", 7, "exit", _ONE, *_B_ON, why="enough, in the call of test_it.py::test_b"),
    _stopped("exit with 0", "test", 0, "exit", _ONE, *_B_ON, why="fine"),
    _stopped("exit with 0", "fixture", 0, "exit", _ONE, *_B_ON, why="fine, in the setup of test_it.py::test_b"),
    _stopped("exit with 7", "teardown", 7, "exit", {"passed": 2}, *_B_ON[1:], why="enough"),
    # For pytest this is a file that cannot be collected.
    Variant(name="exit in import", suite="stops", environ={"STOP_HOW": "exit", "STOP_WHERE": "import"}, exit_code=2,
            state="failed", kind="collection", counts={"errors": 1}),
    _stopped("SIGINT", "test", 2, "user", _ONE, *_B_ON, why="in the call of test_it.py::test_b"),
    _stopped("SIGINT", "teardown", 2, "user", {"passed": 2}, *_B_ON[1:], why="in the teardown of test_it.py::test_b"),
    _stopped("SIGINT", "import", 2, "user", {}, why="while collecting test_it.py", names_a_file=True),
    _stopped("KeyboardInterrupt", "test", 2, "user", _ONE, *_B_ON, why="KeyboardInterrupt"),
    _stopped("KeyboardInterrupt", "fixture", 2, "user", _ONE, *_B_ON, why="KeyboardInterrupt"),
    Variant(name="session.shouldstop", suite="stops", exit_code=2, state="interrupted", kind="stop", counts={"passed": 3},
            check=_never_ran("test_d", why="a plugin wants it")),
    # Whoever does not see how the process ends cannot tell a SIGTERM from a crash.
    Variant(name="SIGTERM in test", suite="stops", environ={"STOP_HOW": "SIGTERM", "STOP_WHERE": "test"}, exit_code=-15,
            dies=True, state=("interrupted", "crashed"), kind=("signal", "gone"), counts=_ONE,
            check=_never_ran(*_B_ON, why="test_it.py::test_b")),
    Variant(name="SIGTERM in teardown", suite="stops", environ={"STOP_HOW": "SIGTERM", "STOP_WHERE": "teardown"},
            exit_code=-15, dies=True, state=("interrupted", "crashed"), kind=("signal", "gone"), counts={"passed": 2},
            check=_never_ran("test_c", "test_d", why="test_it.py::test_b")),
    Variant(name="SystemExit in a test is a failure", suite="stops", exit_code=1,
            environ={"STOP_HOW": "SystemExit", "STOP_WHERE": "test"}, counts={"failed": 1, "passed": 3}),
    Variant(name="-x with workers", suite="four", arguments=("-x", "-n", "2"), plugins=("xdist",), own_output=True,
            exit_code=2, state="interrupted", kind=("maxfail", "stop")),
]  # fmt: skip
