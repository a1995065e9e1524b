"""What a report says, as payload: pure functions, without a session."""

from __future__ import annotations

import json
import json.decoder
import math
import os
import unittest
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_threepio import payloads
from threepio_client.events import FIELD_LIMIT, Status, split_nodeid


def report(outcome: str, when: str = "call", **more: Any) -> SimpleNamespace:
    flags = {name: outcome == name for name in ("passed", "failed", "skipped")}
    return SimpleNamespace(**{"outcome": outcome, "when": when, "longrepr": None, **flags, **more})


@pytest.mark.parametrize(
    ("found", "category", "status"),
    [
        (report("passed"), "passed", Status.PASS),
        (report("failed"), "failed", Status.FAIL),
        (report("failed", "setup"), "error", Status.ERROR),
        (report("skipped", "setup"), "skipped", Status.SKIP),
        (report("rerun"), "rerun", Status.RERUN),
        (report("passed"), "xpassed", Status.XPASS),
        (report("skipped"), "xfailed", Status.XFAIL),
        (report("failed"), "subtests failed", Status.FAIL),
        # a category that only a plugin knows: by the report itself
        (report("failed"), "exploded", Status.FAIL),
        (report("passed"), "", Status.PASS),
        # no terminal
        (report("passed"), None, Status.PASS),
        (report("failed"), None, Status.FAIL),
        (report("failed", "setup"), None, Status.ERROR),
        (report("failed", "teardown"), None, Status.ERROR),
        (report("failed", "???"), None, Status.FAIL),
        (report("skipped", "setup"), None, Status.SKIP),
        (report("skipped", wasxfail="known"), None, Status.XFAIL),
        (report("passed", wasxfail=""), None, Status.XPASS),
        (report("rerun"), None, Status.RERUN),
        # an outcome that only a plugin knows is none yet
        (report("retried"), "retried", Status.RERUN),
        (report("again"), "again", Status.RERUN),
        (report("failed"), "retried", Status.FAIL),
        (report("again"), None, Status.RERUN),
        (report("rerun", "setup"), "", None),  # pytest-rerunclassfailures says so in each phase
        (report("passed", "setup"), None, None),
        (report("passed", "teardown"), None, None),
    ],
)
def test_the_status_is_what_pytest_counted(found: Any, category: str | None, status: Status | None) -> None:
    assert payloads.status_of(found, category) is status


@pytest.mark.parametrize(
    ("nodeid", "parents", "name"),
    [
        ("test_a.py::test_one", ["test_a.py"], "test_one"),
        ("a/b/test_a.py::TestA::TestB::test_one", ["a/b/test_a.py", "TestA", "TestB"], "test_one"),
        ("test_a.py::test_one[x::y]", ["test_a.py"], "test_one[x::y]"),
        ("test_a.py::TestA::test_one[a[b]::c]", ["test_a.py", "TestA"], "test_one[a[b]::c]"),
        ("test_a.py::test_one[]", ["test_a.py"], "test_one[]"),
        ("dir[1]/test_a.py::test_one", ["dir[1]/test_a.py"], "test_one"),
        ("test_a.py", [], "test_a.py"),
        ("it.py::it.fails", ["it.py"], "it.fails"),
        ("", [], ""),
    ],
)
def test_a_node_id_is_split_before_its_parameters(nodeid: str, parents: list[str], name: str) -> None:
    assert split_nodeid(nodeid) == (parents, name)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(1.5, 1500.0), (0, 0.0), (-3, 0.0), (math.nan, 0.0), (math.inf, 0.0), ("soon", 0.0), (None, 0.0), (1e-7, 0.0)],
)
def test_durations_survive_a_patched_clock(seconds: Any, expected: float) -> None:
    assert payloads.milliseconds(seconds) == expected


@pytest.mark.parametrize(
    ("longrepr", "reason"),
    [
        (("test_a.py", 3, "Skipped: not today"), "not today"),
        (["test_a.py", 3, "Skipped: not today"], "not today"),
        ("Skipped: text", "text"),
        (None, "None"),
        (("two", "parts"), "('two', 'parts')"),
    ],
)
def test_skip_reasons_of_every_form(longrepr: Any, reason: str) -> None:
    assert payloads.skip_reason_of(longrepr) == reason


