"""Row 20: very much text."""

from __future__ import annotations

from collections.abc import Callable

from tests.suites.checker import NONE, Compared
from tests.suites.variant import Variant
from threepio_client.events import LINE_LIMIT

DOES = "a 100 MB failure message; 1 GB printed"
HOLDS = "cut with the original size stated; memory bounded"

_MB = 1024 * 1024
_ADDED = 16 * _MB
"""What the plugin may add to the peak of the tested process, whatever the sizes."""


def _check(message: int) -> Callable[[Compared], None]:
    def check(result: Compared) -> None:
        assert f"[... cut: {message + 8} characters in all ...]" in result.case("test_message")["error"]["message"]
        assert "characters in all" in str(result.case("test_prints_and_fails")["output"])
        journal = result.place.state_dir.journal(result.run_id).read_bytes()
        assert max(len(line) for line in journal.splitlines()) <= LINE_LIMIT
        peaks = [
            int((directory / "peak").read_text()) * 1024
            for directory in (result.directory, result.directory.parent.parent / NONE / "suite")
        ]
        result.figures = f"peak {peaks[0] // _MB} MiB, without the plugin {peaks[1] // _MB} MiB"
        assert peaks[0] - peaks[1] <= _ADDED, result.figures

    return check


def _variant(message: int, printed: int, *, long: bool) -> Variant:
    return Variant(name=f"a message of {message // _MB} MiB, {printed // _MB} MiB printed", suite="large", long=long,
                   environ={"MESSAGE_BYTES": str(message), "PRINTED_BYTES": str(printed)}, arguments=("--tb=no", "-rN"),
                   counts={"failed": 2, "passed": 2}, check=_check(message), reportlog=False)  # fmt: skip


VARIANTS = [_variant(10 * _MB, 16 * _MB, long=False), _variant(100 * _MB, 1024 * _MB, long=True)]
