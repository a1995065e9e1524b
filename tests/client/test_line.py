"""Lines: what goes in comes out, whatever a test brings; what is not whole is never taken for an event."""

from __future__ import annotations

import json
import math
import signal
from typing import Any, NoReturn
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from threepio_client.errors import BadLine
from threepio_client.events import FIELD_LIMIT, LINE_LIMIT, EventType, Phase
from threepio_client.line import (
    NAME_LIMIT,
    Event,
    Passed,
    clip,
    decode,
    decode_all,
    encode,
    encode_parents,
    encode_passed,
    plain_text,
    seal,
)

NOW = 1_700_000_000.1234

any_text = st.text(st.characters(exclude_categories=()), max_size=30)
any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(-(2**300), 2**300) | st.floats() | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=12,
)
payloads = st.dictionaries(any_text, any_value, max_size=5)


def with_crc(head: bytes) -> bytes:
    """Return a line with the right checksum, whatever is in it."""
    return b'%b,"crc":"%08x"}' % (head, crc32(head))


def ascii_id(value: object) -> str:
    return hex(value)[:20] if isinstance(value, int) else ascii(value)[:40]


def assert_same(kept: Any, given_: Any) -> None:
    """Compare what was read with what was given, as far as JSON can hold it."""
    if isinstance(given_, str):
        assert kept == given_.encode("utf-8", "backslashreplace").decode()
    elif isinstance(given_, float) and not math.isfinite(given_):
        assert kept == str(given_)
    elif isinstance(given_, int) and not isinstance(given_, bool):
        assert (kept if isinstance(kept, int) else int(kept, 16)) == given_
    elif isinstance(given_, list):
        assert len(kept) == len(given_)
        for one, other in zip(kept, given_, strict=True):
            assert_same(one, other)
    elif isinstance(given_, dict):
        by_key = {plain_text(key): value for key, value in given_.items()}
        assert kept.keys() == by_key.keys()
        if len(by_key) == len(given_):
            for key, value in by_key.items():
                assert_same(kept[key], value)
    else:
        assert kept == given_
        assert type(kept) is type(given_)


@settings(max_examples=150, deadline=None)
@given(payload=payloads, seq=st.integers(1, 2**53))
def test_any_payload_comes_back(payload: dict[str, Any], seq: int) -> None:
    line = encode(seq, EventType.TEST_CASE, payload, NOW)

    assert line.isascii()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert len(line) <= LINE_LIMIT
    event = decode(line[:-1])
    assert (event.seq, event.type) == (seq, "testCase")
    assert event.timestamp == pytest.approx(NOW, abs=1e-6)
    assert_same(event.payload, payload)
    assert json.loads(line)["payload"] == event.payload  # any JSON reader sees the same


@given(
    name=any_text,
    parents=st.lists(any_text, min_size=1, max_size=3),
    started=st.floats(0, 1e10),
    duration=st.floats(0, 1e7),
    worker=st.sampled_from(["", "gw0", "\ud800"]),
)
@example(name="x" * 70_000, parents=["a"], started=1.0, duration=1.0, worker="")
@example(name="\ud800", parents=["\udfff"], started=1.0, duration=1.0, worker="gw1")
@example(name='"\U0001f600\n', parents=["\\", '"\U0001f600'], started=1.0, duration=1.0, worker="gw1")
def test_a_passed_test_is_encoded_as_any_payload(
    name: str, parents: list[str], started: float, duration: float, worker: str
) -> None:
    payload: dict[str, Any] = {
        "testName": name,
        "parentNames": parents,
        "nodeid": "::".join([*parents, name]),
        "status": "PASS",
        "phase": "call",
        "started": round(started, 4),
        "duration": round(duration, 3),
    }
    if worker:
        payload["worker"] = worker

    body = encode_passed(name, encode_parents(parents), started, duration, worker)

    made = decode(seal(7, EventType.TEST_CASE, body, 5.0)[:-1])
    usual = decode(encode(7, EventType.TEST_CASE, payload, 5.0)[:-1])
    assert dict(made.payload) == dict(usual.payload)
    assert list(made.payload) == list(usual.payload)


EMOJI = "\U0001f600"


