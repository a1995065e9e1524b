"""Secrets are hidden in what is said of a run, before it is said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.needs import SUBTESTS, needs
from tests.place import Place, wait_until
from threepio_client.events import FIELD_LIMIT, Phase
from threepio_client.masking import MASKED, Mask, MaskedPage
from threepio_client.nowpage import read

SECRET = 's3"cret\\\u00e4\u4e2d'
ENVIRON = {"API_TOKEN": SECRET, "OTHER": "harmless", "PIN": "123", "KEY": "-----BEGIN\nabcdefgh\nok\n-----END"}


def masked(*patterns: str, names: tuple[str, ...] = ("*_TOKEN", "PIN", "KEY")) -> Mask:
    return Mask(names, patterns, ENVIRON)


@pytest.mark.parametrize("form", [str, repr, ascii, json.dumps, lambda text: json.dumps(text, ensure_ascii=False)])
def test_a_value_is_hidden_in_every_form_in_which_a_report_may_have_it(form: object) -> None:
    text = form(SECRET)  # type: ignore[operator]

    hidden = masked().hide(f"before {text} and {text} behind harmless")

    assert "cret" not in hidden
    assert hidden.count(MASKED) == 2
    assert hidden.startswith("before ")
    assert hidden.endswith(" behind harmless")


def test_each_line_of_a_value_is_hidden_unless_it_is_too_short() -> None:
    hidden = masked().hide("E   abcdefgh\nE   ok\nE   -----END")

    assert hidden == f"E   {MASKED}\nE   ok\nE   {MASKED}"


def test_a_short_value_is_not_hidden_and_named() -> None:
    found = masked()

    assert (found.hide("123 tests"), found.too_short) == ("123 tests", ["PIN"])


def test_patterns_may_have_groups_and_flags_of_their_own() -> None:
    found = masked(r"(?i:bearer) (\w+)", r"\b\d{4}(?=-)")

    assert found.hide("BEARER abc, 1234-5") == f"{MASKED}, {MASKED}-5"


def test_the_longest_value_is_hidden_whole() -> None:
    found = Mask(("A*",), (), {"A1": "secret", "A2": "secret-and-more"})

    assert found.hide("secret-and-more") == MASKED


_TEXT = st.characters(exclude_characters="\0*")


@given(st.text(_TEXT), st.text(_TEXT, min_size=4), st.text(_TEXT))
def test_no_value_is_left_in_any_text(before: str, value: str, behind: str) -> None:
    found = Mask(("X",), (), {"X": value})

    assert value not in found.hide(before + value + behind).replace(MASKED, "\0")


def test_a_text_is_masked_before_it_is_cut() -> None:
    many = SECRET * (3 * FIELD_LIMIT // len(SECRET))

    cut = [masked().clip("x" * shift + many) for shift in range(len(SECRET))]

    assert all(len(text) <= FIELD_LIMIT for text in cut)
    assert [text for text in cut if "cret" in text] == []


def test_every_text_of_a_payload_is_masked_but_our_own_words_and_numbers() -> None:
    class Odd:
        def __repr__(self) -> str:
            return SECRET

    payload = {
        "status": "PASS",
        "phase": "call",
        "commandId": "call",
        "nodeid": f"test_it.py::test[{SECRET}]",
        "duration": 4.5,
        "error": {"message": SECRET, "list": [SECRET, (SECRET,)], "parameters": {SECRET: 1}},
        "odd": Odd(),
    }

    found = Mask(("*_TOKEN",), ("PASS|call",), ENVIRON).payload(payload)

    assert (found["status"], found["phase"], found["commandId"], found["duration"]) == ("PASS", "call", "call", 4.5)
    assert "cret" not in repr(found)
    assert found["odd"] == MASKED
    assert "masked" not in found
    assert masked().payload({"argv": ["-k", SECRET]}) == {"argv": ["-k", MASKED], "masked": True}


def test_the_now_page_is_masked(tmp_path: Path) -> None:
    page = MaskedPage(tmp_path / "page", 0, masked(), create=True)
    page.set(f"test[{SECRET}]", Phase.CALL, 1.0)
    page.close()

    assert [slot.text for slot in read(tmp_path / "page").slots] == [f"test[{MASKED}]"]


LEAKS = """
import os, pytest, time, warnings
SECRET = os.environ["API_TOKEN"]
def test_message(): assert SECRET == ""
def test_output():
    print("out", SECRET); assert 0
def test_local(): raise ValueError({"token": SECRET})
@pytest.mark.parametrize("token", [SECRET, "other"])
def test_named(token): pass
@pytest.fixture
def bad(): raise RuntimeError(SECRET)
def test_setup(bad): pass
def test_skipped(): pytest.skip(SECRET)
@pytest.mark.xfail(reason=SECRET)
def test_xfail(): assert 0
def test_subtests(subtests):
    with subtests.test(SECRET, token=SECRET): assert 0
def test_waits():
    while os.environ.get("WAIT") and not os.path.exists("go on"): time.sleep(0.01)
"""
TOKEN = "tok-5f0e2c77aa"
MASKING = {"API_TOKEN": TOKEN, "THREEPIO_MASK_ENV": "*_TOKEN", "THREEPIO_RUN_ID": "masked"}


def everything_kept(place: Place) -> bytes:
    """Return all bytes of the state directory."""
    return b"".join(path.read_bytes() for path in sorted(place.state_dir.path.rglob("*")) if path.is_file())


@needs(SUBTESTS)
@pytest.mark.parametrize("workers", ["0", "2"])
def test_nothing_that_is_kept_of_a_run_has_the_secret(served: Place, workers: str) -> None:
    served.suite(LEAKS)
    suite = served.start_pytest("-q", "-n", workers, f"--override-ini=cache_dir={TOKEN}", **MASKING, WAIT="1")
    wait_until(lambda: "test_waits" in served.threepio("status", "masked").stdout)
    assert TOKEN.encode() not in everything_kept(served)  # the now page, too
    (served.path / "go on").touch()
    output, _ = suite.communicate(timeout=60)
    served.stop_daemon()

    kept = everything_kept(served)
    assert TOKEN in output  # pytest's own output is not ours
    assert TOKEN.encode() not in kept
    assert MASKED.encode() in kept
    status = served.status("masked")
    counts = {name: number for name, number in status["counts"].items() if number and name != "warnings"}
    assert counts == {"failed": 5, "errors": 1, "passed": 3, "skipped": 1, "xfailed": 1}
    assert served.verify("masked")["missing"] == 0
    assert MASKED in served.threepio("failures", "masked").stdout
    assert "held a masked secret" in served.threepio("rerun", "masked").stderr


def test_the_output_of_a_command_is_masked_when_it_has_ended(served: Place) -> None:
    served.suite(LEAKS)

    served.threepio("run", "--", *served.python, "-m", "pytest", "-p", "no:cacheprovider", **MASKING)

    output = served.state_dir.output("masked").read_text()
    assert TOKEN not in output
    assert re.search(rf"out {re.escape(MASKED)}", output)
    assert TOKEN.encode() not in everything_kept(served)


def test_without_the_setting_nothing_of_it_is_imported(place: Place) -> None:
    place.suite("import sys\ndef test_it(): assert 'threepio_client.masking' not in sys.modules")

    assert place.pytest("-q").returncode == 0


def test_a_value_that_is_too_short_is_said(place: Place) -> None:
    place.suite("def test_it(): pass")

    done = place.pytest("-q", THREEPIO_MASK_ENV="PIN", PIN="123")

    assert "the value of PIN is not masked: it has under 4 characters" in done.stdout
