import time
import warnings


def test_before():
    pass


def test_patches_all():
    from gevent import monkey

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkey.patch_all()


def test_after():
    time.sleep(0.01)


def test_fails():
    raise AssertionError("in the patched world")
