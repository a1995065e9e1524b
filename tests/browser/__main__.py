"""`python -m tests.browser`: the page of a run in a real browser.

Exit code 0 if every check holds, 1 if not, 2 if something that it needs is not there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.browser.browser import started
from tests.browser.checks import CHECKS, Tried
from tests.browser.pages import big_page, default_chromium, make_pages, page_of
from tests.browser.screens import take
from tests.place import Place
from threepio_client.archive import Archive
from threepio_client.paths import StateDir

NEEDS: Final = """\
What it needs: a Chromium (Debian: apt install chromium), Playwright for Python (pip install playwright; its own
browsers are not used) and axe-core (npm install axe-core). What is missing is named, with exit code 2.
"""


def main() -> int:
    """Make the pages, run all checks, and take the screenshots if they are asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.browser", description=__doc__, epilog=NEEDS, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--chromium", metavar="PATH", default=default_chromium(), help="default: the first on the PATH")
    parser.add_argument("--axe", metavar="PATH", type=Path, default=Path("node_modules/axe-core/axe.min.js"))
    parser.add_argument("--state", metavar="DIR", type=Path, help="measure speed with the latest run kept there")
    parser.add_argument("--screens", metavar="DIR", type=Path, help="write the screenshots of docs/reports.md")
    parser.add_argument(
        "checks", nargs="*", metavar="CHECK", help=f"default: all of {' '.join(c.__name__ for c in CHECKS)}"
    )
    options = parser.parse_args()
    wanted = [check for check in CHECKS if not options.checks or check.__name__ in options.checks]
    if unknown := set(options.checks) - {check.__name__ for check in CHECKS}:
        parser.error(f"no such check: {' '.join(sorted(unknown))}")
    if options.chromium is None or not Path(options.chromium).exists():
        return _missing("there is no Chromium: apt install chromium, or name one with --chromium PATH")
    if not options.axe.is_file():
        return _missing(f"there is no {options.axe}: npm install axe-core, or name its axe.min.js with --axe PATH")
    if find_spec("playwright") is None:
        return _missing("there is no Playwright: pip install playwright")
    if find_spec("xdist") is None:
        return _missing("what the project's tests need is not there: pip install -e '.[daemon,dev]'")
    with tempfile.TemporaryDirectory(prefix="3p-") as directory, started(options.chromium) as browser:
        print(f"Chromium {browser.version}", flush=True)
        place = Place(Path(directory))
        pages = make_pages(place)
        pages["big"] = big_page(place.path / "big.html", Archive(place.state_dir).view("green"))
        if options.state is not None:
            pages["recorded"] = page_of(StateDir(options.state.absolute()), "latest", place.path / "recorded.html")
        tried = Tried(browser=browser, pages=pages, axe=options.axe.read_text())
        failed = 0
        for check in wanted:
            began = time.monotonic()
            try:
                seen, is_fine = check(tried), True
            except Exception:  # noqa: BLE001 - Playwright's own errors too: each is a check that failed, and said
                seen, is_fine = traceback.format_exc(), False
            failed += not is_fine
            word = "OK" if is_fine else "NOT OK"
            print(f"{check.__name__:<11} {word:<7} {time.monotonic() - began:5.1f} s  {seen}", flush=True)
        if options.screens is not None:
            take(tried, options.screens)
    return 1 if failed else 0


def _missing(text: str) -> int:
    print(f"tests.browser: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
