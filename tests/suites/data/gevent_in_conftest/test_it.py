import socket
import threading
import time

import gevent


def test_greenlets():
    found = []
    gevent.joinall([gevent.spawn(found.append, n) for n in range(3)])
    assert found == [0, 1, 2]


def test_sockets():
    a, b = socket.socketpair()
    with a, b:
        a.send(b"x")
        assert b.recv(1) == b"x"


def test_thread():
    thread = threading.Thread(target=time.sleep, args=(0.01,))
    thread.start()
    thread.join()


def test_fails():
    assert time.sleep(0) == 1
