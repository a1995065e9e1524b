import conftest

conftest.die("import")


def test_first(own):
    pass


def test_dies(session, own):
    conftest.die("test")


def test_after():
    pass
