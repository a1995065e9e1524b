"""The cells of the crash matrix that differ in kind. All of them: `python -m tests.crashes --long`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import made_place
from tests.crashes.cell import Cell, short_cells, try_cell
from tests.faults.row import NotHere
from tests.place import Place


@pytest.fixture(scope="module")
def alone() -> Iterator[Place]:
    """A place without a daemon."""
    with made_place() as found:
        yield found


@pytest.mark.parametrize("cell", short_cells(), ids=lambda cell: cell.name)
def test_a_death_is_told_as_it_was(cell: Cell, shared: Place, alone: Place, tmp_path: Path) -> None:
    directory = tmp_path / "-".join(word for word in cell.name.replace(",", "").split())
    try:
        outcome = try_cell(cell, shared, alone, directory)
    except NotHere as reason:
        pytest.skip(str(reason))
    assert not outcome.failures, outcome.said
