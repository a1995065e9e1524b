import builtins
import json
import os
import socket
import struct
import time
import zlib

import msgpack
import pytest


def boom(*arguments, **named):
    raise RuntimeError("patched")


PLACES = [
    (builtins, "open"),
    (os, "write"),
    (os, "open"),
    (os, "fstat"),
    (os, "fdatasync"),
    (os, "fsync"),
    (os, "close"),
    (os, "getpid"),
    (json, "dumps"),
    (json, "loads"),
    (json.JSONEncoder, "encode"),
    (msgpack, "packb"),
    (msgpack, "unpackb"),
    (socket, "socket"),
    (socket.socket, "send"),
    (struct, "pack"),
    (zlib, "crc32"),
    (time, "time"),
    (time, "monotonic"),
    (time, "perf_counter"),
    (time, "clock_gettime"),
    (time, "sleep"),
]


@pytest.mark.parametrize(("module", "name"), PLACES, ids=[f"{m.__name__}.{n}" for m, n in PLACES])
def test_patched(monkeypatch, module, name):
    monkeypatch.setattr(module, name, boom)
    if module is time:
        monkeypatch.setattr(module, name, lambda *a: "not a number")


def test_all_patched(monkeypatch):
    for module, name in PLACES:
        monkeypatch.setattr(module, name, boom)


def test_patched_for_good():
    time.time = boom
    json.dumps = boom
    socket.socket = boom
    builtins.open = boom


def test_after():
    pass
