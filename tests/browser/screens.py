"""The screenshots of docs/reports.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from tests.browser.browser import DESKTOP, PHONE
from tests.browser.checks import Tried

SCREENS: Final[tuple[tuple[str, str, str, dict[str, Any]], ...]] = (
    ("page-green", "green", "", {"size": (1280, 1000)}),
    ("page-red", "red", "", {"size": (1280, 1400)}),
    ("page-crash", "crash", "", {"size": DESKTOP}),
    ("page-crash-dark", "crash", "", {"size": DESKTOP, "colours": "dark"}),
    ("page-crash-phone", "crash", "", {"size": PHONE}),
    ("page-search-phone", "red", "#q=test_pay&show=ERROR", {"size": PHONE, "colours": "dark"}),
    ("page-test", "red", "#q=discount&test=test_checkout.py%3A%3Atest_discount%5B5%5D", {"size": DESKTOP}),
    ("page-recorded", "recorded", "", {"size": (1280, 1100)}),
)
"""Name of the file, run, address, and how it is looked at."""


def take(tried: Tried, directory: Path) -> None:
    """Write the screenshots of all pages that are there."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, run, address, how in SCREENS:
        if run in tried.pages:
            with tried.browser.page(tried.pages[run], address, **how) as tab:
                tab.wait_for_load_state("networkidle")
                tab.screenshot(path=directory / f"{name}.png")