@pytest.mark.parametrize(
    "more",
    [
        {"error": {"message": EMOJI * 60_000, "stack": EMOJI * 60_000}, "output": [["out", EMOJI * 60_000]] * 3},
        {"output": [["a title", f"number {n}"] for n in range(50_000)]},
        {"subtest": {"message": "m", "parameters": {f"column_{n}": "v" * 200 for n in range(5_000)}}},
        {"argv": [f"--deselect=test_it.py::test_{'x' * 100}_{n}" for n in range(10_000)]},
    ],
    ids=["long texts", "many pairs", "many keys", "many texts"],
)
@pytest.mark.parametrize("letter", ["x", "\u6d4b", EMOJI])
def test_what_it_is_about_is_not_shortened_for_what_it_says(more: dict[str, Any], letter: str) -> None:
    name = f"test_{letter * 5_000}_end"
    about = {
        "nodeid": f"a.py::TestIt::{name}",
        "testName": name,
        "parentNames": ["a.py", "TestIt"],
        "process": {"pid": 7, "startTicks": 8},
        "rootdir": "/a" * 500,
        "cwd": "/b" * 500,
        "status": "FAIL",
    }
    line = encode(7, EventType.TEST_CASE, {**about, **more}, NOW)

    payload = decode(line[:-1]).payload
    assert len(line) <= LINE_LIMIT
    assert {key: payload[key] for key in about} == about
    assert payload["cut"] is True
    assert all(type(payload[key]) is type(value) for key, value in more.items())
    assert " in all" in str({key: payload[key] for key in more})


@pytest.mark.parametrize("letter", ["x", "\u6d4b", EMOJI])
@pytest.mark.parametrize("size", [5_000, 20_000, 70_000, 200_000])
def test_a_name_is_the_same_in_every_event(letter: str, size: int) -> None:
    name = f"test_{letter * size}_end"
    nodeid = f"a.py::{name}"
    payloads: list[dict[str, Any]] = [
        {"nodeids": [nodeid]},
        {"nodeid": nodeid, "testName": name, "parentNames": ["a.py"]},
        {"nodeid": nodeid, "testName": name, "parentNames": ["a.py"], "error": {"stack": EMOJI * 60_000}},
    ]

    first, *others = (decode(encode(7, EventType.TEST_CASE, payload, NOW)[:-1]).payload for payload in payloads)

    assert {payload["nodeid"] for payload in others} == set(first["nodeids"])


def test_the_checksum_is_that_of_the_bytes_before_it() -> None:
    line = encode(7, EventType.RUN_START, {"a": [1, None]}, 1.5)

    head, _, tail = line.partition(b',"crc"')
    assert head == b'{"seq":7,"eventType":"runStart","payload":{"a":[1,null]},"timestamp":1.5000'
    assert tail == b':"%08x"}\n' % crc32(head)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("\udcff", "\\udcff"),
        ("\ud83d\ude00", "\\ud83d\\ude00"),  # two halves, not the character
        ("😀", "😀"),
        ("a\0b\x1b[31m\r\n\u202e", "a\0b\x1b[31m\r\n\u202e"),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        (16**4000, "0x1" + "0" * 4000),  # more digits than Python writes as a decimal number
        ((1, 2), [1, 2]),
        ({1: "one"}, {"1": "one"}),
        ({("a", 1): "pair"}, {"('a', 1)": "pair"}),
        (Phase.CALL, "call"),
        (signal.SIGKILL, 9),
        ({1}, "{1}"),
        (b"\xff", "b'\\xff'"),
    ],
    ids=ascii_id,
)
@pytest.mark.parametrize("beside", ["", "\udcff"], ids=["alone", "beside another"])
def test_what_json_cannot_hold_becomes_text(value: object, kept: object, beside: str) -> None:
    found = decode(encode(1, EventType.TEST_CASE, {"value": value, "beside": beside}, NOW)[:-1]).payload

    assert found == {"value": kept, "beside": plain_text(beside)}


class RefusesRepr:
    def __repr__(self) -> NoReturn:
        raise ZeroDivisionError


class RefusesText(str):
    __slots__ = ()

    def __str__(self) -> NoReturn:
        raise ZeroDivisionError


class RefusesNumber(int):
    def __int__(self) -> NoReturn:
        raise ZeroDivisionError


class RefusesFloat(float):
    __slots__ = ()

    def __float__(self) -> NoReturn:
        raise ZeroDivisionError


class RefusesItems(dict[str, object]):
    def items(self) -> NoReturn:
        raise ZeroDivisionError


