"""Fixtures that several tests share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.place import Place


@pytest.fixture
def place() -> Iterator[Place]:
    """A place of the test's own, with no daemon in it yet."""
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    found = Place(path)
    yield found
    found.stop_daemon()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def served(place: Place) -> Place:
    """A place of the test's own, with a running daemon."""
    place.start_daemon()
    return place
