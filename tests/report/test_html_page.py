"""The page of a run as a file: what is in it, that all of it is inert, and that it grows no more than it must.

What a browser makes of it: `python -m tests.browser`.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import random
import re
import zlib
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.browser.pages import HOSTILE, hostile_lines
from tests.place import Place
from tests.scripted import STARTED, case, event, run_lines, write_journal
from tests.two_runs import BREAKS, ERROR, FIXED, write_run, write_two_runs
from threepio_client.archive import Archive
from threepio_client.events import EventType, Phase, Status
from threepio_client.printable import inert
from threepio_client.report import html
from threepio_client.report.formats import FORMATS
from threepio_client.report.model import NEVER_RAN, Case, Report, read
from threepio_client.results import Result


def page_of(place: Place, run_id: str) -> str:
    archive = Archive(place.state_dir)
    return written(read(archive, run_id, history=FORMATS["html"].history))


def written(report: Report) -> str:
    out = io.StringIO()
    html.write(report, out)
    return out.getvalue()


def block(page: str, name: str) -> str:
    """Return one of the page's blocks, read as the page's script reads it."""
    (packed,) = re.findall(
        rf'<script type="application/octet-stream;base64" id="{name}">([A-Za-z0-9+/=]*)</script>', page
    )
    return zlib.decompress(base64.b64decode(packed, validate=True)).decode()


def read_tests(page: str) -> dict[str, dict[str, Any]]:
    """Return what the page says of each test, by its name, in the order of the run."""
    columns = json.loads(block(page, "run"))["columns"]
    names = block(page, "names").split("\n")
    found = {}
    number = -1
    ends: dict[int, int] = {}
    for place, step in enumerate(columns["step"]):
        number += step
        worker, gap, lasted = (columns[name][place] for name in ("worker", "gap", "duration"))
        started = None
        if gap is not None:
            started = ends.get(worker, 0) + gap
            ends[worker] = started + lasted
        found[names[number]] = {
            "number": number,
            "standing": columns["standings"][columns["standing"][place]],
            "worker": columns["workers"][worker],
            "ms": lasted / html.UNITS_PER_S * 1000,
            "started": None if started is None else started / html.UNITS_PER_S,
        }
    return found


def details_of(page: str, name: str) -> list[dict[str, Any]]:
    """Return what the page tells of a test, with its texts."""
    told = json.loads(block(page, "details"))

    def text(number: int) -> str:
        return "\n".join(told["lines"][line] for line in told["texts"][number])

    number = read_tests(page)[name]["number"]
    texts = {"status", "phase", "reason", "message", "stack", "errorType", "location", "subtest", "attempt"}
    return [
        {
            key: text(value)
            if key in texts
            else [[text(part) for part in pair] for pair in value]
            if key == "output"
            else value
            for key, value in result.items()
        }
        for result in told["results"].get(str(number), [])
    ]


def test_tests_and_their_details(place: Place) -> None:
    write_two_runs(place)

    page = page_of(place, "two")

    found = read_tests(page)
    assert list(found)[:2] == ["t.py::test_slow", FIXED]
    assert (found["t.py::test_slow"]["standing"], found["t.py::test_slow"]["ms"]) == ("PASS", 5000)
    assert [(told["status"], told.get("attempt")) for told in details_of(page, FIXED)] == [
        ("RERUN", None),
        ("PASS", "2"),
    ]
    (told,) = details_of(page, BREAKS)
    assert told["stack"] == ERROR["stack"]
    assert told["location"] == "shop.py:7", "it is relative to the rootdir"
    assert told["output"] == [["Captured stdout call", "printed \\x1b[31m\n"]]
    assert details_of(page, "t.py::test_slow") == []


def test_causes_refer_to_their_tests(place: Place) -> None:
    write_two_runs(place)

    page = page_of(place, "two")

    run = json.loads(block(page, "run"))
    names = block(page, "names").split("\n")
    causes = {
        (cause["message"], cause["place"]): [names[number] for number in cause["tests"]] for cause in run["causes"]
    }
    assert causes == {
        ("no stock", "shop.py:7"): [BREAKS, "t.py::test_new_bad"],
        ("no shop", "shop.py:7"): ["t.py::test_other"],
        ("no stock", "shop.py:99"): ["t.py::test_still"],
    }


def test_earlier_runs_of_the_same_rootdir(place: Place) -> None:
    write_two_runs(place)
    elsewhere = run_lines("elsewhere", 1)
    elsewhere[0] = elsewhere[0].replace(b"/somewhere", b"/elsewhere")
    start = json.loads(run_lines("nested", 0)[0])["payload"]
    write_journal(place.state_dir, "nested", [event(1, EventType.RUN_START, {**start, "parentRunId": "one"})])
    write_journal(place.state_dir, "again", [event(1, EventType.RUN_START, {**start, "rerunOf": "one"})])
    write_run(place, "three", 3, [(FIXED, "PASS", {})])

    history = json.loads(block(page_of(place, "three"), "run"))["history"]

    assert [(row["run_id"], row["state"], row["counts"]["failed"]) for row in history] == [
        ("two", "failed", 4),
        ("one", "failed", 3),
    ]
    archive = Archive(place.state_dir)
    assert read(archive, "three").history == [], "not asked for"
    assert [row["run_id"] for row in read(archive, "three", history=1).history] == ["two"]


def test_a_crashed_run_names_what_was_in_flight_and_what_never_ran(place: Place) -> None:
    place.suite("import os\ndef test_a(): pass\ndef test_dies(): os._exit(3)\ndef test_b(): pass")
    place.pytest("-q", THREEPIO_RUN_ID="dies")

    page = page_of(place, "dies")

    standings = {name: test["standing"] for name, test in read_tests(page).items()}
    assert standings == {
        "test_it.py::test_a": "PASS",
        "test_it.py::test_dies": "IN_FLIGHT",
        "test_it.py::test_b": "NEVER_RAN",
    }
    view = json.loads(block(page, "run"))["view"]
    in_flight = read_tests(page)["test_it.py::test_dies"]
    assert in_flight["started"] + in_flight["ms"] / 1000 == pytest.approx(view["duration_s"], abs=0.001)
    assert '<html lang="en" data-state="crashed">' in page


class Elements(HTMLParser):
    """What a browser would find in the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_texts_are_nothing_but_data(place: Place) -> None:
    write_two_runs(place)
    write_journal(place.state_dir, "hostile", hostile_lines())

    page, harmless = page_of(place, "hostile"), page_of(place, "two")

    elements = [Elements(text).found for text in (page, harmless)]
    shapes = [[(tag, sorted(attributes)) for tag, attributes in found] for found in elements]
    assert shapes[0] == shapes[1]
    names = [inert(f"t.py::test_it[{text}]") for text in HOSTILE]
    assert list(read_tests(page)) == names
    for name, text in zip(names, HOSTILE, strict=True):
        assert all(char.isprintable() for char in name)
        for told in details_of(page, name):
            shown = [told.get("reason"), told.get("stack"), *told["output"][0]]
            assert all(char.isprintable() or char in "\t\n" for said in shown if said for char in said)
            assert inert(text) in (
                told["output"][0][1].replace("\n", "\\n"),
                told.get("reason", "").replace("\n", "\\n"),
            )
    page.encode("utf-8", "strict")


