import resource


def test_limit():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def test_after():
    pass