def longrepr(message: str, place: str | None = None) -> Any:
    entry = SimpleNamespace(reprfileloc=None if place is None else SimpleNamespace(message=place))
    return SimpleNamespace(
        reprcrash=SimpleNamespace(path="/here/test_a.py", lineno=7, message=message),
        reprtraceback=SimpleNamespace(reprentries=[entry]),
    )


@pytest.mark.parametrize(
    ("found", "error_type"),
    [
        (longrepr("ValueError: no", "ValueError"), "ValueError"),
        (longrepr("some.module.Error: no", "some.module.Error"), "some.module.Error"),
        (longrepr("assert 1 == 2", "AssertionError"), "AssertionError"),
        (longrepr("assert 1 == 2"), "AssertionError"),
        (longrepr("KeyError: 'x'"), "KeyError"),
        (longrepr("no type here"), None),
    ],
)
def test_the_type_of_an_error(found: Any, error_type: str | None) -> None:
    error = payloads.error_of(found)

    assert error.get("errorType") == error_type
    assert error["location"] == "/here/test_a.py:7"


def test_of_an_assertion_of_unittest_the_place_is_that_of_the_test() -> None:
    found = longrepr("AssertionError: 1 != 2", "AssertionError")
    found.reprcrash.path = f"{unittest.__path__[0]}/case.py"
    place = found.reprtraceback.reprentries[0].reprfileloc
    place.path, place.lineno = "../test_a.py", 12

    assert payloads.error_of(found, folder="/here/tests")["location"] == "/here/test_a.py:12"
    found.reprtraceback.reprentries[0].reprfileloc = None
    assert payloads.error_of(found, folder="/here/tests")["location"] == f"{found.reprcrash.path}:7"


def test_of_an_error_within_the_standard_library_the_place_is_where_that_was_called() -> None:
    found = longrepr("json.decoder.JSONDecodeError: Expecting value", "JSONDecodeError")
    found.reprcrash.path = json.decoder.__file__
    entry = found.reprtraceback.reprentries[0]
    entry.reprfileloc.path, entry.reprfileloc.lineno = json.decoder.__file__, 355
    places = [("test_a.py", 12), ("prod.py", 3), (json.__file__, 346)]
    callers = [SimpleNamespace(reprfileloc=SimpleNamespace(path=path, lineno=line)) for path, line in places]
    found.reprtraceback.reprentries = [*callers, entry]

    assert payloads.error_of(found, folder="/here")["location"] == "/here/prod.py:3"


def test_what_is_installed_beside_the_standard_library_is_no_part_of_it() -> None:
    found = longrepr("ValueError: no", "ValueError")
    found.reprcrash.path = f"{Path(os.__file__).parent}/site-packages/shop.py"

    assert payloads.error_of(found)["location"] == f"{found.reprcrash.path}:7"


@pytest.mark.parametrize(("path", "line"), [("", 5), ("a.robot", -1), ("a.robot", None)])
def test_a_place_that_is_none_is_not_told(path: str, line: int | None) -> None:
    found = longrepr("a != b", "AssertionError")
    found.reprcrash.path, found.reprcrash.lineno = path, line

    error = payloads.error_of(found)

    assert "location" not in error
    assert error["message"] == "a != b"


def test_of_a_test_that_passed_against_its_mark_the_place_is_the_test() -> None:
    found = report("failed", longrepr="[XPASS(strict)] to be mended", location=("test_a.py", 4, "test_one"))

    error = payloads.details_of(found, Status.FAIL, "failed", rootdir="/here")["error"]

    assert (error["message"], error["location"]) == ("[XPASS(strict)] to be mended", "/here/test_a.py:5")


def test_of_workers_that_did_not_collect_the_same_that_is_the_message() -> None:
    text = (
        "Different tests were collected between gw0 and gw1. The difference is:\n--- gw0\n+++ gw1\n-a\nTo see why: docs"
    )

    said = "Different tests were collected between gw0 and gw1. The difference is:"
    assert payloads.error_of(text)["message"] == said


@pytest.mark.parametrize("own", [True, False])
def test_an_internal_error_is_told_with_the_place_in_the_project(own: bool) -> None:
    paths = ["/here/conftest.py"] * own + ["/env/lib/site-packages/pluggy/_callers.py", json.__file__]
    frames = "".join(f'  File "{path}", line {number}, in work\n    work()\n' for number, path in enumerate(paths, 4))

    said = payloads.internal_error_in(f"Traceback (most recent call last):\n{frames}RuntimeError: broke\n")

    assert said == ("RuntimeError: broke at /here/conftest.py:4" if own else "RuntimeError: broke")
    assert payloads.internal_error_in("") == ""


