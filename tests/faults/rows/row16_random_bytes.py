"""Row 16: whatever bytes come, the decoders say what is wrong with them, in bounded memory and time.

Three decoders: the daemon's side of the wire, the adapter's side, and a journal's line. `tests/faults/corpus/` holds what is
tried each time, in files named after the decoder; the rest grows out of it by the seed.
"""

from __future__ import annotations

import random
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.faults.peers import MIB
from tests.faults.row import Result, Scale
from tests.place import Place
from threepio_client.errors import BadLine, RemoteProtocolError
from threepio_client.events import LINE_LIMIT
from threepio_client.line import decode
from threepio_client.protocol import VERSION, WINDOW, Connection, Hello, Lines, Role, Welcome, to_frame
from threepio_client.wire import FRAME_LIMIT

FAULT = "random bytes into the decoder"
PASSES_WHEN = "no uncaught exception; <= 16 MiB; a 1 MiB frame <= 100 ms"

CORPUS: Final = Path(__file__).parents[1] / "corpus"
SECONDS: Final = {Scale.SHORT: 0.7, Scale.LONG: 600.0}
MOST: Final = 16 * MIB
LONGEST_S: Final = 0.100
SIZE_LIMIT: Final = 4096
"""Bytes of a mutated input; larger ones come as whole frames of their own."""
HELLO: Final = to_frame(Hello(versions=[VERSION], role="adapter", run={}, place=""))
WELCOME: Final = to_frame(Welcome(version=VERSION, cursor=0, window=WINDOW))


def daemon_side(data: bytes) -> None:
    """Feed a daemon: before HELLO and after it."""
    _ = list(Connection(Role.DAEMON).receive(data))


def daemon_side_greeted(data: bytes) -> None:
    daemon = Connection(Role.DAEMON)
    list(daemon.receive(HELLO))
    daemon.send(Welcome(version=VERSION, cursor=0, window=WINDOW))
    middle = len(data) // 2
    list(daemon.receive(data[:middle]))
    list(daemon.receive(data[middle:]))


def adapter_side(data: bytes) -> None:
    adapter = Connection(Role.ADAPTER)
    adapter.send(Hello(versions=[VERSION], role="adapter", run={}, place=""))
    list(adapter.receive(WELCOME))
    list(adapter.receive(data))


def journal_line(data: bytes) -> None:
    decode(data)


DECODERS: Final[dict[str, tuple[Callable[[bytes], None], type[Exception]]]] = {
    "wire": (daemon_side, RemoteProtocolError),
    "wire-greeted": (daemon_side_greeted, RemoteProtocolError),
    "wire-adapter": (adapter_side, RemoteProtocolError),
    "line": (journal_line, BadLine),
}


def run(scale: Scale, seed: int, place: Place) -> Result:
    failures: list[str] = []
    inputs = [(path.name, path.read_bytes()) for path in sorted(CORPUS.iterdir())]
    for name, data in inputs:
        for decoder in _decoders(name):
            failures += _try(decoder, data, name)
            failures += _memory(decoder, data, name)
    tried = _mutate(scale, seed, inputs, failures)
    slowest = 0.0
    for name, data in _largest().items():
        for decoder in _decoders("wire"):
            failures += _memory(decoder, data, name)
            slowest = max(slowest, _seconds(decoder, data))
    for name, data in _longest_lines().items():
        failures += _memory("line", data, name)
    if slowest > LONGEST_S and scale is Scale.LONG:
        failures.append(f"a frame of 1 MiB took {slowest * 1000:.0f} ms")
    figures = (
        f"{tried:,} inputs grown out of {len(inputs)} files: {len(failures)} other errors than the one of each decoder; "
        f"less than {MOST // MIB} MiB each; the worst frame of 1 MiB took {slowest * 1000:.0f} ms"
    )
    return Result(figures=figures, failures=tuple(f"seed {seed}: {text}" for text in failures[:5]))


def _decoders(name: str) -> list[str]:
    """Return the decoders for a file of the corpus: those whose names begin as its own does."""
    return [decoder for decoder in DECODERS if decoder.partition("-")[0] == name.partition("-")[0]]


def _try(decoder: str, data: bytes, name: str) -> list[str]:
    decode_it, expected = DECODERS[decoder]
    try:
        decode_it(data)
    except expected:
        return []
    except Exception as error:  # noqa: BLE001 - this is what the row looks for
        return [f"{decoder} of {name}: {error!r} for {data[:200].hex()}"]
    return []


def _memory(decoder: str, data: bytes, name: str) -> list[str]:
    tracemalloc.start()
    try:
        found = _try(decoder, data, name)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return found if peak <= MOST else [*found, f"{decoder} of {name}: {peak / MIB:.1f} MiB"]


