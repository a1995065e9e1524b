import os

import pytest


@pytest.mark.parametrize("n", range(3))
def test_writes(fs, n):
    fs.create_file("/tmp/there")
    with open("/tmp/here", "w") as file:
        file.write("x" * 1_000)
    assert sorted(os.listdir("/tmp")) == ["here", "there"]


def test_nothing_is_there(fs):
    assert os.path.exists("/proc")


@pytest.fixture
def small(fs):
    fs.set_disk_usage(10)


def test_full(small):
    with pytest.raises(OSError, match="space"), open("/file", "w") as file:
        file.write("x" * 1_000)


def test_real():
    assert os.path.exists("/proc")
