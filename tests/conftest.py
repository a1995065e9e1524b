"""Fixtures that several tests share."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.place import Place

if TYPE_CHECKING:
    from tests.commands import Call


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As a shell starts a job in the background: the children of tests would ignore the Ctrl-C that they are sent.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something of the machine, not of the code.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@contextmanager
def made_place() -> Iterator[Place]:
    path = Path(tempfile.mkdtemp(prefix="3p-"))
    found = Place(path)
    yield found
    found.end_suites()
    found.stop_daemon()
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def place() -> Iterator[Place]:
    """A place of the test's own, with no daemon in it yet."""
    with made_place() as found:
        yield found


@pytest.fixture(scope="module")
def shared() -> Iterator[Place]:
    """A place with a running daemon for all tests of a module that change nothing about it."""
    with made_place() as found:
        found.start_daemon()
        yield found


@pytest.fixture
def served(place: Place) -> Place:
    """A place of the test's own, with a running daemon."""
    place.start_daemon()
    return place


@pytest.fixture
def call() -> Call:
    """Return what runs `threepio` with some arguments in a place."""
    from tests.commands import call_threepio  # not for tests that do without typer

    return call_threepio
