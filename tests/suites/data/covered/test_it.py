import covered_code


def test_a():
    assert covered_code.used() == 1


def test_b():
    raise AssertionError("no")
