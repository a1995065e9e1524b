"""The Markdown of a run: every test once, sorted by what became of it, and nothing that a test says acts as Markdown."""

from __future__ import annotations

from io import StringIO

from markdown_it import MarkdownIt

from tests.place import Place
from tests.report.test_model import ERROR, Cases, write_run
from tests.scripted import living
from threepio_client.events import EventType
from threepio_client.report import markdown
from threepio_client.report.markdown import RESULTS_SHOWN, SYMBOLS, cell
from threepio_client.report.model import Report

HOSTILE = "a.py::test_x[<script>|`tick`|\n# head|\x1b[31m|[link](x)|\u202e]"


def written(report: Report) -> str:
    out = StringIO()
    markdown.write(report, out)
    return out.getvalue()


def html_of(text: str) -> str:
    """Return what a reader of Markdown makes of it, front matter left out; raw HTML would come through."""
    return str(MarkdownIt("commonmark", {"html": True}).enable("table").render(text.partition("\n---\n")[2]))


def test_every_standing_has_its_own_symbol() -> None:
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)
    assert {"PASS", "FAIL", "SKIP", "XFAIL", "XPASS", "ERROR", "RERUN", "IN_FLIGHT", "NEVER_RAN"} <= set(SYMBOLS)


def test_a_document_tells_every_test_with_what_was_said(place: Place) -> None:
    cases: Cases = [
        ("a.py::test_fine", "PASS", {}),
        ("a.py::test_bad", "FAIL", {"error": ERROR, "output": [["Captured stdout call", "printed"]]}),
        ("b.py::TestIt::test_skipped", "SKIP", {"skipReason": "no need"}),
        ("b.py::test_known", "XFAIL", {"xfailReason": "known"}),
        ("b.py::test_setup", "ERROR", {"phase": "setup", "error": ERROR}),
    ]

    text = written(write_run(place, [*(name for name, _, _ in cases), "b.py::test_left"], cases, exit_code=1))

    assert text.startswith('---\nrun_id: "run"\nstate: "')
    assert "\n- ✓ `test_fine` 1.5 ms\n" in text
    assert "\n- ○ `TestIt::test_skipped` 1.5 ms: `no need`\n" in text
    assert "\n- ◇ `test_known` 1.5 ms: `known`\n" in text
    assert "\n- · `test_left`\n" in text
    assert "`FAIL` in `call`, `ValueError` at `/r/a.py:7`" in text
    assert "  ```text\n  printed\n  ```" in text
    assert "| ✗ | `a.py` | 2 | 0.003 s | ✗ 1 FAIL, ✓ 1 PASS |\n" in text
    assert "## Failures: 2, causes: 1\n\n### 2x `no` at `a.py:7`, `ValueError`" in text


def test_what_a_test_says_is_shown_and_does_nothing(place: Place) -> None:
    evil = "```\n# out\n- ✓ `fake` 1.0 ms\n<img src=x onerror=alert(1)>\n````\n\x1b[2J"
    error = {"message": evil, "stack": evil, "errorType": "<b>", "location": "`x`"}
    cases: Cases = [
        (HOSTILE, "FAIL", {"error": error, "output": [["<i>", evil]]}),
        (HOSTILE.replace("a.py", "|.py"), "SKIP", {"skipReason": "two\nlines `and` <b>"}),
    ]

    text = written(write_run(place, [name for name, _, _ in cases], cases, exit_code=1))

    assert text.replace("\n", "").isprintable()
    assert "\n- ✓" not in text
    shown = html_of(text)
    assert "<script" not in shown
    assert "<img" not in shown
    assert "<b>" not in shown
    assert "href" not in shown
    assert "<h1>out" not in shown
    assert shown.count("<tr>") == html_of(text.replace("|.py", "a.py")).count("<tr>")


def test_a_cell_is_never_two() -> None:
    reader = MarkdownIt("commonmark").enable("table")
    for name in ("a|b", "a\\|b", "a\\\\|b", "|", "||", "\\"):
        shown = reader.render(f"| x | y |\n|---|---|\n| {cell(f'`{name}`')} | end |\n")
        assert shown.count("<td>") == 2, name
        assert "<td>end</td>" in shown, name


def test_a_test_with_very_many_results_has_a_line_for_the_rest(place: Place) -> None:
    subtests: Cases = [
        ("a.py::test_many", "FAIL", {"error": ERROR, "subtest": {"message": f"part {number}", "parameters": {}}})
        for number in range(RESULTS_SHOWN + 5)
    ]

    text = written(write_run(place, ["a.py::test_many"], [*subtests, ("a.py::test_many", "PASS", {})], exit_code=1))

    assert text.count("subtest `part ") == RESULTS_SHOWN
    assert "  and 6 more results: `threepio show` has them\n" in text


def test_a_run_that_goes_on_is_told_so_far(place: Place) -> None:
    report = write_run(
        place, ["a.py::test_one", "a.py::test_two"], [("a.py::test_one", "PASS", {})], exit_code=None, identity=living()
    )

    text = written(report)

    assert 'state: "running"\n' in text
    assert "duration_s: null\n" in text
    assert "- ✓ `test_one`" in text
    assert "- · `test_two`\n" in text


def test_a_file_that_cannot_be_collected_is_a_group(place: Place) -> None:
    broken = (EventType.COLLECTION_ERROR, {"nodeid": "b.py", "error": ERROR})

    text = written(write_run(place, [], [], exit_code=2, before=[broken]))

    assert "\n- ‼ `b.py` 0.0 ms\n" in text
    assert "| ‼ | `b.py` | 1 |" in text
