"""What a pytest report says, as the payload of an event. Pure functions: no hook, no file, no state."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from typing import Any, Final

from threepio_client.events import Payload, Status
from threepio_client.line import clip

_STATUS_OF_CATEGORY: Final[dict[str, Status]] = {
    "passed": Status.PASS,
    "failed": Status.FAIL,
    "error": Status.ERROR,
    "skipped": Status.SKIP,
    "xfailed": Status.XFAIL,
    "xpassed": Status.XPASS,
    "rerun": Status.RERUN,
    "retried": Status.RERUN,  # by pytest-retry
    "subtests passed": Status.PASS,
    "subtests failed": Status.FAIL,
    "subtests skipped": Status.SKIP,
    "subtests xfailed": Status.XFAIL,
    "subtests xpassed": Status.XPASS,
}
_OUTCOMES: Final = frozenset({"passed", "failed", "skipped"})
_WITH_XFAIL: Final = {"skipped": "xfailed", "passed": "xpassed"}


Clip = Callable[..., str]
"""`line.clip`, or one that hides secrets first."""

_NUMBERS: Final = (int, float)
_MARKED: Final = re.compile(r"E {3,}")
# Made when a test fails: at import every session would wait for it.
_TYPE: Final = r"(?m)^([A-Za-z_][\w.<>]*)(?:: |:?$)"
_GROUP: Final = r"(?m) \(\d+ sub-exceptions?\)$"
_SOURCE: Final = r'\s+File "(.+)", line (\d+)'
"""How what is said of a SyntaxError begins."""
_NATIVE_FRAME: Final = r'(?m)^  File "(.+)", line (\d+)'
_FRAME: Final = r"([^\s<].*):(\d+): in "
"""A place in a file; what is between angle brackets is none."""
_OF_DOCTEST: Final = r"(.+):(\d+|None): (DocTestFailure|UnexpectedException)"
"""The last line of what pytest says of an example in a docstring."""
_UNEXPECTED: Final = "UNEXPECTED EXCEPTION: "
_SAID: Final = "E   "
_STRICT: Final = "[XPASS(strict)]"
"""How pytest begins what it says of a test that passed against its mark."""
_OTHER_COLLECTION: Final = "Different tests were collected"
"""How xdist begins what it says of a worker that did not collect what the others did; advice follows."""
_CHECK: Final = r"(?m)^FAILURE: (.+)"
"""How pytest-check tells of a check that failed; the last line only counts them."""
_CHECKED_AT: Final = r"(?m)^(\S.*?):(\d+) in "
_COLOUR: Final = r"\x1b\[[\d;]*m"
_STANDARD_LIBRARY: Final = os.path.join(os.path.dirname(os.__file__), "")
_INSTALLED: Final = ("site-packages", "dist-packages")
"""Directories within that of the standard library whose code is not part of it."""
_OF_TRIAL: Final = os.path.join("twisted", "trial", "_synctest.")
"""Where the code of trial's assertions is, which are methods of a test."""


def status_of(report: Any, category: str | None) -> Status | None:
    """Return the status of a test report, or None where the report decides nothing (a setup or teardown that passed).

    Args:
        report: a pytest.TestReport, or what a plugin made in its place.
        category: where pytest's terminal counted it; None where there is no terminal.
    """
    if category:
        known = _STATUS_OF_CATEGORY.get(category)
        # pytest-retry's last attempt may be the report of the one before, which was counted as that.
        if known is not None and (known is not Status.RERUN or report.outcome not in _OUTCOMES):
            return known
    if report.outcome not in _OUTCOMES:  # a plugin's own word for an attempt that another one follows: it has no result
        return None if category == "" else Status.RERUN  # of its three reports the terminal counts one
    if report.failed:
        return Status.ERROR if report.when in {"setup", "teardown"} else Status.FAIL
    if report.skipped:
        return Status.XFAIL if hasattr(report, "wasxfail") else Status.SKIP
    if report.when != "call":
        return None
    return Status.XPASS if hasattr(report, "wasxfail") else Status.PASS


def details_of(
    report: Any, status: Status, category: str | None, clip: Clip = clip, folder: str = "", rootdir: str = ""
) -> Payload:
    """Return what is said beside the status: error, reasons, captured output, attempt, subtest and how it was counted.

    Args:
        report: as for `status_of`.
        status: of the report.
        category: as for `status_of`.
        clip: what cuts long texts.
        folder: what relative paths in texts of pytest are relative to.
        rootdir: what the path of the test itself is relative to.
    """
    payload: Payload = {}
    if status in {Status.FAIL, Status.ERROR, Status.RERUN}:
        payload["error"] = _error_of_test(report, clip, folder, rootdir)
        output = [[str(name), clip(str(text))] for name, text in getattr(report, "sections", ()) if text]
        if output:
            payload["output"] = output
    elif status is Status.SKIP:
        payload["skipReason"] = skip_reason_of(report.longrepr, clip)
    elif status in {Status.XFAIL, Status.XPASS}:
        payload["xfailReason"] = clip(str(getattr(report, "wasxfail", "")).removeprefix("reason: "))
        if status is Status.XFAIL and report.longrepr is not None:
            payload["error"] = _error_of_test(report, clip, folder, rootdir)
    attempt = getattr(report, "rerun", 0)
    if isinstance(attempt, int) and attempt > 0:
        payload["attempt"] = attempt + 1
    context = getattr(report, "context", None)
    if context is not None:
        payload["subtest"] = _subtest_of(context, clip)
        # What is counted as `failed` and what as `subtests failed` differs between pytest 9 and versions of pytest-subtests.
        outcome = str(report.outcome)
        outcome = _WITH_XFAIL.get(outcome, outcome) if hasattr(report, "wasxfail") else outcome
        # A plugin may count it under a word of its own, which is no count of ours.
        counted = category if category in _STATUS_OF_CATEGORY else f"subtests {outcome}"
        payload["countedAs"] = "errors" if counted == "error" else counted.replace(" ", "_")
    return payload


