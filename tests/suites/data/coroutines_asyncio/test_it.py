import asyncio

import pytest


@pytest.fixture
async def number():
    await asyncio.sleep(0)
    yield 7
    await asyncio.sleep(0)


@pytest.fixture
async def broken():
    yield
    raise ValueError("in an async teardown")


async def test_passes(number):
    await asyncio.sleep(0.01)
    assert number == 7


async def test_fails():
    await asyncio.sleep(0)
    raise AssertionError("in a coroutine")


async def test_skips():
    pytest.skip("in a coroutine")


async def test_error(broken):
    pass


async def test_cancelled():
    asyncio.current_task().cancel()
    await asyncio.sleep(1)


def test_plain():
    pass
