import pytest
import trio


@pytest.fixture
async def number():
    await trio.sleep(0)
    yield 7


async def test_passes(number, autojump_clock):
    await trio.sleep(1_000_000)
    assert number == 7


async def test_fails():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep, 0)
        raise AssertionError("in a nursery")


async def test_skips():
    pytest.skip("in a coroutine")


def test_plain():
    pass
