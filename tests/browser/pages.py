"""The runs whose pages are looked at: real ones where pytest can make them, written by hand where it cannot."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from tests.place import Place
from tests.scripted import STARTED, case, event, run_lines, write_journal
from threepio_client.archive import Archive
from threepio_client.events import EventType, Status
from threepio_client.paths import StateDir
from threepio_client.report import html
from threepio_client.report.formats import FORMATS
from threepio_client.report.model import Case, Report, read

BIG: Final = 216_078
"""Tests of pandas 3.1.1."""

SHOP: Final = """
import random, sys, time
import pytest

rng = random.Random(__name__)

@pytest.mark.parametrize("amount", [1, 2, 5, 10, 50, 100])
@pytest.mark.parametrize("currency", ["EUR", "USD", "JPY"])
def test_total(currency, amount):
    time.sleep(rng.random() * {most_s})

class TestParts:
    def test_is_empty(self): time.sleep(0.01)
    def test_add(self): time.sleep(rng.random() * {most_s})
    @pytest.mark.skip(reason="needs a printer")
    def test_print(self): pass
    @pytest.mark.xfail(reason="rounding is not decided, see #412")
    def test_round(self): assert round(2.675, 2) == 2.68
"""
CHECKOUT: Final = """
import logging, os
import pytest

IS_RED = os.environ.get("SHOP") == "red"

def total(prices, discount=0):
    print("total of", prices)
    return sum(prices)

@pytest.fixture
def database():
    if IS_RED:
        raise ConnectionError("no database at localhost:5432")

@pytest.mark.parametrize("discount", [5, 10, 25])
def test_discount(discount):
    logging.getLogger().warning("discounts are new")
    if IS_RED:
        assert total([100, 100], discount=discount) == 200 - 2 * discount

@pytest.mark.parametrize("number", range(30))
def test_pay(number, database): pass
"""
WAREHOUSE: Final = """
import os, time
import pytest

@pytest.mark.parametrize("number", range(60))
def test_shelf(number):
    time.sleep(0.01)
    if number == 30 and os.environ.get("SHOP") == "crash":
        time.sleep(0.1)
        os.kill(os.getppid(), 9)
        time.sleep(5)
    if number == 30 and os.environ.get("SHOP") == "worker":
        os._exit(3)
"""
HOSTILE: Final = (
    "<script>document.title='taken'</script>",
    "</script><img src=x onerror=\"document.title='taken'\">",
    "<!--<script>",
    "-->]]>",
    "\"'`&amp;${document.title='taken'}",
    "line\u2028and\u2029paragraph",
    "\u202eright to left\u2066",
    "esc\x1b[31m nul\x00 bell\x07 newline\n del\x7f",
    "surrogate\udcff",
    "../../etc/passwd",
    "javascript:document.title='taken'",
    "שלום 世界 🙂",
    "long" * 2500,
)
"""What a test may be named, and a message or output may hold."""


def write_page(report: Report, path: Path) -> Path:
    with path.open("w", encoding="utf-8") as out:
        html.write(report, out)
    return path


def page_of(state_dir: StateDir, run_id: str, path: Path) -> Path:
    """Write the page of a run as the command would."""
    archive = Archive(state_dir)
    return write_page(read(archive, archive.find(run_id), history=FORMATS["html"].history), path)


def make_pages(place: Place) -> dict[str, Path]:
    """Return the pages by the names of their runs."""
    for name, most_s in (("basket", 0.02), ("order", 0.03), ("stock", 0.01), ("invoice", 0.02)):
        place.suite(SHOP.format(most_s=most_s), f"test_{name}.py")
    place.suite(CHECKOUT, "test_checkout.py")
    place.suite(WAREHOUSE, "test_warehouse.py")
    place.start_daemon()
    for run_id in ("before", "green"):
        place.pytest("-q", THREEPIO_RUN_ID=run_id)
    for run_id in ("red", "worker"):
        place.pytest("-q", "-n", "2", SHOP=run_id, THREEPIO_RUN_ID=run_id)
    command = (*place.python, "-m", "pytest", "-q", "-n", "2")
    place.threepio("run", "--", *command, SHOP="crash", THREEPIO_RUN_ID="crash")
    place.pytest("-q", "-k", "nothing_is_named_so", THREEPIO_RUN_ID="empty")
    place.stop_daemon()
    write_journal(place.state_dir, "hostile", hostile_lines())
    names = ("green", "red", "worker", "crash", "empty", "hostile")
    return {name: page_of(place.state_dir, name, place.path / f"{name}.html") for name in names}


def hostile_lines() -> list[bytes]:
    """Return the lines of a run in which everything that a test can say is hostile, and every status occurs."""
    names = [f"t.py::test_it[{text}]" for text in HOSTILE]
    lines = run_lines("hostile", 0, exit_code=None)[:1]
    lines.append(event(2, EventType.TESTS_COLLECTED, {"nodeids": names}))
    lines.append(event(3, EventType.COLLECTION_FINISH, {"collected": len(names), "deselected": 0}))
    for number, (name, text) in enumerate(zip(names, HOSTILE, strict=True)):
        status = (Status.FAIL, Status.SKIP, Status.XFAIL, Status.PASS)[number % 4]
        more: dict[str, Any] = {"output": [[text, text]], "worker": text[:20], "started": STARTED + number / 10}
        if status == Status.FAIL:
            more["error"] = {"message": text, "stack": f">   {text}\nE   {text}", "errorType": text, "location": text}
        else:
            more["skipReason"] = text
        lines.append(case(len(lines) + 1, name, status, **more))
    stop = {"exitCode": 1, "totals": {}, "deselected": 0, "stopped": {"kind": "exit", "text": HOSTILE[0]}, "stats": {}}
    lines.append(event(len(lines) + 1, EventType.RUN_COMPLETE, stop))
    return lines


def big_page(path: Path, view: dict[str, Any]) -> Path:
    """Write the page of a run with as many tests as pandas has, with names and times like its own.

    Args:
        path: of the page.
        view: the status answer of some run.
    """
    tests = []
    at = STARTED + 5
    for number in range(BIG):
        file = f"pandas/tests/part{number // 20_000}/series/test_file_{number // 500}.py"
        name = f"{file}::TestGroup{number // 100 % 5}::test_something_{number // 20}"
        name += f"[{number % 20}-index{number * 7919 % 1000}-float64-True]"
        lasted = number * 7919 % 5000 / 1000
        standing = Status.SKIP if number % 40 == 0 else Status.PASS
        tests.append(Case(name, standing, 1, at, lasted, None, ()))
        at += lasted / 1000 + 0.0005
    view = {
        **view,
        "run_id": "big",
        "started": STARTED,
        "duration_s": at + 1 - STARTED,
        "collected": BIG,
        "finished": BIG,
    }
    return write_page(Report(start={}, view=view, tests=tests, causes=[]), path)


def default_chromium() -> str | None:
    """Return where a Chromium is, None if there is none on the path."""
    names = ("chromium", "chromium-browser", "google-chrome")
    places = [Path(directory) / name for name in names for directory in os.get_exec_path()]
    return next((str(place) for place in places if os.access(place, os.X_OK)), None)
