import os


def fill():
    with open(os.path.join(os.environ["DISK"], "filler"), "ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_before():
    pass


def test_fills_the_disk():
    fill()


def test_after():
    pass


def test_fails():
    raise AssertionError("m" * 100_000)


def test_last():
    pass
