"""What a test needs that an environment may lack; CI installs all of it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Final

import pytest

from tests.suites import interpreter

SUBTESTS: Final = "pytest" if pytest.version_tuple >= (9,) else "subtests"
"""What has the fixture `subtests`."""

_PLUGINS: Final = interpreter.ask(sys.executable).plugins


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test where a plugin or a module is not installed."""
    lacking = [name for name in names if name not in _PLUGINS and find_spec(name.partition(".")[0]) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"not installed: {', '.join(lacking)}")
