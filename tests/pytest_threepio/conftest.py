"""One daemon for all of these tests: a suite cannot tell, and starting one for each would take most of the time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.place import Place

pytest.register_assert_rewrite("tests.pytest_threepio.comparison")

from tests.pytest_threepio.comparison import Comparison  # noqa: E402 - its assertions are rewritten from here on


@pytest.fixture(scope="module")
def compare() -> Iterator[Comparison]:
    """Runs suites without and with the plugin."""
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    place = Place(path)
    place.start_daemon()
    yield Comparison(place)
    place.stop_daemon()
    shutil.rmtree(path, ignore_errors=True)
