"""Row 19: names and texts of every kind."""

from __future__ import annotations

from tests.commands import call_threepio
from tests.suites.checker import Compared
from tests.suites.variant import Variant
from threepio_client.events import LINE_LIMIT

DOES = (
    "ids with `::`, `/`, `../`, newline, NUL, ESC sequences, bidi marks, emoji, 10 kB, lone surrogates; "
    '`pytest.fail("x\\udcff")`; `record_property("k", object())`'
)
HOLDS = "round trip through journal, store, CLI; nothing interpreted"

_IDS = {
    "a::b": "a::b",
    "[x]::y": "[x]::y",
    "a/b": "a/b",
    "../up": "../up",
    "new\nline": "new\nline",
    "nul\0": "nul\0",
    "escape\x1b[31m": "escape\x1b[31m",
    "bidi\u202e": "bidi\u202e",
    "emoji\U0001f916": "emoji\U0001f916",
    "surrogate\udcff": "surrogate\\udcff",
    "long" + "g" * 10_240: "long" + "g" * 10_240,
}
_BYTES = 20 * 1024 * 1024


def _suite(with_workers: bool) -> dict[str, str]:
    # execnet can carry neither a lone surrogate nor, in all versions, what is not UTF-8.
    names = [name for name in _IDS if not (with_workers and "\udcff" in name)]
    return {
        "test_it.py": f"import pytest\nNAMES = {names!a}\n"
        "@pytest.mark.parametrize('name', NAMES, ids=NAMES)\ndef test_one(name): assert 0, name",
        "pytest.ini": "[pytest]\ndisable_test_id_escaping_and_forfeit_all_rights_to_community_support = true\n",
    }


def _check_ids(result: Compared) -> None:
    expected = {f"test_one[{name}]" for name in _IDS.values()}
    if "gw0" in str(result.events):
        expected.remove("test_one[surrogate\\udcff]")
    assert {payload["testName"] for payload in result.of_type("testCase")} == expected
    assert {tuple(payload["parentNames"]) for payload in result.of_type("testCase")} == {("test_it.py",)}
    collected = [nodeid for payload in result.of_type("testsCollected") for nodeid in payload["nodeids"]]
    assert set(collected) == {f"test_it.py::{name}" for name in expected}
    shown = call_threepio(result.place, "failures", result.run_id, "--all")
    lines = [line for line in shown.stdout.splitlines() if line.startswith("  FAIL")]
    assert len(lines) == len(expected), shown.stdout
    assert all(char.isprintable() or char == "\n" for char in shown.stdout), "a control character was printed"


def _check_messages(result: Compared) -> None:
    assert result.case("test_surrogate")["error"]["message"] == "Failed: x\\udcff"
    assert "a\x1b[31mb\0c\u202e" in result.case("test_control")["error"]["message"]
    huge = result.case("test_huge")["error"]["message"]
    assert huge.startswith("Failed: begin"), huge[:100]
    assert huge.endswith("end"), huge[-100:]
    assert f"[... cut: {_BYTES + 16} characters in all ...]" in huge
    ((_, printed),) = result.case("test_prints")["output"]
    assert f"[... cut: {_BYTES + 1} characters in all ...]" in printed
    assert result.case("test_skip_reason")["skipReason"].startswith("s\\udcff")
    assert result.case("test_xfail")["xfailReason"] == "r\\udcff"
    journal = result.place.state_dir.journal(result.run_id).read_bytes()
    assert max(len(line) for line in journal.splitlines()) <= LINE_LIMIT
    shown = call_threepio(result.place, "failures", result.run_id, "--all")
    assert all(char.isprintable() or char == "\n" for char in shown.stdout), "a control character was printed"


VARIANTS = [
    Variant(name="ids", files=_suite(False), arguments=("--tb=no",), counts={"failed": 11}, check=_check_ids),
    Variant(name="ids, with workers", files=_suite(True), arguments=("--tb=no", "-n", "2"), plugins=("xdist",),
            with_workers=True, counts={"failed": 10}, check=_check_ids),
    Variant(name="messages, reasons, properties", suite="messages", arguments=("-q", "--tb=no", "-r", "N"),
            counts={"failed": 6, "passed": 1, "skipped": 1, "xfailed": 1}, check=_check_messages),
]  # fmt: skip