def _error_of_test(report: Any, clip: Clip, folder: str, rootdir: str) -> Payload:
    """Return what `error_of` says; where that has no place outside of Python's own code, it is where the test begins.

    So it is of a test that passed against its mark (`xfail(strict=True)`), too: of others the text tells as much.
    """
    error = error_of(report.longrepr, clip, folder)
    location = getattr(report, "location", None)
    is_placeless = _is_of_python(error.get("location", "")) or error["message"].startswith(_STRICT)
    if is_placeless and location is not None and location[1] is not None:
        error["location"] = f"{os.path.normpath(os.path.join(rootdir, location[0]))}:{location[1] + 1}"
    return error


def error_of(longrepr: Any, clip: Clip = clip, folder: str = "") -> Payload:
    """Return message, stack, errorType and location of a report's `longrepr`, whatever form a plugin gave it.

    Args:
        longrepr: what pytest made of an exception, or a text.
        clip: what cuts long texts.
        folder: what relative paths in it are relative to.
    """
    text = "" if longrepr is None else clip(_indentation_of(longrepr) + str(longrepr))
    crash = getattr(longrepr, "reprcrash", None)
    has_place = bool(crash is not None and crash.path and (crash.lineno or 0) > 0)  # plugins give places that are none
    if not has_place:
        plain = re.sub(_COLOUR, "", text)
        lines = [line for line in plain.splitlines() if line.strip()]
        if found := _doctest_error_in(lines) or _check_in(plain, folder):
            return {**found, "message": clip(found["message"], 4096), "stack": text}
    if crash is None:
        # pytest marks what went wrong with an E; behind it there may be advice and a place (a fixture that is missing).
        said = [line for line in lines if _MARKED.match(line)] or lines
        if len(said) > 1 and said[-1].startswith("HINT: "):  # two test files of one name: what is wrong is above it
            said = [" ".join(line.strip() for line in said[:-1])]
        if said and said[0].startswith(_OTHER_COLLECTION):
            said = said[:1]
        return {"message": clip(_MARKED.sub("", said[-1]).strip() if said else "", 4096), "stack": text}
    entries = getattr(getattr(longrepr, "reprtraceback", None), "reprentries", None) or [None]
    place = getattr(entries[-1], "reprfileloc", None)
    at = f"{crash.path}:{crash.lineno}"
    if _is_of_python(at):  # `json.loads`, `self.assertEqual`: who called it is to be mended
        at = _last_outside_python(entries, text, folder) or at
    error: Payload = {"message": clip(str(crash.message)), "stack": text, **({"location": at} if has_place else {})}
    # The long style has the type there, the short one `in <function>`; the others have no place.
    if place is not None and place.message and getattr(entries[-1], "style", "") != "short":
        error["errorType"] = str(place.message).partition(":")[0]
    else:
        error |= _type_in(error["message"])
    return error


def _last_outside_python(entries: list[Any], text: str, folder: str) -> str:
    """Return the place of a traceback's last frame that is in no code of Python's own; empty if none is shown."""
    shown = [found for entry in entries if (found := getattr(entry, "reprfileloc", None)) is not None]
    frames = [(found.path, found.lineno) for found in shown] or re.findall(_NATIVE_FRAME, text)
    places = [f"{os.path.normpath(os.path.join(folder, path))}:{line}" for path, line in frames]
    return next((place for place in reversed(places) if not _is_of_python(place)), "")


def _is_of_python(place: str) -> bool:
    """Return whether a place is in the standard library, or in an assertion of trial's."""
    return (place.startswith(_STANDARD_LIBRARY) and not _is_installed(place)) or _OF_TRIAL in place


def _is_installed(place: str) -> bool:
    return any(directory in place for directory in _INSTALLED)


def _check_in(text: str, folder: str) -> Payload:
    """Return message and location of the first check of pytest-check that failed; empty if this text is of none."""
    found = re.search(_CHECK, text)
    if found is None:
        return {}
    at = re.search(_CHECKED_AT, text[found.end() :].partition("\nFAILURE: ")[0])
    place = {"location": f"{os.path.normpath(os.path.join(folder, at[1]))}:{at[2]}"} if at else {}
    return {"message": found[1], **place}


