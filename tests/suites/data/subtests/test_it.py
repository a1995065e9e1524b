import unittest, pytest
def test_parts(subtests):
    for i in range(3):
        with subtests.test("part", i=i):
            if i == 2: pytest.skip("no")
            assert i != 1
class TestUnit(unittest.TestCase):
    def test_parts(self):
        for i in range(4):
            with self.subTest("unit", i=i):
                if i == 3: self.skipTest("no")
                self.assertNotEqual(i, 1)
    def test_all_pass(self):
        with self.subTest(i=1): pass
