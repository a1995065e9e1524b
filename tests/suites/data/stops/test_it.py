import conftest

conftest.stop("import")


def test_a():
    pass


def test_b(stops):
    conftest.stop("test")


def test_c(request):
    if not conftest.os.environ.get("STOP_WHERE"):
        request.session.shouldstop = "a plugin wants it"


def test_d():
    pass
