"""What is tried on the pages. Each check returns what was seen, or fails by an assertion."""

from __future__ import annotations

import base64
import re
import statistics
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.browser.browser import DESKTOP, PHONE, READY, Browser, Tab, open_page, wait_for
from tests.browser.pages import HOSTILE
from threepio_client.printable import inert

PAGE_LIMIT: Final = 5 * 1024 * 1024
OPEN_LIMIT_MS: Final = 2000
SEARCH_LIMIT_MS: Final = 100
SEARCHES: Final = (
    "test",
    "e",
    "zzz",
    "index",
    "q",
    "series 7",
    "float64-true",
    "test_something_10",
    "pandas tests index float64",
)
RED: Final = "test_checkout.py::test_pay[0]"


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What the checks work with.

    Attributes:
        browser: a running one.
        pages: by the names of their runs.
        axe: the text of axe-core.
    """

    browser: Browser
    pages: dict[str, Path]
    axe: str


def focused(tab: Tab) -> str:
    return str(
        tab.evaluate(
            "document.activeElement.id || document.activeElement.getAttribute('href') || document.activeElement.tagName"
        )
    )


def rows(tab: Tab) -> list[str]:
    return [str(text) for text in tab.locator("#list .name").all_text_contents()]


def open_all(tab: Tab) -> None:
    """Open whatever can be unfolded, and what is folded in that."""
    for _ in range(2):
        tab.evaluate("document.querySelectorAll('main details').forEach(box => { box.open = true; })")
        tab.evaluate("new Promise(done => setTimeout(done, 50))")


def verdicts(tried: Tried) -> str:
    """Every page says what became of its run; only one that passed is green."""
    expected = {
        "green": "passed",
        "red": "failed",
        "worker": "failed",
        "crash": "crashed",
        "empty": "failed",
        "hostile": "interrupted",
    }
    with tried.browser.tab() as tab:
        greens = set()
        for name, state in expected.items():
            tab.goto(tried.pages[name].as_uri())
            wait_for(tab, READY)
            assert state in tab.locator("h1").inner_text(), name
            assert state in tab.title(), name
            colour = tab.locator("h1 .state").evaluate("element => getComputedStyle(element).backgroundColor")
            if state == "passed":
                greens.add(colour)
            else:
                assert colour not in greens, f"{name} is green"
    assert len(greens) == 1
    return f"{len(expected)} pages"


def counts(tried: Tried) -> str:
    """The numbers of a run with failures, and the filter behind each."""
    with tried.browser.page(tried.pages["red"]) as tab:
        chips = tab.locator("#counts a").all_inner_texts()
        shown = {text.split()[-1]: int(text.split()[-2]) for text in chips}
        assert shown == {"passed": 140, "failed": 3, "error": 30, "skipped": 4, "xfailed": 4}, shown
        tab.locator("#counts a", has_text="failed").first.click()
        wait_for(tab, "document.querySelectorAll('#list li').length === 3")
        assert "show=FAIL" in str(tab.evaluate("location.hash"))
        return ", ".join(f"{number} {word}" for word, number in shown.items())


def search(tried: Tried) -> str:
    """Search, filter and order; the address holds them."""
    with tried.browser.page(tried.pages["red"]) as tab:
        tab.fill("#search", "BASKET eur")
        assert tab.locator("#found").inner_text() == "6 of 181 tests"
        assert all("basket" in name and "EUR" in name for name in rows(tab))
        assert tab.locator("#list mark").first.inner_text() == "basket"
        tab.fill("#search", "")
        tab.locator("#only button", has_text="skipped").click()
        tab.locator("#only button", has_text="error").click()
        assert tab.locator("#found").inner_text() == "34 of 181 tests"
        tab.fill("#search", "test_pay")
        tab.select_option("#sort", "slow")
        assert tab.locator("#found").inner_text() == "30 of 181 tests"
        address = str(tab.evaluate("location.hash"))
        before = rows(tab)
    with tried.browser.page(tried.pages["red"], address) as tab:
        assert rows(tab) == before
        assert tab.input_value("#search") == "test_pay"
        assert tab.locator("#only button[aria-pressed=true]").count() == 2
        tab.fill("#search", "no such test")
        assert tab.locator("#found").inner_text() == "0 of 181 tests"
    with tried.browser.page(tried.pages["green"]) as tab:
        number = tab.locator("#list li").count()
        tab.click("#more")
        assert tab.locator("#list li").count() > number
        assert "test" in focused(tab)
    return address


def failures(tried: Tried) -> str:
    """Groups of failures: the first with its traceback, links to tests, output."""
    with tried.browser.page(tried.pages["red"]) as tab:
        heads = tab.locator("#causes > div > .cause > summary").all_inner_texts()
        assert [head.split()[0] for head in heads] == ["30\N{MULTIPLICATION SIGN}", "3\N{MULTIPLICATION SIGN}"]
        first = tab.locator(".cause").first
        assert "ConnectionError: no database" in first.locator("pre .said").inner_text()
        assert first.locator("ul li").count() == 10
        first.locator("button").click()
        assert first.locator("ul li").count() == 20
        assert focused(tab) == "#test=test_checkout.py%3A%3Atest_pay%5B10%5D"
        second = tab.locator("#causes .cause").nth(1)
        second.locator("summary").first.click()
        second.locator("a").first.click()
        tab.wait_for_selector("dialog[open] pre")
        assert tab.locator("#test-name").inner_text() == "test_checkout.py::test_discount[5]"
        assert "total of [100, 100]" in tab.locator("dialog details", has_text="stdout").text_content()
        assert "discounts are new" in tab.locator("dialog details", has_text="log").text_content()
        tab.go_back()
        tab.wait_for_selector("dialog:not([open])", state="attached")
        return "; ".join(heads)


def links(tried: Tried) -> str:
    """A link to a test opens it, one to a part of the page goes there, and an unknown test is said."""
    with tried.browser.page(tried.pages["red"], f"#test={RED}&q=pay") as tab:
        tab.wait_for_selector("dialog[open]")
        assert tab.locator("#test-name").inner_text() == RED
        tab.click("#after")
        assert tab.locator("#test-name").inner_text() != RED
        tab.click("#close")
        wait_for(tab, "!location.hash.includes('test=')")
        assert "q=pay" in str(tab.evaluate("location.hash"))
    with tried.browser.page(tried.pages["red"], "#history") as tab:
        assert tab.locator("#h-history").evaluate("element => element.getBoundingClientRect().top < innerHeight")
        assert tab.locator("#runs tbody tr").count() == 3
    with tried.browser.page(tried.pages["red"], "#test=gone") as tab:
        assert "no test named gone" in tab.locator("#found").inner_text()
        return str(tab.locator("#found").inner_text())


def keyboard(tried: Tried) -> str:
    """All by keys alone, and what has the focus is to be seen."""
    with tried.browser.page(tried.pages["red"]) as tab:
        seen = []
        for _ in range(60):
            tab.keyboard.press("Tab")
            seen.append(focused(tab))
            style = tab.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style != "none", f"the focus on {seen[-1]} is not to be seen"
        assert {"theme", "zoom-in", "lanes"} <= set(seen), seen
        tab.keyboard.press("/")
        assert focused(tab) == "search"
        tab.keyboard.type("pay[1")
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("j")
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("k")
        chosen = rows(tab)[1]
        tab.keyboard.press("Enter")
        tab.wait_for_selector("dialog[open]")
        assert tab.locator("#test-name").inner_text() == chosen
        tab.keyboard.press("j")
        assert tab.locator("#test-name").inner_text() == rows(tab)[2]
        tab.keyboard.press("k")
        tab.keyboard.press("Escape")
        tab.wait_for_selector("dialog:not([open])", state="attached")
        assert focused(tab).startswith("#test="), focused(tab)
        tab.keyboard.press("/")
        tab.keyboard.press("Escape")
        assert tab.input_value("#search") == ""
        assert focused(tab) == "search"
        tab.keyboard.press("Escape")
        tab.keyboard.press("j")
        assert focused(tab).startswith("#test="), focused(tab)
        assert tab.input_value("#search") == ""
        tab.focus("#lanes")
        first = tab.locator("#pointed").inner_text()
        tab.keyboard.press("ArrowRight")
        tab.keyboard.press("ArrowDown")
        tab.keyboard.press("+")
        assert tab.locator("#pointed").inner_text() != first
        tab.keyboard.press("Enter")
        tab.wait_for_selector("dialog[open]")
        assert tab.locator("#test-name").inner_text() in tab.locator("#pointed").text_content()
    with tried.browser.page(tried.pages["red"], f"#test={RED}&q=basket") as tab:
        tab.wait_for_selector("dialog[open]")
        tab.keyboard.press("j")
        assert tab.locator("#test-name").inner_text() == RED, "it is not in the list, so nothing comes after it"
    return f"{len(set(seen))} places by Tab"


def scrolling(tried: Tried) -> str:
    """An address and `/` bring to the top what they mean, and it stays there while the page grows; motion is not reduced."""
    path = tried.pages["red"]
    seen = {}
    for anchors in ("auto", "none"):  # without them what grows above moves what is seen, as in older Safaris
        for address in ("#q=test_", "#tests", "#slow"):
            with tried.browser.tab(motion="no-preference") as tab:
                tab.add_init_script(
                    "document.addEventListener('DOMContentLoaded', "
                    f"() => {{ document.documentElement.style.overflowAnchor = '{anchors}'; }})"
                )
                open_page(tab, path, address)
                wait_for(tab, "document.querySelector('#causes pre') !== null")
                seen[f"{address} {anchors}"] = _top(tab, "slow" if address == "#slow" else "tests")
    with tried.browser.page(path, motion="no-preference") as tab:
        wait_for(tab, "document.querySelector('#causes pre') !== null")
        tab.keyboard.press("/")
        tab.keyboard.type("test_")
        assert tab.input_value("#search") == "test_"
        seen["/"] = _top(tab, "tests")
    assert all(0 <= top < 20 for top in seen.values()), f"pixels from the top: {seen}"
    return f"{len(seen)} ways, {min(seen.values())} to {max(seen.values())} pixels from the top"


def _top(tab: Tab, name: str) -> int:
    """Return where a part of the page is on the screen, two frames from now."""
    return int(
        tab.evaluate(
            """name => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(
                () => done(Math.round(document.getElementById(name).getBoundingClientRect().top))
            )))""",
            name,
        )
    )


def crash(tried: Tried) -> str:
    """A run that died says first what was in flight and what never ran; the timeline marks the crash."""
    with tried.browser.page(tried.pages["crash"], size=PHONE) as tab:
        alarm = tab.locator(".alarm")
        said = alarm.inner_text()
        assert "was in flight: test_warehouse.py::test_shelf[30] (call" in said
        assert "SIGKILL" in said
        assert re.search(r"never ran: \d+ tests", said)
        assert alarm.evaluate("element => element.getBoundingClientRect().top") < PHONE[1]
        marked = tab.evaluate(
            """() => {
                const canvas = document.getElementById("lanes");
                const pen = canvas.getContext("2d");
                const pixel = pen.getImageData(canvas.width - 1, 1, 1, 1).data;
                return [pixel[0], pixel[1], pixel[2]];
            }"""
        )
        assert marked[0] > 2 * marked[1], f"no mark at the end of the timeline: {marked}"
        alarm.locator("a", has_text="test_shelf[30]").click()
        tab.wait_for_selector("dialog[open]")
        assert "in flight" in tab.locator("#test-body").inner_text()
        tab.keyboard.press("Escape")
        alarm.locator("a", has_text=re.compile(r"\d+ tests")).click()
        number = int(re.search(r"never ran: (\d+)", said)[1])  # type: ignore[index]
        wait_for(tab, f"document.querySelectorAll('#list li').length === {number}")
    with tried.browser.page(tried.pages["worker"]) as tab:
        assert "died with exit code 3 at test_warehouse.py::test_shelf[30]" in tab.locator(".alarm").inner_text()
    return str(said.replace("\n", "; "))


def timeline(tried: Tried) -> str:
    """The bars: pointed at they are named, clicked they open; the same is there as a table."""
    with tried.browser.page(tried.pages["red"]) as tab:
        canvas = tab.locator("#lanes")
        canvas.scroll_into_view_if_needed()
        width = canvas.bounding_box()["width"]
        said = tab.locator("#pointed").inner_text()
        for x in range(5, int(width), 5):
            canvas.hover(position={"x": x, "y": 20})
            if tab.locator("#pointed").inner_text() != said:
                break
        pointed = tab.locator("#pointed").inner_text()
        assert re.search(r"on gw0, at [\d.]+ s for .*: test_\w+\.py::", pointed), pointed
        canvas.click(position={"x": x, "y": 20})
        tab.wait_for_selector("dialog[open]")
        tab.keyboard.press("Escape")
        table = tab.locator("#workers tbody tr").all_text_contents()
        assert [text[:3] for text in table] == ["gw0", "gw1"]
        assert sum(int(re.match(r"gw\d(\d+?)(?=\d+\.\d+ m?s|\d+ ms)", text)[1]) > 0 for text in table) == 2  # type: ignore[index]
        return str(pointed)


def hostile(tried: Tried) -> str:
    """Nothing that a test says is more than text, and what cannot be seen is shown."""
    with tried.browser.page(tried.pages["hostile"]) as tab:
        names = rows(tab)
        assert names == [inert(f"t.py::test_it[{text}]") for text in HOSTILE]
        elements = "script:not([type]), img, iframe, object, embed, [onerror], [onclick]"
        before = tab.locator(elements).count()
        open_all(tab)
        for number in range(len(HOSTILE)):
            tab.locator("#list a").nth(number).click()
            tab.wait_for_selector("dialog[open]")
            assert tab.locator("#test-name").text_content() == names[number]
            tab.wait_for_selector("dialog .result")
            assert inert(HOSTILE[number]).replace("\\n", "\n") in tab.locator("#test-body").text_content().replace(
                "\\n", "\n"
            )
            tab.keyboard.press("Escape")
            tab.wait_for_selector("dialog:not([open])", state="attached")
        assert tab.locator(elements).count() == before
        assert "taken" not in tab.title()
        seen = tab.evaluate("document.body.innerText + document.getElementById('search').value")
        bad = [char for char in seen if not (char.isprintable() or char in "\n\t")]
        assert not bad, f"these characters are in the page: {bad}"
        tab.fill("#search", "<script> taken")
        assert tab.locator("#list li").count() == 1
    return f"{len(HOSTILE)} names"


def sizes(tried: Tried) -> str:
    """Nothing is wider than a phone of 360 pixels."""
    wide = []
    for name, path in tried.pages.items():
        with tried.browser.page(path, size=PHONE) as tab:
            open_all(tab)
            if tab.evaluate("document.documentElement.scrollWidth") > PHONE[0]:
                wide.append(name)
            tab.locator("#list a").first.click() if tab.locator("#list a").count() else None
            if tab.locator("#test").evaluate("element => element.scrollWidth > element.clientWidth"):
                wide.append(f"{name}, one test")
    assert not wide, f"wider than {PHONE[0]} pixels: {wide}"
    return f"{len(tried.pages)} pages"


def accessible(tried: Tried) -> str:
    """axe-core finds nothing serious: every page, light and dark, all opened, with a test and without."""
    seen: list[str] = []
    looks = 0
    for name, path in tried.pages.items():
        for colours in ("light", "dark"):
            for size in (DESKTOP, PHONE):
                with tried.browser.page(path, size=size, colours=colours) as tab:
                    tab.evaluate(tried.axe)
                    open_all(tab)
                    if tab.locator("#search").count():
                        tab.fill("#search", "test")
                    seen += [f"{name} {colours} {size[0]}: {text}" for text in _violations(tab)]
                    looks += 1
                    if tab.locator("#list a").count():
                        tab.locator("#list a").first.click()
                        tab.wait_for_selector("dialog[open]")
                        seen += [f"{name} {colours} {size[0]}, one test: {text}" for text in _violations(tab)]
                        looks += 1
    assert not seen, "\n".join(seen)
    return f"{looks} looks"


def _violations(tab: Tab) -> list[str]:
    result = tab.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{rule['impact']} {rule['id']}: {rule['nodes'][0]['html'][:120]} {rule['nodes'][0]['failureSummary']}"
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


def colours(tried: Tried) -> str:
    """As the system has it, or as is chosen; on paper always light, and without what can only be pressed."""
    with tried.browser.page(tried.pages["green"], colours="dark") as tab:
        back = "getComputedStyle(document.body).backgroundColor"
        dark = tab.evaluate(back)
        tab.select_option("#theme", "light")
        light = tab.evaluate(back)
        tab.emulate_media(color_scheme="light")
        tab.select_option("#theme", "dark")
        assert tab.evaluate(back) == dark != light
        tab.emulate_media(media="print")
        assert tab.evaluate(back) == light
        assert tab.locator("h1").is_visible()
        shown = [element for element in tab.locator("button, input, select").all() if element.is_visible()]
        assert not shown, shown
        tab.emulate_media(media="screen")
        tab.select_option("#theme", "")
        assert tab.evaluate(back) == light
        return f"{light} and {dark}"


def unfit(tried: Tried) -> str:
    """Without scripts, in an old browser, and cut off in the middle, the page still says the verdict and what to do."""
    path = tried.pages["crash"]
    with tried.browser.tab(scripts=False) as tab:
        tab.goto(path.as_uri())
        assert "killed by SIGKILL" in tab.locator("h1").inner_text()
        assert "scripts are off or the browser is too old" in tab.locator("#message").inner_text()
    with tried.browser.tab() as tab:
        tab.add_init_script("delete window.DecompressionStream")
        tab.goto(path.as_uri())
        tab.wait_for_selector("#message.bad")
        assert "too old" in tab.locator("#message").inner_text()
        assert "killed by SIGKILL" in tab.locator("h1").inner_text()
    text = path.read_text()
    middle = text.index('id="names">') + 200
    damaged = path.with_name("damaged.html")
    damaged.write_text(f"{text[:middle]}AAAA{text[middle + 4 :]}")
    with tried.browser.tab() as tab:
        tab.goto(damaged.as_uri())
        tab.wait_for_selector("#message.bad")
        return str(tab.locator("#message").inner_text())


def found(tried: Tried) -> str:
    """Of 216,078 tests exactly those are found that Python finds."""
    path = tried.pages["recorded" if "recorded" in tried.pages else "big"]
    (packed,) = re.findall('id="names">([^<]*)<', path.read_text())
    names = zlib.decompress(base64.b64decode(packed)).decode().lower().split("\n")
    numbers = {}
    with tried.browser.page(path) as tab:
        for text in (*SEARCHES, "SERIES", "[1", "0[0-", "10[", "-index", "1]", "test_something_10[ true"):
            tab.fill("#search", text)
            said = tab.locator("#found").inner_text()
            expected = sum(all(word in name for word in text.lower().split()) for name in names)
            numbers[text] = len(names) if " of " not in said else int(said.split()[0].replace(",", ""))
            assert numbers[text] == expected, f"{text!r}: {said}, not {expected}"
    return ", ".join(f"{text!r} {number}" for text, number in numbers.items())


def speed(tried: Tried) -> str:
    """216,078 tests: size of the page, from navigation until it is painted, answers to a search."""
    name = "recorded" if "recorded" in tried.pages else "big"
    path = tried.pages[name]
    opened: list[float] = []
    times: dict[str, list[float]] = {text: [] for text in SEARCHES}
    for _ in range(5):
        with tried.browser.page(path) as tab:
            painted: Any = tab.evaluate(
                "new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
            )
            opened.append(float(painted))
            for text in SEARCHES:
                times[text].append(
                    tab.evaluate(
                        """text => {
                            const search = document.getElementById("search");
                            search.value = text;
                            const began = performance.now();
                            search.dispatchEvent(new Event("input", { bubbles: true }));
                            document.body.offsetHeight; // laid out, too
                            return performance.now() - began;
                        }""",
                        text,
                    )
                )
            total = tab.locator("#found").inner_text()
    each = {text: statistics.median(taken) for text, taken in times.items()}
    said = (
        f"{name}: {path.stat().st_size / 2**20:.2f} MiB, "
        f"open in {statistics.median(opened):.0f} ms (at worst {max(opened):.0f}), "
        f"search in {statistics.median(each.values()):.0f} ms (at worst {max(max(taken) for taken in times.values()):.0f}; "
        f"{max(each, key=lambda text: each[text])!r} {max(each.values()):.0f}); last found {total}"
    )
    assert path.stat().st_size <= PAGE_LIMIT, said
    assert statistics.median(opened) <= OPEN_LIMIT_MS, said
    assert max(each.values()) <= SEARCH_LIMIT_MS, said
    return said


def silence(tried: Tried) -> str:
    """Nothing on the console, no error, no request to anywhere: in all of the above."""
    assert not tried.browser.complaints, "\n".join(tried.browser.complaints)
    return "no message, no request"


CHECKS: Final[tuple[Callable[[Tried], str], ...]] = (
    verdicts,
    counts,
    search,
    failures,
    links,
    keyboard,
    scrolling,
    crash,
    timeline,
    hostile,
    sizes,
    accessible,
    colours,
    unfit,
    found,
    speed,
    silence,
)
