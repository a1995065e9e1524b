import socket

import pytest


def test_no_internet():
    with pytest.raises(BaseException, match="socket"):
        socket.socket(socket.AF_INET)


def test_no_unix_socket():
    with pytest.raises(BaseException, match="socket"):
        socket.socket(socket.AF_UNIX)


@pytest.mark.enable_socket
def test_with_socket():
    socket.socket().close()


def test_tries():
    socket.socket()


def test_after():
    pass
