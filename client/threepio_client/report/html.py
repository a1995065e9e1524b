"""A run as one HTML file that needs no network: its data compressed within it, decoded by the page's own script.

Owned here: which data the page gets, and in which form. What is done with them is in `page/`: `data.js` reads and
searches, `timeline.js` draws, the other scripts say and show. The verdict alone is in the page without a script.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from importlib.resources import files
from itertools import groupby, pairwise
from string import Template
from typing import Any, Final, TextIO

from threepio_client.causes import Cause, message_of
from threepio_client.events import Status
from threepio_client.line import clip
from threepio_client.printable import inert
from threepio_client.report.model import IN_FLIGHT, NEVER_RAN, Case, Report
from threepio_client.results import Result
from threepio_client.wording import relative

UNITS_PER_S: Final = 100_000
"""Times in the page are whole numbers of 10 µs: a test that does nothing takes some tens of that."""
MOST_UNITS: Final = 2**48
"""A foreign writer may have put any number into a journal; the page's script adds them, exactly up to 2**53."""
TEXTS_LIMIT: Final = 32 * 1024 * 1024
"""Characters of different lines of tracebacks, output and reasons that are kept; pandas, 1,675 failures, has 0.9 million."""
CUT_TO: Final = 2000
"""Characters that are left of each text beyond that."""
NAMES_AT_ONCE: Final = 4096

STANDINGS: Final = (
    Status.PASS,
    Status.FAIL,
    Status.ERROR,
    IN_FLIGHT,
    NEVER_RAN,
    Status.XPASS,
    Status.RERUN,
    Status.SKIP,
    Status.XFAIL,
)
"""In the order in which the page lists them."""
SHOWN_OF_VIEW: Final = (
    *("run_id", "state", "exit_code", "started", "duration_s", "collected", "finished", "never_ran", "counts", "flaky"),
    *("in_flight", "death", "workers_died", "worker_deaths", "verdict", "events", "rootdir", "argv", "git", "ci"),
    *("parent_run_id", "rerun_of"),
)
SYMBOLS: Final = {"passed": "✓", "failed": "✗", "crashed": "✗", "interrupted": "■", "incomplete": "…"}
"""Beside the word for a run's state, so that it is not told by colour alone; a run that lives has `▶`."""
COLOURS: Final = {"passed": "#1a7f37", "running": "#0b62c4", "detached": "#0b62c4"}
"""Of the icon; all other states are red."""
SCRIPTS: Final = ("data.js", "timeline.js", "words.js", "parts.js", "tests.js", "page.js")


