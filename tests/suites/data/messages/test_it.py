import pytest

SIZE = 20 * 1024 * 1024


def test_surrogate():
    pytest.fail("x\udcff")


def test_control():
    pytest.fail("a\x1b[31mb\x00c\u202e")


def test_huge():
    pytest.fail("begin" + "m" * SIZE + "end", pytrace=False)


def test_prints():
    print("p" * SIZE)
    raise AssertionError("after printing")


def test_bad_repr():
    class Bad:
        def __repr__(self):
            raise ValueError("no repr")

    assert Bad() == 1


def test_skip_reason():
    pytest.skip("s\udcff" + "r" * SIZE)


def test_property(record_property):
    record_property("k", object())
    record_property(object(), "\udcff")


def test_exception_group():
    raise ExceptionGroup("several", [ValueError("one"), TypeError("two")])


@pytest.mark.xfail(reason="r\udcff")
def test_xfail():
    raise AssertionError("known")
