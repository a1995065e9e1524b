import resource


def test_before():
    pass


def test_limit():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_after():
    pass
