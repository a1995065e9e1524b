"""The suites that benchmarks start load no plugin that is there for tests/suites only: a replayed test is none of theirs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks import measure, service
from tests.place import other_plugins


@pytest.fixture(autouse=True, scope="session")
def _without_other_plugins() -> Iterator[None]:
    clean = service.clean_environment
    options = " ".join(f"-p no:{name}" for name in other_plugins())
    with pytest.MonkeyPatch.context() as patch:
        for module in (measure, service):
            patch.setattr(module, "clean_environment", lambda: clean() | {"PYTEST_ADDOPTS": options})
        yield