def test_the_policy_allows_exactly_what_is_in_the_page(place: Place) -> None:
    write_two_runs(place)

    page = page_of(place, "two")

    (policy,) = (
        attributes["content"]
        for tag, attributes in Elements(page).found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed["default-src"] == "'none'"
    for name, pattern in (("script-src", "<script>(.*?)</script>"), ("style-src", "<style>(.*?)</style>")):
        hashes = [
            base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            for text in re.findall(pattern, page, re.S)
        ]
        assert hashes
        assert allowed[name].split() == [f"'sha256-{digest}'" for digest in hashes]
    assert set(allowed) == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}
    assert allowed["img-src"] == "data:"
    assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//", page), "it refers to nothing outside"


@pytest.mark.parametrize(
    "state", ["failed", "crashed", "interrupted", "incomplete", "running", "detached", "no such state"]
)
def test_only_a_run_that_passed_is_green(place: Place, state: str) -> None:
    view = Archive(write_one(place)).view("one")
    assert view["state"] == "passed"
    green = written(Report(start={}, view=view, tests=[], causes=[]))

    page = written(Report(start={}, view={**view, "state": state}, tests=[], causes=[]))

    assert '<html lang="en" data-state="passed">' in green
    assert f'<html lang="en" data-state="{state}">' in page
    assert "✓" in Elements(green.partition("<main")[0]).text
    assert (
        "✓"
        not in Elements(
            page.partition("<main")[0].partition("<style>")[0] + page.partition("<h1>")[2].partition("</h1>")[0]
        ).text
    )
    icons = [dict(found)["href"] for text in (green, page) for tag, found in Elements(text).found if tag == "link"]
    assert icons[0] != icons[1]