class RefusesIteration(list[object]):
    def __iter__(self) -> NoReturn:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (RefusesRepr(), "<RefusesRepr: its repr raised ZeroDivisionError>"),
        (RefusesText("text"), "text"),
        (RefusesNumber(3), 3),
        (RefusesFloat(0.5), 0.5),
    ],
)
def test_an_object_that_refuses_to_be_read_does_not_break_the_line(value: object, kept: object) -> None:
    found = decode(encode(1, EventType.TEST_CASE, {"value": value, "beside": "\udcff"}, NOW)[:-1]).payload

    assert found == {"value": kept, "beside": "\\udcff"}


@pytest.mark.parametrize("value", [RefusesItems(a=1), RefusesIteration([1])])
def test_a_container_that_refuses_to_be_read_does_not_break_the_line(value: object) -> None:
    found = decode(encode(1, EventType.TEST_CASE, {"value": value, "beside": "\udcff"}, NOW)[:-1]).payload

    assert found["beside"] == "\\udcff"


def test_a_value_that_holds_itself_ends() -> None:
    circle: list[object] = ["x"]
    circle.append(circle)

    found = decode(encode(1, EventType.TEST_CASE, {"circle": circle}, NOW)[:-1]).payload

    assert found["circle"][0] == "x"
    assert found["circle"][1][0] == "x"


def test_nesting_without_end_is_cut() -> None:
    deep: object = "bottom"
    for _ in range(5000):
        deep = [deep]

    line = encode(1, EventType.TEST_CASE, {"deep": deep, "beside": 1}, NOW)

    assert decode(line[:-1]).payload["beside"] == 1


def test_a_long_text_is_cut_in_the_middle_with_its_length_stated() -> None:
    text = "begin" + "x" * 1_000_000 + "end"

    found = decode(encode(1, EventType.TEST_CASE, {"stack": text, "name": "short"}, NOW)[:-1]).payload

    assert found["name"] == "short"
    assert len(found["stack"]) <= FIELD_LIMIT
    assert found["stack"].startswith("beginx")
    assert found["stack"].endswith("xend")
    assert f"cut: {len(text)} characters" in found["stack"]


@pytest.mark.parametrize(
    "payload",
    [
        {str(n): "\0" * FIELD_LIMIT for n in range(20)},  # each character takes six bytes
        {"list": ["x" * 1000] * 5000, "name": "kept"},
        {"list": list(range(100_000)), "name": "kept"},
        {f"key {n}": n for n in range(40_000)},
        {"k" * 2_000_000: 1},
    ],
    ids=["fields", "texts", "numbers", "keys", "key"],
)
def test_no_line_is_over_the_limit(payload: dict[str, object]) -> None:
    line = encode(2**53, EventType.TEST_CASE, payload, NOW)

    assert len(line) <= LINE_LIMIT
    found = decode(line[:-1]).payload
    assert found.get("name", "kept") == "kept"
    assert "cut" in line.decode()


@pytest.mark.parametrize("limit", [64, 100, 4096])
def test_clip_keeps_both_ends_within_the_limit(limit: int) -> None:
    text = "".join(chr(97 + n % 26) for n in range(10_000))

    cut = clip(text, limit)

    assert len(cut) <= limit
    assert cut[0] == text[0]
    assert cut[-1] == text[-1]
    assert clip(text, len(text)) is text


def test_a_patched_json_module_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> NoReturn:
        raise ZeroDivisionError

    for name in ("dumps", "loads", "JSONEncoder", "JSONDecoder"):
        monkeypatch.setattr(json, name, refuse)

    assert decode(encode(1, EventType.TEST_CASE, {"a": "\udcff"}, NOW)[:-1]).payload == {"a": "\\udcff"}


def test_no_part_of_a_line_is_a_line() -> None:
    line = encode(1, EventType.TEST_CASE, {"nodeid": "test_it.py::test_one"}, NOW)[:-1]

    for size in range(len(line)):
        with pytest.raises(BadLine):
            decode(line[:size])
    for start in range(1, len(line)):
        with pytest.raises(BadLine):
            decode(line[start:])


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_never_another_event(data: st.DataObject) -> None:
    line = encode(1, EventType.TEST_CASE, {"nodeid": "test_it.py::test_one"}, NOW)[:-1]
    at = data.draw(st.integers(0, len(line) - 1))
    changed = line[:at] + bytes([data.draw(st.integers(0, 255))]) + line[at + 1 :]

    try:
        event = decode(changed)
    except BadLine:
        assert changed != line
    else:
        assert event == decode(line)  # unchanged, or a digit of the checksum in capitals


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_line_raise_bad_line_only(data: bytes) -> None:
    for line in (data, with_crc(data)):
        with pytest.raises(BadLine):
            decode(line)


