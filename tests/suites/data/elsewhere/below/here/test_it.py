def test_a():
    pass


class TestIn:
    def test_a(self):
        raise AssertionError("below")
