"""Row 6: the standard library is replaced under our feet."""

from tests.suites.checker import Compared
from tests.suites.rows.row02_sigpipe import AFTERWARDS
from tests.suites.rows.row03_descriptors import CLOSED, WITHOUT_DESCRIPTORS
from tests.suites.rows.row05_clocks import check_times
from tests.suites.variant import Variant

DOES = "monkeypatch of `open`, `os.write`, `os.fsync`, `json.dumps`, `socket.socket`, `msgpack.packb`"
HOLDS = "nothing looked up late"


def _check(result: Compared) -> None:
    check_times(result)
    assert len(result.outcomes()) == 25


VARIANTS = [
    Variant(name="22 functions, each and all", suite="patched", arguments=("-v", "-s", "--assert=plain"),
            counts={"passed": 25}, reportlog=False, check=_check),
    Variant(name="all while something has to be said", suite="patched_and_closed",
            arguments=("-v", "--assert=plain", *WITHOUT_DESCRIPTORS), counts={"passed": 25}, reportlog=False, says=CLOSED,
            may_say=AFTERWARDS, check=_check),
]  # fmt: skip