def test_of_an_assertion_of_trial_likewise() -> None:
    found = longrepr("twisted.trial.unittest.FailTest: 1 != 2", "FailTest")
    found.reprcrash.path = "/env/lib/python3.11/site-packages/twisted/trial/_synctest.py"
    place = found.reprtraceback.reprentries[0].reprfileloc
    place.path, place.lineno = "test_a.py", 12

    assert payloads.error_of(found, folder="/here")["location"] == "/here/test_a.py:12"


CHECKS = """FAILURE: check 1 == 2: price
more of it
test_a.py:2 in test_price() -> check.equal(1, 2, "price")

FAILURE: check bool(False)

------------------------------------------------------------
Failed Checks: 2"""


class Checked(str):
    """What pytest-check makes of checks that failed, where no worker does it: the place is none."""

    reprcrash = SimpleNamespace(path="test_a.py::test_price", lineno=0, message="check 1 == 2: price\nmore of it")


RED = CHECKS.replace("FAILURE: ", "\x1b[31mFAILURE: \x1b[0m")


@pytest.mark.parametrize("text", [CHECKS, Checked(CHECKS), RED], ids=["worker", "one process", "in colour"])
def test_of_checks_that_failed_the_first_one_is_told(text: str) -> None:
    assert payloads.error_of(text, folder="/here") == {
        "message": "check 1 == 2: price",
        "location": "/here/test_a.py:2",
        "stack": text,
    }


def test_a_check_without_a_place_has_none() -> None:
    assert payloads.error_of("FAILURE: no\n\nFailed Checks: 1")["message"] == "no"
    assert "location" not in payloads.error_of("FAILURE: no\n\nFAILURE: other\na.py:2 in test_x()\nFailed Checks: 2")


def test_code_without_line_numbers_has_its_error_all_the_same() -> None:
    found = longrepr("ValueError: first line\nsecond line", "ValueError")
    found.reprcrash.lineno = 0

    error = payloads.error_of(found)

    assert error["message"] == "ValueError: first line\nsecond line"
    assert error["errorType"] == "ValueError"


def test_colours_are_no_part_of_a_message() -> None:
    text = "\x1b[91mNotebook cell execution failed\x1b[0m\n\x1b[31mValueError\x1b[39m: no\n\x1b[0m"

    assert payloads.error_of(text) == {"message": "ValueError: no", "stack": text}


class Boom(Exception):
    pass


class Many(ExceptionGroup[Exception]):
    pass


def boom() -> None:
    raise Boom("it: broke")


def boom_without_a_text() -> None:
    raise Boom


def boom_with_a_note() -> None:
    error = Boom()
    error.add_note("a: note")
    raise error


def boom_of_a_local_class() -> None:
    class Local(AssertionError):
        pass

    raise Local("assert x")


def assertion() -> None:
    one = 1
    assert one == 2


def assertion_with_a_text() -> None:
    one = 1
    assert one == 2, "it: matters"


def syntax_error() -> None:
    compile("x: int = (", "nofile.py", "exec")


def chained() -> None:
    try:
        boom()
    except Boom as error:
        raise KeyError("key") from error


def recursion() -> None:
    recursion()


def group() -> None:
    raise ExceptionGroup("two", [Boom(), Boom()])


def group_of_a_class() -> None:
    raise Many("two", [Boom(), Boom()])