def write(report: Report, out: TextIO) -> None:
    """Write the page.

    Args:
        report: the run, with earlier ones if it has any.
        out: where to; UTF-8.
    """
    style = _page_file("style.css")
    scripts = [_page_file(name) for name in SCRIPTS]
    head, tail = _page_file("page.html").split("<!-- data -->")
    view = report.view
    state = str(view["state"])
    symbol = SYMBOLS.get(state, "▶")
    fields = {
        "policy": _policy(style, scripts),
        "style": style,
        "icon": _icon(symbol, COLOURS.get(state, "#b3261e")),
        "state": _escaped(state),
        "symbol": symbol,
        "run": _escaped(view["run_id"]),
        "verdict": _escaped(view["verdict"]["text"] if view["verdict"]["text"] != state else ""),
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    out.write(Template(head).substitute(fields))
    named = _Named(report.tests)
    texts = _Texts()
    for cause in report.causes:  # these first, as long as there is room for whole texts
        texts.number(cause.example["error"].get("stack", ""))
    _write_block(out, "run", [_json(_run(report, named))])
    _write_block(out, "names", named.lines())
    _write_block(out, "details", [_json(_details(named, texts, view["rootdir"]))])
    out.write(Template(tail).substitute(fields))


def _page_file(name: str) -> str:
    return files("threepio_client.report").joinpath("page", name).read_text(encoding="utf-8")


def _policy(style: str, scripts: Iterable[str]) -> str:
    """Return the content security policy: nothing but this style and these scripts, and no network."""
    hashes = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {hashes}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _icon(symbol: str, colour: str) -> str:
    """Return a data URL of the picture that the browser shows in its tab."""
    svg = (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>"
        f"<rect width='32' height='32' rx='7' fill='{colour}'/>"
        f"<text x='16' y='24' font-size='23' font-family='sans-serif' text-anchor='middle' fill='#fff'>{symbol}</text></svg>"
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _escaped(text: str) -> str:
    return html.escape(inert(text))


def _write_block(out: TextIO, name: str, parts: Iterable[str]) -> None:
    """Write text that no browser takes for HTML, as an element with this id: deflate, then base64."""
    out.write(f'<script type="application/octet-stream;base64" id="{name}">')
    squeeze = zlib.compressobj(9)
    rest = b""
    for part in _bytes_of(parts, squeeze.compress, squeeze.flush):
        rest += part
        whole = len(rest) - len(rest) % 3
        out.write(base64.b64encode(rest[:whole]).decode())
        rest = rest[whole:]
    out.write(base64.b64encode(rest).decode())
    out.write("</script>\n")


def _bytes_of(parts: Iterable[str], compress: Callable[[bytes], bytes], flush: Callable[[], bytes]) -> Iterator[bytes]:
    for part in parts:
        yield compress(part.encode())
    yield flush()


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


class _Named:
    """The tests with the numbers that they have in the page: by name, so that names that are alike stand together.

    In the order of a run, shuffled or of several workers, they would take five times as much.

    Attributes:
        tests: in the order of the run.
        numbers: of each of them, its number.
        names: by number.
    """

    def __init__(self, tests: list[Case]) -> None:
        self.tests = tests
        shown = [inert(test.nodeid) for test in tests]
        order = sorted(range(len(tests)), key=shown.__getitem__)
        self.names = [shown[place] for place in order]
        self.numbers = [0] * len(tests)
        for number, place in enumerate(order):
            self.numbers[place] = number

    def lines(self) -> Iterator[str]:
        """Yield the names, a line each; `inert` leaves no other newline."""
        for first in range(0, len(self.names), NAMES_AT_ONCE):
            yield ("\n" if first else "") + "\n".join(self.names[first : first + NAMES_AT_ONCE])

    def alike(self) -> list[int]:
        """Return how many names follow one another that differ only from their bracket on."""
        return [len(list(names)) for _, names in groupby(name.partition("[")[0] for name in self.names)]

    def __iter__(self) -> Iterator[tuple[int, Case]]:
        return zip(self.numbers, self.tests, strict=True)


def _run(report: Report, named: _Named) -> dict[str, Any]:
    view = report.view
    bad = {failure["nodeid"] for cause in report.causes for failure in cause.failures}
    found = {test.nodeid: (number, test) for number, test in named if test.nodeid in bad}
    return {
        "view": _inert({name: view[name] for name in SHOWN_OF_VIEW}),
        "units": UNITS_PER_S,
        "columns": _columns(report, named),
        "causes": [_cause(cause, view["rootdir"], found) for cause in report.causes],
        "reasons": _reasons(named),
        "history": _inert(report.history),
    }


def _columns(report: Report, named: _Named) -> dict[str, Any]:
    """Return what there is of every test, a column each, in the order of the run: there neighbours are alike."""
    standings = {str(standing): number for number, standing in enumerate(STANDINGS)}
    column_of_standings = [standings.setdefault(test.standing, len(standings)) for test in report.tests]
    workers: dict[str | None, int] = {}
    ended: dict[str | None, int] = {}
    origin, over = report.view["started"], _units(report.view["duration_s"])
    column_of_workers, durations, gaps = [], [], []
    for test in report.tests:
        lasted = _units(test.duration_ms / 1000)
        if test.standing == IN_FLIGHT:
            started: int | None = over - lasted
        else:
            started = _units(test.started - origin) if test.started is not None else None
        worker = inert(str(test.worker)) if test.worker is not None else None
        column_of_workers.append(workers.setdefault(worker, len(workers)))
        durations.append(lasted)
        gaps.append(started - ended.get(worker, 0) if started is not None else None)
        if started is not None:
            ended[worker] = started + lasted
    return {
        "standings": [inert(standing) for standing in standings],
        "standing": column_of_standings,
        "files": sum("::" not in name for name in named.names),
        "alike": named.alike(),
        "step": [number - before for before, number in pairwise([-1, *named.numbers])],
        "workers": list(workers),
        "worker": column_of_workers,
        "duration": durations,
        "gap": gaps,
        "attempts": {number: test.attempts for number, test in named if test.attempts > 1},
    }


def _units(seconds: float) -> int:
    return round(min(max(seconds * UNITS_PER_S, -MOST_UNITS), MOST_UNITS))


def _cause(cause: Cause, rootdir: str, found: dict[str, tuple[int, Case]]) -> dict[str, Any]:
    example = cause.example
    numbers = [found[failure["nodeid"]][0] for failure in cause.failures if failure["nodeid"] in found]
    results = found[example["nodeid"]][1].results if example["nodeid"] in found else ()
    return {
        "name": cause.fingerprint,
        "type": inert(cause.error_type),
        "message": inert(message_of(example["error"])),
        "place": inert(relative(cause.place, rootdir)),
        "count": cause.count,
        "phase": inert(str(example["phase"])),
        "tests": list(dict.fromkeys(numbers)),
        "example": next((number for number, result in enumerate(results) if result.seq == example["seq"]), 0),
    }


def _reasons(named: _Named) -> list[dict[str, Any]]:
    """Return why tests were skipped or expected to fail, the most frequent reason first."""
    found: dict[tuple[str, str], list[int]] = {}
    for number, test in named:
        if test.results and test.standing in (Status.SKIP, Status.XFAIL, Status.XPASS):
            found.setdefault((test.standing, test.results[-1].reason), []).append(number)
    listed = [{"standing": key[0], "reason": inert(key[1]), "tests": places} for key, places in found.items()]
    return sorted(listed, key=lambda item: -len(item["tests"]))


class _Texts:
    """Texts, and the lines that they are made of, each kept once: tracebacks of one cause differ in a few lines.

    Attributes:
        kept: the numbers of each text's lines.
        lines: by number; without what a terminal or a browser could act on.
        cut: how many texts are not whole.
    """

    def __init__(self) -> None:
        self.kept: list[list[int]] = []
        self.lines: dict[str, int] = {}
        self.cut = 0
        self._numbers: dict[str, int] = {}
        self._room = TEXTS_LIMIT

    def number(self, value: object) -> int:
        """Return the number of a text, which is cut where there is no more room."""
        text = str(value)
        if text not in self._numbers:
            lines = text.split("\n")
            cost = len(lines) + sum(len(line) for line in {*lines} - self.lines.keys())
            if cost > max(self._room, CUT_TO):
                self.cut += 1
                lines = clip(text, CUT_TO).split("\n")
                cost = CUT_TO
            self._room -= cost
            self._numbers[text] = len(self.kept)
            self.kept.append([self.lines.setdefault(_tabbed(line), len(self.lines)) for line in lines])
        return self._numbers[text]


def _tabbed(line: str) -> str:
    """Return a line with all but its tabs made harmless."""
    return "\t".join(map(inert, line.split("\t"))) if "\t" in line else inert(line)


def _details(named: _Named, texts: _Texts, rootdir: str) -> dict[str, Any]:
    """Return what was reported of the tests that have more to say than that they passed."""
    told = {
        number: [_told(result, texts, rootdir) for result in test.results] for number, test in named if test.results
    }
    return {"results": told, "texts": texts.kept, "lines": list(texts.lines), "cut": texts.cut}


def _told(result: Result, texts: _Texts, rootdir: str) -> dict[str, Any]:
    """Return one result; texts by number, and nothing that it does not have."""
    error = result.error
    found: dict[str, Any] = {
        "status": texts.number(result.status),
        "phase": texts.number(result.phase),
        "ms": _units(result.duration_ms) / UNITS_PER_S,
    }
    if result.attempt != 1:
        found["attempt"] = texts.number(result.attempt)
    if result.subtest is not None:
        found["subtest"] = texts.number(result.subtest_text)
    if result.reason:
        found["reason"] = texts.number(result.reason)
    for name in ("message", "stack", "errorType"):
        if error.get(name):
            found[name] = texts.number(error[name])
    if error.get("location"):
        found["location"] = texts.number(relative(str(error["location"]), rootdir))
    if output := result.output:
        found["output"] = [[texts.number(part) for part in pair] for pair in output]
    return found


def _inert(value: Any) -> Any:
    """Return plain data with every text in it made harmless."""
    if isinstance(value, str):
        return inert(value)
    if isinstance(value, dict):
        return {inert(str(name)): _inert(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_inert(item) for item in value]
    return value
