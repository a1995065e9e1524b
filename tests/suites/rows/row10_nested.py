"""Row 10: pytest inside a test."""

from __future__ import annotations

import re

from tests.suites.checker import Compared
from tests.suites.variant import Variant

DOES = "in-process pytester, pytest in a subprocess of a test"
HOLDS = "inner runs do not mix with the outer one"


def _check_silent(result: Compared) -> None:
    names = [path.name for path in result.place.state_dir.journals.glob("*.jsonl")]
    strange = [name for name in names if not re.fullmatch(r"run\d+-(with|solo)(-\d+)?(\.\d+|\.observed)?\.jsonl", name)]
    assert not strange, strange
    assert not list(result.place.state_dir.journals.glob(f"{result.run_id}-*")), "an inner run was recorded"


def _check_recorded(result: Compared) -> None:
    inner = sorted(result.place.state_dir.journals.glob(f"{result.run_id}-*.jsonl"))
    starts = [result.place.journal_events(path.stem)[0]["payload"] for path in inner if ".observed" not in path.name]
    assert len(starts) == 5, inner
    assert {start.get("parentRunId") for start in starts} == {result.run_id}
    assert len(result.outcomes()) == 7


VARIANTS = [
    Variant(name="in process, by pytester, by subprocess, by pytest.main", suite="nested", arguments=("-p", "pytester"),
            counts={"passed": 6, "failed": 1}, check=_check_silent),
    Variant(name="the same, reported as runs of their own", suite="nested", arguments=("-p", "pytester"),
            environ={"THREEPIO_NESTED": "1"}, counts={"passed": 6, "failed": 1},
            may_say=("the run id run",), check=_check_recorded),
]  # fmt: skip
