"""The checker as a fixture, for these tests and the plugin's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import made_place
from tests.suites.checker import Checker


@pytest.fixture(scope="module")
def compare() -> Iterator[Checker]:
    """Runs suites without the plugin and with it."""
    with made_place() as place:
        place.start_daemon()
        yield Checker(place)