@pytest.mark.parametrize(
    "fields",
    [
        {"seq": 0},
        {"seq": -1},
        {"seq": True},
        {"seq": 1.0},
        {"seq": "1"},
        {"seq": 10**30},  # more than any store holds
        {"eventType": 3},
        {"eventType": None},
        {"payload": []},
        {"payload": None},
        {"timestamp": "now"},
        {"timestamp": True},
        {"timestamp": 10**400},
    ],
    ids=str,
)
def test_a_whole_line_that_is_no_event_is_bad(fields: dict[str, object]) -> None:
    good = {"seq": 1, "eventType": "testCase", "payload": {}, "timestamp": 1.0}
    assert decode(with_crc(json.dumps(good)[:-1].encode())) == Event(
        1, "testCase", {}, 1.0, crc32(json.dumps(good)[:-1].encode())
    )

    with pytest.raises(BadLine):
        decode(with_crc(json.dumps({**good, **fields})[:-1].encode()))


@pytest.mark.parametrize(
    "head",
    [
        b'{"seq":1,"eventType":"testCase","payload":{}',
        b'{"seq":1,"eventType":"testCase","payload":{"a":NaN},"timestamp":1',
        b'{"seq":1,"eventType":"testCase","payload":{},"timestamp":Infinity',
        b'{"seq":1,"eventType":"testCase","payload":{},"timestamp":1e400',
        b'{"seq":1,"eventType":"testCase","payload":{"a":"\xff"},"timestamp":1',
        b'{"seq":1,"eventType":"testCase","payload":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b'},"timestamp":1',
        b'[{"seq":1}',
        b"",
    ],
    ids=["no timestamp", "NaN", "Infinity", "1e400", "not ASCII", "deep", "array", "empty"],
)
def test_a_whole_line_of_other_content_is_bad(head: bytes) -> None:
    with pytest.raises(BadLine):
        decode(with_crc(head))


def test_unknown_keys_and_types_are_left_to_newer_readers() -> None:
    event = decode(with_crc(b'{"seq":1,"new":[1],"eventType":"fromTheFuture","payload":{"x":1},"timestamp":2'))

    assert (event.type, event.payload, event.timestamp) == ("fromTheFuture", {"x": 1}, 2)


PASSED: dict[str, Any] = {
    "testName": "test_one[1-x]",
    "parentNames": ["tests/test_it.py", "TestA"],
    "nodeid": "tests/test_it.py::TestA::test_one[1-x]",
    "status": "PASS",
    "phase": "call",
    "started": 1_700_000_000.1234,
    "duration": 0.192,
}


@pytest.mark.parametrize(
    "more",
    [{}, {"worker": "gw1"}, {"parentNames": ["one.py"]}, {"duration": 0.0}, {"nodeid": "x" * NAME_LIMIT}],
    ids=str,
)
def test_a_test_that_passed_is_read_like_any_other_event(more: dict[str, Any]) -> None:
    payload = PASSED | more
    line = encode(7, EventType.TEST_CASE, payload, NOW)[:-1]

    found = decode(line)

    assert type(found) is Passed
    crc = crc32(line[:-18])
    assert (found.seq, found.type, found.payload, found.timestamp, found.crc) == (7, "testCase", payload, NOW, crc)
    assert found.row == (payload["nodeid"], 7, payload["started"], payload["duration"], payload.get("worker"), crc)
    assert [type(value) for value in found.payload.values()] == [type(value) for value in payload.values()]