def _seconds(decoder: str, data: bytes) -> float:
    start = time.perf_counter()
    _try(decoder, data, "the largest")
    return time.perf_counter() - start


def _mutate(scale: Scale, seed: int, inputs: list[tuple[str, bytes]], failures: list[str]) -> int:
    """Change inputs at random until the time is up; return how many were tried."""
    chance = random.Random(seed)
    deadline = time.monotonic() + SECONDS[scale]
    tried = 0
    by_kind = {kind: [data for name, data in inputs if name.partition("-")[0] == kind] for kind in ("wire", "line")}
    while time.monotonic() < deadline and len(failures) < 5:
        decoder = chance.choice(list(DECODERS))
        pool = by_kind[decoder.partition("-")[0]]
        for _ in range(100):
            data = changed(chance, pool)
            if chance.random() < 0.7:  # else most would end at the length or the checksum
                data = with_checksum(data) if decoder == "line" else with_length(data)
            failures += _try(decoder, data, f"input {tried}")
            tried += 1
    return tried


def changed(chance: random.Random, pool: list[bytes]) -> bytes:
    """Return one input with a few changes: bytes replaced, removed, doubled, or taken from another input."""
    data = bytearray(chance.choice(pool)[:SIZE_LIMIT])
    for _ in range(chance.randint(1, 4)):
        at, size = chance.randint(0, len(data)), chance.randint(1, 8)
        match chance.randrange(5):
            case 0:
                data[at : at + size] = chance.randbytes(size)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[at : at + size * 4]
            case 3:
                other = chance.choice(pool)
                start = chance.randint(0, len(other))
                data[at:at] = other[start : start + size * 8]
            case _:
                if at < len(data):
                    data[at] ^= 1 << chance.randrange(8)
    return bytes(data)


def with_length(data: bytes) -> bytes:
    """Return a frame whose length fits."""
    return max(len(data) - 4, 0).to_bytes(4, "big") + data[4:]


def with_checksum(data: bytes) -> bytes:
    """Return a line whose checksum fits."""
    head = data.partition(b',"crc"')[0]
    return b'%b,"crc":"%08x"}' % (head, zlib.crc32(head))


def _longest_lines() -> dict[str, bytes]:
    """Return lines as long as a line may be that are the most work."""
    room = LINE_LIMIT - 100
    values = {
        "lists": b"[" + b"[]," * (room // 3) + b"0]",
        "objects": b"[" + b"{}," * (room // 3) + b"0]",
        "numbers": b"[" + b"1e5," * (room // 4) + b"0]",
        "texts": b"[" + b'"ab",' * (room // 5) + b"0]",
        "levels": b"[" * (room // 2) + b"]" * (room // 2),
        "keys": b"{" + b",".join(b'"%x":0' % number for number in range(room // 9)) + b"}",
    }
    heads = {
        name: b'{"seq":1,"eventType":"t","payload":{"a":%b},"timestamp":1.0' % text for name, text in values.items()
    }
    return {f"line of {name}": with_checksum(head) for name, head in heads.items()}


def _largest() -> dict[str, bytes]:
    """Return frames of nearly 1 MiB that are the most work: valid ones, and what a hostile peer would choose."""
    room = FRAME_LIMIT - 64
    piece = 0x3F00
    bodies = {
        "lists": b"\xdc\x00\x40" + (b"\xdc\x3f\x00" + b"\x90" * piece) * 64,
        "maps": b"\xdc\x00\x40" + (b"\xdc\x3f\x00" + b"\x80" * piece) * 64,
        "texts": b"\x9f" + (b"\xdc\x3f\x00" + b"\xa2ab" * piece) * 15,
        "numbers": b"\x9f" + (b"\xdc\x3f\x00" + b"\xcb\x00\x00\x00\x00\x00\x00\x00\x01" * piece) * 7,
        "levels": b"\x91" * room,
        "levels that are said to be long": b"\xdc\x3f\xff" * (room // 3),
        "one text": b"\x92\x01\xdb" + (room - 10).to_bytes(4, "big") + b"\xc3\xa4" * ((room - 10) // 2),
        "zeros": b"\x00" * room,
    }
    frames = {name: len(body).to_bytes(4, "big") + body for name, body in bodies.items()}
    frames["lines"] = to_frame(Lines(file=0, end=2**21, first_seq=1, lines=[b"x" * 70] * 14_000))
    frames["two lines"] = to_frame(Lines(file=0, end=2**21, first_seq=1, lines=[b"x" * (room // 2 - 100)] * 2))
    return frames
