"""Frames: 4-byte big-endian length, then a msgpack array `[type, ...]`. Bytes in, arrays out: no socket and no clock.

What the arrays mean is in `protocol.py`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NoReturn

import msgpack

from threepio_client.errors import RemoteProtocolError

FRAME_LIMIT: Final = 1024 * 1024
"""Bytes of one frame's body: two lines of the largest size. Checked before anything is allocated for it."""

HELLO_LIMIT: Final = 64 * 1024
"""Bytes of the first frame that a daemon takes: a HELLO holds two paths at most, and anybody may leave it unfinished."""

_ITEM_LIMIT: Final = 16 * 1024
"""Elements of a frame in all: more than lines of the smallest size fit into one that we send. The decoder makes a list as
long as it is said to be before it sees what is in it: 3 KiB of nested lists took 67 MiB."""
_DEPTH_LIMIT: Final = 16
"""Lists and maps in each other; no message of ours has more than 5."""
_LARGE: Final = 64 * 1024
"""Bytes of a frame whose buffer is given back at once."""
_SMALL: Final = 1024
"""Bytes of a frame that is decoded without a look at its shape first: nested lists that claim this many elements take
3 MiB. Most frames are one line of some 300 bytes, and looking costs as much as decoding."""

_LENGTH: Final = struct.Struct(">I")
_pack: Final = msgpack.Packer(use_bin_type=True, autoreset=True).pack
_unpackb: Final = msgpack.unpackb


def _refuse_extension(code: int, data: bytes) -> NoReturn:
    raise ValueError(f"extension type {code}")


def frame(array: list[Any]) -> bytes:
    """Return the frame of one message array.

    Raises:
        ValueError: the frame would be larger than FRAME_LIMIT.
    """
    body: bytes = _pack(array)
    if len(body) > FRAME_LIMIT:
        raise ValueError(f"a frame of {len(body)} bytes is over the limit of {FRAME_LIMIT}")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into message arrays. Holds at most one unfinished frame.

    Attributes:
        limit: bytes of the largest body that is taken; it may be changed between two frames.
    """

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        self.limit = limit
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Yield the arrays that are whole now. The iterator is to be used up before the next call.

        Raises:
            RemoteProtocolError: a length over the limit, or a body that is no array of plain values.
        """
        data = self._rest + data if self._rest else data
        self._rest = b""
        at, size = 0, len(data)
        while size - at >= 4:
            length = _LENGTH.unpack_from(data, at)[0]
            if length > self.limit:
                raise RemoteProtocolError("bad-frame", f"a frame of {length} bytes is over the limit of {self.limit}")
            if size - at - 4 < length:
                break
            array = _decode(data[at + 4 : at + 4 + length])
            at += 4 + length
            if length > _LARGE:  # not held while who asked deals with its message
                data = data[at:]
                at, size = 0, len(data)
            yield array
        self._rest = data[at:]


def _decode(body: bytes) -> list[Any]:
    try:
        if len(body) > _SMALL:
            _check_shape(body)
        most = min(len(body), _ITEM_LIMIT)
        array = _unpackb(
            body,
            raw=False,
            strict_map_key=True,
            max_array_len=most,
            max_map_len=most,
            max_ext_len=0,
            ext_hook=_refuse_extension,
        )
    except (ValueError, IndexError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise RemoteProtocolError("bad-frame", f"not a message: {error}") from error
    if not isinstance(array, list) or not array:
        raise RemoteProtocolError("bad-frame", "not a message: no array with a type")
    return array


def _head_sizes() -> list[int]:
    """Return for each first byte of a msgpack value how many bytes follow it; where it is negative, they hold a length."""
    sizes = [0] * 256
    for first, size in ((0xCA, 4), (0xCB, 8), (0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8)):
        sizes[first] = size
    for first, size in ((0xD0, 1), (0xD1, 2), (0xD2, 4), (0xD3, 8)):
        sizes[first] = size
    for first, size in ((0xC4, 1), (0xC5, 2), (0xC6, 4), (0xD9, 1), (0xDA, 2), (0xDB, 4)):
        sizes[first] = -size
    for first, size in ((0xDC, 2), (0xDD, 4), (0xDE, 2), (0xDF, 4)):
        sizes[first] = -size
    for first in range(0xA0, 0xC0):
        sizes[first] = first - 0xA0
    return sizes


_HEAD_SIZES: Final = _head_sizes()
_SHORT_LINE: Final = 0xC4
_LINE: Final = 0xC5
"""First byte of a line's bytes: of up to 255, and of up to 65,535."""
_EXTENSIONS: Final = frozenset((0xC1, *range(0xC7, 0xCA), *range(0xD4, 0xD9)))


def _check_shape(body: bytes) -> None:
    """Raise ValueError if the value has more elements or levels than a message of ours; IndexError if it is cut."""
    at = 0
    seen = 1
    left = [1]  # elements that are still to come, at each level
    while left:
        if not left[-1]:
            left.pop()
            continue
        left[-1] -= 1
        first = body[at]
        while left[-1] and first in (_LINE, _SHORT_LINE):  # nearly all that there is in a long frame
            at += 3 + (body[at + 1] << 8) + body[at + 2] if first == _LINE else 2 + body[at + 1]
            left[-1] -= 1
            first = body[at]
        at += 1
        if first in _EXTENSIONS:
            raise ValueError("an extension type")
        size = _HEAD_SIZES[first]
        if size < 0:
            at -= size
            size = int.from_bytes(body[at + size : at], "big")
        if 0x80 <= first <= 0x9F:
            size = first & 0x0F
        elif first < 0xDC or first > 0xDF:
            at += size
            continue
        elements = size * 2 if first <= 0x8F or first >= 0xDE else size
        seen += elements
        if seen > _ITEM_LIMIT or len(left) > _DEPTH_LIMIT:
            raise ValueError(f"more than {_ITEM_LIMIT} elements or {_DEPTH_LIMIT} levels")
        left.append(elements)
