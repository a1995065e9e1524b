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

_ITEM_LIMIT: Final = 16 * 1024
"""Elements of one array or map: more than lines of the smallest size fit into a frame that we send."""

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
    """Cuts a stream of bytes into message arrays. Holds at most one unfinished frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        """Yield the arrays that are whole now. The iterator is to be used up before the next call.

        Raises:
            RemoteProtocolError: a length over FRAME_LIMIT, or a body that is no array of plain values.
        """
        data = self._rest + data if self._rest else data
        self._rest = b""
        at, size = 0, len(data)
        while size - at >= 4:
            length = _LENGTH.unpack_from(data, at)[0]
            if length > FRAME_LIMIT:
                raise RemoteProtocolError("bad-frame", f"a frame of {length} bytes is over the limit of {FRAME_LIMIT}")
            if size - at - 4 < length:
                break
            yield _decode(data[at + 4 : at + 4 + length])
            at += 4 + length
        self._rest = data[at:]

    @property
    def in_frame(self) -> bool:
        """Whether the stream stands inside a frame."""
        return bool(self._rest)


def _decode(body: bytes) -> list[Any]:
    try:
        array = _unpackb(
            body,
            raw=False,
            strict_map_key=True,
            max_array_len=_ITEM_LIMIT,
            max_map_len=_ITEM_LIMIT,
            max_ext_len=0,
            ext_hook=_refuse_extension,
        )
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise RemoteProtocolError("bad-frame", f"not a message: {error}") from error
    if not isinstance(array, list) or not array:
        raise RemoteProtocolError("bad-frame", "not a message: no array with a type")
    return array
