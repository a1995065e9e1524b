"""The suites that benchmarks start load no plugin that is there for tests/suites only."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.place import other_plugins


@pytest.fixture(autouse=True, scope="session")
def _without_other_plugins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in other_plugins()))
        yield