def _doctest_error_in(lines: list[str]) -> Payload:
    """Return message, errorType and location of the first example that failed; empty if these lines are of no doctest."""
    ends = ((at, re.fullmatch(_OF_DOCTEST, line)) for at, line in enumerate(lines))
    at, end = next(((at, end) for at, end in ends if end is not None), (0, None))
    if end is None or not at:
        return {}
    if end[3] == "UnexpectedException":
        error = _exception_in(lines[:at])
    else:
        begins = (number for number in range(at) if re.match(r"Expected|Got|Differences", lines[number]))
        said = lines[next(begins, at - 1) : at]
        error = {"message": " ".join(line.strip() for line in said), "errorType": end[3]}
    if end[2] != "None":
        error["location"] = f"{end[1]}:{end[2]}"
    return error


def _exception_in(lines: list[str]) -> Payload:
    """Return message and errorType of an exception that a doctest did not expect."""
    told = next((line.removeprefix(_UNEXPECTED) for line in lines if line.startswith(_UNEXPECTED)), lines[-1])
    kind = told.partition("(")[0]
    # Its last line may be one of a message of several lines.
    said = (line for line in lines if re.match(rf"(?:[\w.]+\.)?{re.escape(kind)}(?::|$)", line))
    return {"message": next(said, told), "errorType": kind}


def _indentation_of(longrepr: Any) -> str:
    """Return what `str` takes away before the first line of a traceback: pytest strips the whole of it."""
    chain = getattr(longrepr, "chain", None)
    traceback = chain[0][0] if chain else getattr(longrepr, "reprtraceback", None)
    entry = (getattr(traceback, "reprentries", None) or [None])[0]
    lines = getattr(entry, "lines", None)
    if getattr(entry, "style", "") != "long" or not lines or getattr(entry.reprfuncargs, "args", None):
        return ""
    first = str(lines[0])
    return first[: len(first) - len(first.lstrip())]


def collection_error_of(longrepr: Any, folder: str, clip: Clip = clip) -> Payload:
    """Return the same of a report of collection: of a file that cannot be imported, pytest tells only in its text where.

    Args:
        longrepr: as for `error_of`.
        folder: what relative paths in the text are relative to.
        clip: what cuts long texts.
    """
    error = error_of(longrepr, clip, folder)
    if "location" in error:
        return error
    lines = error["stack"].splitlines()
    end = next((number for number in range(len(lines), 0, -1) if lines[number - 1].startswith(_SAID)), 0)
    start = next((number for number in range(end, 0, -1) if not lines[number - 1].startswith(_SAID)), 0)
    said = "\n".join(line.removeprefix(_SAID) for line in lines[start:end])
    if not said:
        return error
    frames = (re.match(_FRAME, line) for line in reversed(lines[:start]))
    place = re.match(_SOURCE, said) or next(filter(None, frames), None)
    if place is not None:
        error["location"] = f"{os.path.normpath(os.path.join(folder, place[1]))}:{place[2]}"
    return error | _type_in(said)


def internal_error_in(text: str) -> str:
    """Return the last line of a native traceback, with the last place in it that is the project's own, if any is."""
    said = text.strip().rpartition("\n")[2]
    places = [f"{path}:{line}" for path, line in re.findall(_NATIVE_FRAME, text)]
    own = [place for place in places if not _is_of_python(place) and not _is_installed(place)]
    return f"{said} at {own[-1]}" if own else said


def skip_reason_of(longrepr: Any, clip: Clip = clip) -> str:
    """Return why a test or a file was skipped."""
    reason = longrepr[2] if isinstance(longrepr, tuple | list) and len(longrepr) == 3 else longrepr
    return clip(str(reason).removeprefix("Skipped: "))


def milliseconds(seconds: Any) -> float:
    """Return a duration in milliseconds; 0 for what a test's patched clock made of it."""
    if (type(seconds) is float or isinstance(seconds, _NUMBERS)) and 0 < seconds < math.inf:  # false for NaN, too
        return round(seconds * 1000, 3)
    return 0.0


def _type_in(message: str) -> Payload:
    """Return the errorType that a message tells, without its module, as the other styles have it; empty without one."""
    if message.startswith("assert "):
        return {"errorType": "AssertionError"}
    named = (re.search if re.match(_SOURCE, message) else re.match)(_TYPE, message)
    if named is None:
        return {}
    # A group of exceptions is shown natively in every style: its module has always been there, and stored runs have it.
    return {"errorType": named[1] if re.search(_GROUP, message) else named[1].rpartition(".")[2]}


def _subtest_of(context: Any, clip: Clip) -> Payload:
    message = getattr(context, "msg", None)
    parameters = getattr(context, "kwargs", None) or {}
    return {
        "message": "" if message is None else clip(str(message)),
        # pytest 9 has them as text already, the pytest-subtests plugin as they were given.
        "parameters": {
            str(key): clip(value if isinstance(value, str) else repr(value), 1024)
            for key, value in dict(parameters).items()
        },
    }
