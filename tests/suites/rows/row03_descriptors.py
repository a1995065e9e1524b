"""Row 3: all descriptors are closed, and files of the suite's own take their numbers."""

from tests.suites.checker import Compared
from tests.suites.rows.row02_sigpipe import AFTERWARDS
from tests.suites.variant import Variant

DOES = "`os.closerange(3, 4096)`; then opens files of its own"
HOLDS = "no event into somebody else's file; journal reopened; said once"

CLOSED = ("the suite closed the journal's descriptor",)
WITHOUT_DESCRIPTORS = ("-s", "-p", "no:logging", "-p", "no:faulthandler")
"""pytest's own plugins cannot end without their descriptors."""


def _check(result: Compared) -> None:
    reopened = result.of_type("runComplete")[0]["stats"]["reopened"]
    assert reopened >= 2, f"reopened {reopened} times"
    assert len([line for line in result.said if line.startswith(CLOSED)]) == 1, "said once"
    sizes = [path.stat().st_size for path in result.directory.glob("own-*")]
    assert sizes == [0] * 20, sizes


VARIANTS = [
    Variant(
        name="closed twice",
        suite="closed_descriptors",
        arguments=("-v", *WITHOUT_DESCRIPTORS),
        counts={"passed": 6},
        reportlog=False,
        says=CLOSED,
        may_say=AFTERWARDS,
        check=_check,
    )
]