@pytest.mark.parametrize("style", ["long", "short", "line", "no", "native"])
@pytest.mark.parametrize(
    ("raising", "error_type"),
    [
        (boom, "Boom"),
        (boom_without_a_text, "Boom"),
        (boom_with_a_note, "Boom"),
        (boom_of_a_local_class, "Local"),
        (assertion, "AssertionError"),
        (assertion_with_a_text, "AssertionError"),
        (syntax_error, "SyntaxError"),
        (chained, "KeyError"),
        (recursion, "RecursionError"),
        (group, "ExceptionGroup"),
        (group_of_a_class, f"{__name__}.Many"),
    ],
)
def test_an_error_is_the_same_in_every_style(raising: Callable[[], None], error_type: str, style: Any) -> None:
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - each raises what it is called
        raising()

    usual, error = (payloads.error_of(caught.getrepr(style=found)) for found in ("long", style))

    assert error["errorType"] == error_type
    assert (error["message"], error["location"]) == (usual["message"], usual["location"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\nE   assert 0\n\n", "assert 0"),
        (
            "file a.py, line 1\nE       fixture 'x' not found\n>       available fixtures: y\n\na.py:1",
            "fixture 'x' not found",
        ),
        ("Error: said by a plugin", "Error: said by a plugin"),
        ("", ""),
        (None, ""),
        ("worker 'gw0' crashed while running 'x'", "worker 'gw0' crashed while running 'x'"),
    ],
)
def test_an_error_that_is_only_text(text: str | None, message: str) -> None:
    assert payloads.error_of(text) == {"message": message, "stack": text or ""}


IMPORT_FAILED = """\
ImportError while importing test module '/here/test_c.py'.
Hint: make sure your test modules/packages have valid Python names.
Traceback:
/usr/lib/python3.11/importlib/__init__.py:126: in import_module
    return _bootstrap._gcd_import(name[level:], package, level)
<frozen importlib._bootstrap>:1204: in _gcd_import
    ???
test_c.py:1: in <module>
    import lib
{place}: in <module>
    import nothere
<frozen importlib._bootstrap>:1204: in _gcd_import
    ???
E   ModuleNotFoundError: No module named 'nothere'"""
SYNTAX_ERROR = """\
/usr/lib/python3.11/ast.py:50: in parse
    return compile(source, filename, mode, flags,
E     File "/here/lib.py", line 3
E       def f(:
E             ^
E   SyntaxError: invalid syntax"""
CHAINED = """\
lib.py:2: in <module>
    import fast
E   ModuleNotFoundError: No module named 'fast'

During handling of the above exception, another exception occurred:
lib.py:4: in <module>
    from slow import it
E   ImportError: neither
E  \x20
E   said: this"""


@pytest.mark.parametrize(
    ("text", "error_type", "location", "message"),
    [
        (
            IMPORT_FAILED.format(place="lib.py:1"),
            "ModuleNotFoundError",
            "/here/lib.py:1",
            "ModuleNotFoundError: No module named 'nothere'",
        ),
        (
            IMPORT_FAILED.format(place="../src/lib.py:1"),
            "ModuleNotFoundError",
            "/src/lib.py:1",
            "ModuleNotFoundError: No module named 'nothere'",
        ),
        (
            IMPORT_FAILED.format(place="/src/lib.py:1"),
            "ModuleNotFoundError",
            "/src/lib.py:1",
            "ModuleNotFoundError: No module named 'nothere'",
        ),
        (SYNTAX_ERROR, "SyntaxError", "/here/lib.py:3", "SyntaxError: invalid syntax"),
        (CHAINED, "ImportError", "/here/lib.py:4", "said: this"),
        ("E   shop.Error: no", "Error", None, "shop.Error: no"),
        ("lib.py:1: in f\nError: said by a plugin", None, None, "Error: said by a plugin"),
        ("import file mismatch:\nnot\n  a.py\nHINT: rename it", None, None, "import file mismatch: not a.py"),
        ("HINT: rename it", None, None, "HINT: rename it"),
        ("", None, None, ""),
        (None, None, None, ""),
    ],
)
def test_what_the_text_of_a_collection_error_tells(
    text: str | None, error_type: str | None, location: str | None, message: str
) -> None:
    told = {"errorType": error_type, "location": location}
    expected = {"message": message, "stack": text or "", **{key: value for key, value in told.items() if value}}

    assert payloads.collection_error_of(text, "/here") == expected


def test_what_pytest_tells_of_a_collection_error_is_kept() -> None:
    found = longrepr("ValueError: no", "ValueError")

    assert payloads.collection_error_of(found, "/here") == payloads.error_of(found)


