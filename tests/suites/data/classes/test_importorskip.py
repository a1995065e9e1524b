import pytest

pytest.importorskip("no_module_of_this_name")


def test_one():
    pass
