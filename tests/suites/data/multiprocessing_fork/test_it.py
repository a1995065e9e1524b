import multiprocessing


def work(n):
    return n * n


def test_pool():
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        assert pool.map(work, range(4)) == [0, 1, 4, 9]


def test_after():
    pass
