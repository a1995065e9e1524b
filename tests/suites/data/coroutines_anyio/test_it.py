import anyio
import pytest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def number():
    await anyio.sleep(0)
    yield 7


async def test_passes(number):
    await anyio.sleep(0.01)
    assert number == 7


async def test_fails():
    async with anyio.create_task_group() as group:
        group.start_soon(anyio.sleep, 0)
        raise AssertionError("in a task group")


async def test_skips():
    pytest.skip("in a coroutine")


def test_plain():
    pass
