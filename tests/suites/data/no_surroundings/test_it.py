import os
import sys


def test_directory_is_gone():
    gone = os.path.abspath("gone")
    os.mkdir(gone)
    os.chdir(gone)
    os.rmdir(gone)


def test_environ():
    os.environ.clear()


def test_umask():
    os.umask(0)


def test_modules_deleted():
    for name in list(sys.modules):
        if name.startswith(("threepio", "pytest_threepio", "msgpack", "json", "platformdirs")):
            del sys.modules[name]


def test_modules_replaced():
    for name in ("json", "zlib", "socket", "msgpack", "threepio_client.journal", "threepio_client.line"):
        sys.modules[name] = None


def test_path():
    sys.path[:] = []
    sys.meta_path[:] = []


def test_stdout():
    sys.stdout = sys.stderr = None


def test_fails():
    assert os.environ == {"a": "b"}