@pytest.mark.parametrize(
    ("lines", "message", "error_type", "location"),
    [
        (["003 >>> f()", "Expected:", "    1", "Got:", "    2", "", "/p/mod.py:3: DocTestFailure"],
         "Expected: 1 Got: 2", "DocTestFailure", "/p/mod.py:3"),
        (["Expected nothing", "Got:", "    2", "/p/mod.py:None: DocTestFailure"],
         "Expected nothing Got: 2", "DocTestFailure", None),
        (["003 >>> f()", "Differences (ndiff with -expected +actual):", "    - 1", "    + 2", "/p/mod.py:3: DocTestFailure",
          "005 >>> g()", "UNEXPECTED EXCEPTION: NameError('g')", "Traceback (most recent call last):",
          "NameError: g", "/p/mod.py:5: UnexpectedException"],
         "Differences (ndiff with -expected +actual): - 1 + 2", "DocTestFailure", "/p/mod.py:3"),
        (["UNEXPECTED EXCEPTION: Odd()", "Traceback (most recent call last):", "a.b.Odd: no", "/t:1: UnexpectedException"],
         "a.b.Odd: no", "Odd", "/t:1"),
        (["UNEXPECTED EXCEPTION: ValueError('a\\nb: c')", "ValueError: a", "b: c", "/t:1: UnexpectedException"],
         "ValueError: a", "ValueError", "/t:1"),
        (["UNEXPECTED EXCEPTION: AssertionError()", "Traceback:", "AssertionError", "/t:1: UnexpectedException"],
         "AssertionError", "AssertionError", "/t:1"),
        (["/p/mod.py:3: DocTestFailure"], "/p/mod.py:3: DocTestFailure", None, None),
    ],
)  # fmt: skip
def test_an_example_in_a_docstring_says_what_went_wrong_and_where(
    lines: list[str], message: str, error_type: str | None, location: str | None
) -> None:
    text = "\n".join(lines)

    error = payloads.error_of(text)

    assert (error["message"], error.get("errorType"), error.get("location")) == (message, error_type, location)
    assert error["stack"] == text


def test_a_long_error_states_its_length() -> None:
    error = payloads.error_of("x" * (FIELD_LIMIT * 3))

    assert len(error["stack"]) <= FIELD_LIMIT
    assert f"{FIELD_LIMIT * 3} characters in all" in error["stack"]
    assert len(error["message"]) <= 4096


def test_details_of_each_status() -> None:
    failed = report("failed", longrepr="boom", sections=[("Captured stdout call", "out"), ("Captured log call", "")])
    assert payloads.details_of(failed, Status.FAIL, "failed") == {
        "error": {"message": "boom", "stack": "boom"},
        "output": [["Captured stdout call", "out"]],
    }
    skipped = report("skipped", longrepr=("f", 1, "Skipped: why"))
    assert payloads.details_of(skipped, Status.SKIP, "skipped") == {"skipReason": "why"}
    xfailed = report("skipped", wasxfail="reason: known", longrepr="E   nope")
    assert payloads.details_of(xfailed, Status.XFAIL, "xfailed") == {
        "xfailReason": "known",
        "error": {"message": "nope", "stack": "E   nope"},
    }
    assert payloads.details_of(report("passed", rerun=2), Status.PASS, "passed") == {"attempt": 3}
    assert payloads.details_of(report("passed", rerun="odd"), Status.PASS, "passed") == {}


@pytest.mark.parametrize(
    ("category", "counted_as"),
    [
        ("failed", "failed"),
        ("error", "errors"),
        ("subtests failed", "subtests_failed"),
        ("F", "subtests_failed"),
        ("", "subtests_failed"),
        (None, "subtests_failed"),
    ],
)
def test_a_subtest_is_counted_as_pytest_counts_it(category: str | None, counted_as: str) -> None:
    found = report("failed", longrepr="x", context=SimpleNamespace(msg=None, kwargs={"i": 1, 2: "two"}))

    details = payloads.details_of(found, Status.FAIL, category)

    assert details["countedAs"] == counted_as
    assert details["subtest"] == {"message": "", "parameters": {"i": "1", "2": "two"}}


@pytest.mark.parametrize(
    ("outcome", "counted_as"), [("skipped", "subtests_xfailed"), ("passed", "subtests_xpassed")], ids=["xfail", "xpass"]
)
def test_an_xfailed_subtest_that_pytest_counts_nowhere_is_no_skipped_one(outcome: str, counted_as: str) -> None:
    found = report(outcome, wasxfail="why", longrepr=None, context=SimpleNamespace(msg="m", kwargs={}))

    assert payloads.details_of(found, Status.XFAIL, "")["countedAs"] == counted_as
