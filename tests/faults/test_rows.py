"""The short form of every row of the fault table, with a fixed seed. The long form: `python -m tests.faults --long`."""

from __future__ import annotations

import pytest

from tests.faults.row import NotHere, Row, Scale, all_rows
from tests.place import Place

SEED = 20261123


@pytest.mark.parametrize("row", all_rows(), ids=lambda row: f"{row.number}")
def test_row_holds(row: Row, place: Place) -> None:
    try:
        result = row.run(Scale.SHORT, SEED, place)
    except NotHere as reason:
        pytest.skip(f"row {row.number}: {reason}")
    assert not result.failures, f"seed {SEED}: {result.figures}"
    assert result.figures