def write_one(place: Place) -> Any:
    write_journal(place.state_dir, "one", run_lines("one", 2))
    return place.state_dir


def test_numbers_that_nobody_means(place: Place) -> None:
    lines = run_lines("odd", 0, exit_code=None)
    write_journal(place.state_dir, "odd", [*lines, case(3, "t.py::test_odd", duration=1e308, started=-1e308)])

    assert read_tests(page_of(place, "odd"))["t.py::test_odd"]["standing"] == "PASS"


def made(tests: list[Case], place: Place) -> Report:
    return Report(start={}, view=Archive(write_one(place)).view("one"), tests=tests, causes=[])


def test_the_order_of_a_run_costs_little(place: Place) -> None:
    names = [f"tests/part{n // 500}/test_{n // 50}.py::test_something_{n // 10}[case-{n % 10}]" for n in range(20_000)]
    tests = [Case(name, Status.PASS, 1, STARTED + n / 100, n % 7, "gw0", ()) for n, name in enumerate(names)]
    shuffled = random.Random(1).sample(tests, len(tests))

    page = written(made(shuffled, place))

    assert list(read_tests(page)) == [test.nodeid for test in shuffled]
    assert sum(json.loads(block(page, "run"))["columns"]["alike"]) == len(tests)
    assert len(page) < 3 * sum(map(len, names)) / 10


def failing(number: int, stack: str) -> Case:
    error = {"message": "no", "errorType": "ValueError", "stack": stack}
    result = Result(f"t.py::test_{number}", number, Status.FAIL, Phase.CALL, None, 1.0, None, {"error": error})
    return Case(result.nodeid, Status.FAIL, 1, None, 1.0, None, (result,))


def test_tracebacks_that_are_alike_cost_little(place: Place) -> None:
    frames = "\n".join(f"library/file_{random.Random(n).random()}.py:{n}: in function_{n}" for n in range(1000))
    tests = [failing(number, f"test {number}\n{frames}\nE   ValueError: {number}") for number in range(500)]

    pages = [written(made(some, place)) for some in (tests[:1], tests)]

    assert details_of(pages[1], "t.py::test_499")[0]["stack"] == tests[499].results[0].details["error"]["stack"]
    assert len(pages[1]) - len(pages[0]) < 500 * len(frames) / 100


def test_texts_that_there_is_no_room_for_are_cut_and_that_is_said(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "TEXTS_LIMIT", 20_000)
    tests = [failing(number, f"{number}" * 9000) for number in range(1, 9)]

    page = written(made(tests, place))

    assert details_of(page, "t.py::test_1")[0]["stack"] == "1" * 9000
    cut = details_of(page, "t.py::test_8")[0]["stack"]
    assert len(cut) <= html.CUT_TO
    assert cut.startswith("888")
    assert "9000" in cut, "the length that it had"
    assert json.loads(block(page, "details"))["cut"] == 6


def test_reasons_are_grouped(place: Place) -> None:
    write_run(
        place,
        "skips",
        1,
        [
            ("t.py::test_a", "SKIP", {"skipReason": "no printer"}),
            ("t.py::test_b", "XFAIL", {"xfailReason": "no printer"}),
            ("t.py::test_c", "SKIP", {"skipReason": "no printer"}),
        ],
    )

    reasons = json.loads(block(page_of(place, "skips"), "run"))["reasons"]

    assert [(item["standing"], item["reason"], len(item["tests"])) for item in reasons] == [
        ("SKIP", "no printer", 2),
        ("XFAIL", "no printer", 1),
    ]


def test_a_run_without_tests(place: Place) -> None:
    page = written(made([], place))

    assert block(page, "names") == ""
    assert json.loads(block(page, "run"))["columns"]["step"] == []


def test_what_never_ran_has_no_time(place: Place) -> None:
    page = written(made([Case("t.py::test_a", NEVER_RAN, 0, None, 0.0, None, ())], place))

    assert read_tests(page)["t.py::test_a"] | {"number": 0} == {
        "number": 0,
        "standing": NEVER_RAN,
        "worker": None,
        "ms": 0,
        "started": None,
    }


def test_the_script_inserts_nothing_as_html() -> None:
    for name in html.SCRIPTS:
        text = html._page_file(name)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text), (
            name
        )
        assert "</script" not in text