@pytest.mark.parametrize(
    "more",
    [
        {"status": "FAIL"},
        {"phase": "setup"},
        {"attempt": 2},
        {"takenBack": {"passed": 1}},
        {"started": 10**400},
        {"duration": 1},
        {"duration": 1e-9},
        {"duration": 0.0625},
        {"duration": 1e9},
        {"nodeid": "test_it.py::" + "x" * (NAME_LIMIT - 11)},
        {"worker": None},
        {"worker": ""},
        {"parentNames": []},
        {"parentNames": "one.py"},
        {"parentNames": ['a","b']},
        {"nodeid": 'test_it.py::test_one["]'},
        {"nodeid": "test_it.py::test_one[\u00e4\\]"},
        {"nodeid": None},
        {"testName": "a\nb"},
    ],
    ids=ascii_id,
)
def test_an_event_that_says_more_than_that_a_test_passed_is_not_taken_for_one(more: dict[str, Any]) -> None:
    line = encode(7, EventType.TEST_CASE, PASSED | more, NOW)[:-1]

    found = decode(line)

    assert type(found) is Event
    assert found.payload == json.loads(line)["payload"]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_changed_byte_of_a_test_that_passed_is_never_another_event(data: st.DataObject) -> None:
    line = encode(7, EventType.TEST_CASE, PASSED, NOW)[:-1]
    at = data.draw(st.integers(0, len(line) - 1))
    assert_changed_is_no_other(line, at, bytes([data.draw(st.integers(0, 255))]))


@pytest.mark.parametrize("byte", [b"0", b"9", b"-", b".", b" ", b'"', b"\\"])
def test_no_byte_of_a_test_that_passed_can_be_changed_to_make_another_event(byte: bytes) -> None:
    line = encode(7, EventType.TEST_CASE, PASSED, NOW)[:-1]
    for at in range(len(line)):
        assert_changed_is_no_other(line, at, byte)


def assert_changed_is_no_other(line: bytes, at: int, byte: bytes) -> None:
    changed = line[:at] + byte + line[at + 1 :]
    for other in (changed, with_crc(changed[:-18])):  # the second one is as its writer wanted it
        try:
            found = decode(other)
        except BadLine:
            continue
        as_json = json.loads(other)
        assert found.payload == as_json["payload"]
        assert (found.seq, found.type, found.timestamp) == tuple(as_json[k] for k in ("seq", "eventType", "timestamp"))
        assert found == decode(line) or other != changed


LINES = [
    *(encode(seq, EventType.TEST_CASE, PASSED | {"testName": f"test_{seq}"}, NOW)[:-1] for seq in range(1, 4)),
    encode(4, EventType.TEST_CASE, PASSED | {"worker": "gw1"}, NOW)[:-1],
    encode(5, EventType.TEST_CASE, PASSED | {"status": "FAIL"}, NOW)[:-1],
    encode(6, EventType.GROUP_START, {"groupName": "a.py"}, NOW)[:-1],
    encode(7, EventType.TEST_CASE, PASSED, NOW)[:-2] + b"~",
    encode(8, EventType.TEST_CASE, PASSED, NOW),  # with its newline
    b"",
    b"\n",
    b"\xff\r\x85",
]


@given(lines=st.lists(st.sampled_from(LINES), max_size=8))
@example(lines=[LINES[0] + b"\n" + LINES[1], b""])
@example(lines=[LINES[0], b"\n" + LINES[1]])
def test_lines_together_are_what_each_is_alone(lines: list[bytes]) -> None:
    alone = [decode_all([line])[0] for line in lines]

    together = decode_all(lines)

    assert [str(one) if isinstance(one, BadLine) else one for one in together] == [
        str(one) if isinstance(one, BadLine) else one for one in alone
    ]
    assert [type(one) for one in together] == [type(one) for one in alone]


def test_a_checksum_in_capitals_is_a_flipped_bit() -> None:
    lines = [encode(1, "testCase", {"n": number}, 1.0)[:-1] for number in range(50)]

    changed = [line[:-10] + line[-10:].upper() for line in lines]

    assert sum(line != other for line, other in zip(lines, changed, strict=True)) > 40
    for line, other in zip(lines, changed, strict=True):
        if line != other:
            with pytest.raises(BadLine, match="checksum"):
                decode(other)


@pytest.mark.parametrize("number", ["1e999", "-1e999", "Infinity", "NaN"])
def test_a_number_that_is_not_finite_makes_a_line_bad(number: str) -> None:
    with pytest.raises(BadLine, match="not a finite number"):
        decode(seal(1, EventType.RUN_START, f'{{"limit":{number}}}', NOW)[:-1])


def test_a_name_that_is_long_or_a_worker_that_is_takes_the_long_way() -> None:
    for more in ({"nodeid": "x" * (NAME_LIMIT + 1)}, {"worker": "x" * (NAME_LIMIT + 1)}):
        assert type(decode(encode(7, EventType.TEST_CASE, PASSED | more, NOW)[:-1])) is Event
