import socket

import pytest
from pytest_socket import SocketBlockedError


@pytest.mark.filterwarnings("ignore")
def test_no_internet():
    with pytest.raises(SocketBlockedError):
        socket.socket(socket.AF_INET)


@pytest.mark.filterwarnings("ignore")
def test_no_unix_socket():
    with pytest.raises(SocketBlockedError):
        socket.socket(socket.AF_UNIX)


@pytest.mark.enable_socket
def test_with_socket():
    socket.socket().close()


@pytest.mark.filterwarnings("ignore")
def test_tries():
    socket.socket()


def test_after():
    pass
