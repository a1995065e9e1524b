"""A Chromium that opens pages from files, with no network, and remembers whatever it complained of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.place import wait_until

QUIET: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP: Final = (1280, 900)
PHONE: Final = (360, 740)
PATIENCE_MS: Final = 20_000
READY: Final = "!document.getElementById('main').hidden && !document.getElementById('message')"

Tab = Any
"""A page of Playwright, which need not be installed where the types are checked."""


class Browser:
    """A running browser.

    Attributes:
        complaints: messages on a console, errors of scripts, and requests for anything but the pages themselves.
    """

    def __init__(self, browser: Any) -> None:
        self._browser = browser
        self.version = str(browser.version)
        self.complaints: list[str] = []

    @contextmanager
    def tab(
        self, size: tuple[int, int] = DESKTOP, colours: str = "light", *, scripts: bool = True, motion: str = "reduce"
    ) -> Iterator[Tab]:
        """Give an empty tab of a fresh profile."""
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme=colours,
            reduced_motion=motion,
            java_script_enabled=scripts,
            locale="en-GB",
            timezone_id="UTC",
        )
        context.set_default_timeout(PATIENCE_MS)
        tab = context.new_page()
        tab.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        tab.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))
        tab.on("request", self._requested)
        try:
            yield tab
        finally:
            context.close()

    @contextmanager
    def page(self, path: Path, address: str = "", **how: Any) -> Iterator[Tab]:
        """Give a tab in which a page is ready."""
        with self.tab(**how) as tab:
            open_page(tab, path, address)
            yield tab

    def _requested(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:image/svg+xml;")):
            self.complaints.append(f"request: {request.url}")


@contextmanager
def started(chromium: str) -> Iterator[Browser]:
    """Give a running browser; Playwright must be there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*QUIET])
        try:
            yield Browser(browser)
        finally:
            browser.close()


def wait_for(tab: Tab, condition: str) -> None:
    """Wait until a JavaScript expression is true: asked from here, because a page that allows no eval cannot ask itself."""
    wait_until(lambda: tab.evaluate(condition), PATIENCE_MS / 1000)


def open_page(tab: Tab, path: Path, address: str = "") -> None:
    """Open a page and return when it can be used."""
    tab.goto(f"{path.as_uri()}{address}")
    wait_for(tab, READY)
