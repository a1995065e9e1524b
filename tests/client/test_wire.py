"""Frames: cut out of a stream however it comes; whatever bytes a peer sends, only one kind of error comes out."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from threepio_client import wire
from threepio_client.errors import RemoteProtocolError
from threepio_client.events import LINE_LIMIT
from threepio_client.protocol import Ask, Connection, Hello, Role, Welcome, to_frame
from threepio_client.wire import FRAME_LIMIT, HELLO_LIMIT, FrameReader, frame

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
arrays = st.lists(values, min_size=1, max_size=5)


def with_length(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@examples(max_examples=50, deadline=None)
@given(messages=st.lists(arrays, max_size=5), data=st.data())
def test_frames_come_out_however_the_stream_is_cut(messages: list[list[Any]], data: st.DataObject) -> None:
    stream = b"".join(frame(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = FrameReader()

    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += list(reader.feed(stream[start:end]))

    assert found == messages


def test_an_unfinished_frame_is_waited_for() -> None:
    reader = FrameReader()
    whole = frame([1, "text"])

    for byte in whole[:-1]:
        assert list(reader.feed(bytes([byte]))) == []
    assert list(reader.feed(whole[-1:])) == [[1, "text"]]


def test_the_length_is_big_endian_and_four_bytes() -> None:
    assert frame([1]) == b"\0\0\0\2\x91\x01"


def test_a_length_over_the_limit_is_refused_before_the_body_comes() -> None:
    with pytest.raises(RemoteProtocolError, match="limit") as caught:
        list(FrameReader().feed(struct.pack(">I", FRAME_LIMIT + 1)))

    assert caught.value.code == "bad-frame"


def test_the_largest_line_fits_into_a_frame_and_more_than_the_limit_is_not_made() -> None:
    (found,) = FrameReader().feed(frame([4, 0, 0, 1, [b"x" * LINE_LIMIT]]))
    assert len(found[4][0]) == LINE_LIMIT

    with pytest.raises(ValueError, match="limit"):
        frame([b"x" * FRAME_LIMIT])


def test_a_frame_that_could_not_be_made_leaves_nothing_behind() -> None:
    with pytest.raises(UnicodeEncodeError):
        frame([1, "text", "\udcff"])

    assert list(FrameReader().feed(frame([2]))) == [[2]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        msgpack.packb(1),
        msgpack.packb("text"),
        msgpack.packb({1: 2}),
        msgpack.packb({}),
        msgpack.packb([]),
        msgpack.packb([1]) + b"\0",  # something behind it
        msgpack.packb([1, 2])[:-1],
        msgpack.packb([1, msgpack.ExtType(5, b"data")]),
        msgpack.packb([1, msgpack.ExtType(5, b"")]),
        msgpack.packb([1, msgpack.Timestamp(1, 2)]),
        msgpack.packb([1, {2: 3}]),  # a key that is no text
        msgpack.packb([1, list(range(20_000))]),
        msgpack.packb([1, {str(n): n for n in range(20_000)}]),
        b"\x91" * 100_000,  # arrays in arrays
        b"\xdd\xff\xff\xff\xff",  # an array of 4 billion elements
        b"\x91\xdf\xff\xff\xff\xff",
        b"\x91\xc6\xff\xff\xff\xff",
        b"\x92\x01\xa2\xff\xfe",  # text that is not UTF-8
        b"\xc1",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        list(FrameReader().feed(with_length(body)))

    assert caught.value.code == "bad-frame"


@examples(max_examples=150, deadline=None)
@given(st.binary(max_size=100), st.booleans())
def test_random_bytes_raise_the_one_error_only(data: bytes, has_length: bool) -> None:
    try:
        for message in FrameReader().feed(with_length(data) if has_length else data):
            assert isinstance(message, list)
            assert message
    except RemoteProtocolError:
        pass


PIECE = 0x3F00
"""Elements of one list, below every limit of one."""
GREEDY = {
    "lists in each other, each said to be long": b"\xdc\x40\x00" * 1020,
    "maps in each other": b"\x91\xde\x40\x00" * 1020,
    "many empty lists": b"\xdc\x00\x40" + (b"\xdc\x3f\x00" + b"\x90" * PIECE) * 64,
    "many empty maps": b"\xdc\x00\x40" + (b"\xdc\x3f\x00" + b"\x80" * PIECE) * 64,
    "many short texts": b"\x9f" + (b"\xdc\x3f\x00" + b"\xa2ab" * PIECE) * 15,
    "small enough not to be looked at": b"\xdc\x03\xff" * 340,
}


@pytest.mark.parametrize("name", GREEDY)
def test_a_frame_takes_no_more_memory_than_a_few_of_its_size(name: str) -> None:
    data = with_length(GREEDY[name])
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            list(FrameReader().feed(data))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 4 * 1024 * 1024


@examples(max_examples=150, deadline=None)
@given(array=arrays)
def test_the_look_at_a_shape_lets_pass_what_the_decoder_takes(array: list[Any]) -> None:
    wire._check_shape(msgpack.packb(array))


@examples(max_examples=150, deadline=None)
@given(st.binary(max_size=100))
@example(b"\x82\x90\x00\xc7")  # a list as key, and no end
def test_the_look_at_a_shape_ends_for_any_bytes(data: bytes) -> None:
    try:
        wire._check_shape(data)
    except (ValueError, IndexError):
        # TypeError: such keys, which the daemon refuses by `strict_map_key`, here are refused for what they are.
        with pytest.raises((ValueError, TypeError, msgpack.exceptions.UnpackException)):
            msgpack.unpackb(data, raw=True, ext_hook=wire._refuse_extension, strict_map_key=False)


def test_a_daemon_takes_only_a_short_first_frame() -> None:
    text = "x" * HELLO_LIMIT
    with pytest.raises(RemoteProtocolError, match="limit") as caught:
        list(Connection(Role.DAEMON).receive(to_frame(Hello(versions=[1], role="query", run={}, place=text))))
    assert caught.value.code == "bad-frame"

    daemon = Connection(Role.DAEMON)
    list(daemon.receive(to_frame(Hello(versions=[1], role="query", run={}, place=""))))
    daemon.send(Welcome(version=1, cursor=0, window=0))
    (ask,) = daemon.receive(to_frame(Ask(id=1, name="status", params={"run": text})))
    assert isinstance(ask, Ask)
