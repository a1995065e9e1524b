"""A line: the one encoding of an event, in the journal and on the wire.

    {"seq":7,"eventType":"testCase","payload":{...},"timestamp":1700000000.1235,"crc":"89abcdef"}

ASCII JSON, one line; `crc` is the CRC-32 of the line's bytes before `,"crc"`. Times have four digits after the point: with
more CPython takes twice as long to print one. What JSON cannot hold is changed here, and only here: lone surrogates become
their backslash escape, numbers that are not finite and foreign objects become text, long texts are cut in the middle with
their length stated.
"""

import json
import math
import re
from collections.abc import Callable
from functools import cache
from itertools import islice
from json.encoder import JSONEncoder, encode_basestring_ascii
from typing import Any, Final, NamedTuple, NoReturn
from zlib import crc32

from threepio_client.errors import BadLine
from threepio_client.events import FIELD_LIMIT, LINE_LIMIT, Payload

_CRC_KEY: Final = b',"crc":"'
_TAIL_SIZE: Final = len(_CRC_KEY) + 8 + len(b'"}')
_INTEGER_LIMIT: Final = 2**63
"""What a column of the store can hold."""
_TIME_LIMIT: Final = 1e11
"""Seconds since the epoch: some three thousand years, more than `time.localtime` is asked for."""
_SHORTER: Final[tuple[tuple[int, int | None], ...]] = (
    (FIELD_LIMIT, None),
    *((FIELD_LIMIT // 4**step, 4_096 // 4**step) for step in range(1, 6)),
)
"""What a payload is shortened to, one after the other until it fits: characters of a text, items of a list."""
_KEPT: Final = frozenset(
    {"nodeid", "groupName", "process", "rootdir", "cwd", "runId", "producerId", "commandId", "commandCwd"}
)
_NAMES: Final = _KEPT | {"testName", "parentNames", "nodeids"}
"""Fields that are not shortened for others: they say which test, run or process it is about."""
_DEPTH_LIMIT: Final = 32
"""Levels of nesting kept in a payload; deeper values become text. No event of ours has more than 4."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite number")


def _finite(number: str) -> float:
    found = float(number)
    if math.isinf(found):
        raise ValueError(f"{number} is not a finite number")
    return found


def _refuse_object(value: object) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is nothing that JSON has")


def _make_encode_json() -> Callable[[object], str]:
    """Return what makes JSON of plain data; `JSONEncoder.encode` makes its C encoder anew for every call."""
    slow = JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return slow
    # As JSONEncoder.iterencode does: markers, default, text encoder, indent, separators, sort_keys, skipkeys, allow_nan.
    chunks = make(None, _refuse_object, encode_basestring_ascii, None, ":", ",", False, False, False)
    return lambda value: "".join(chunks(value, 0))


# Bound once: a test may replace `json.dumps` or `json.loads` while we run.
_encode_json: Final = _make_encode_json()
_new: Final = tuple.__new__
_encode_unicode: Final = JSONEncoder(ensure_ascii=False).encode
_decode_json: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite).raw_decode


class Event(NamedTuple):
    """One decoded line.

    Attributes:
        seq: number within the run, from 1, without gaps.
        type: an `EventType`, an `ObservationType`, or a name that a newer writer knows.
        payload: the event's own content.
        timestamp: seconds since the epoch, by the writer's clock.
        crc: CRC-32 of the encoded event; equal seq and crc mean an equal event.
    """

    seq: int
    type: str
    payload: Payload
    timestamp: float
    crc: int


PassedRow = tuple[str, int, float, float, str | None, int]
"""Of a test that passed: node id, seq, started (seconds since the epoch), duration (milliseconds), worker, checksum."""


NAME_LIMIT: Final = 500
"""Characters of a node id or a worker that `Passed` may have: who keeps many of them knows how much that is."""


class Passed(Event):
    """The event that nearly all lines hold: a test passed in its call, and there is no more to say.

    Its payload has testName, parentNames, nodeid (NAME_LIMIT at most), status PASS, phase call, started, duration (whole
    microseconds), perhaps worker, and nothing else; what reads millions of lines takes what it needs of that from `row`,
    and the payload is made when it is asked for. So ask for its parts by their names: as a tuple it has something else in
    the payload's place.
    """

    __slots__ = ()

    @property
    def row(self) -> PassedRow:
        """What there is to be known of it."""
        row: PassedRow = self[2][1]  # type: ignore[index]  # a pair of the line and this is in the payload's place
        return row

    @property
    def payload(self) -> Payload:
        """The event's own content."""
        line: bytes = self[2][0]  # type: ignore[index]  # see `row`
        payload: Payload = _decode_json(line.decode("ascii"))[0]["payload"]
        return payload


def encode(seq: int, event_type: str, payload: Payload, timestamp: float) -> bytes:
    """Return the event's line with its newline, at most LINE_LIMIT bytes; it never fails for what a test can bring."""
    return seal(seq, event_type, encode_payload(payload), timestamp)


def seal(seq: int, event_type: str, body: str, timestamp: float) -> bytes:
    """Return the line of an event whose payload is JSON already, by `encode_payload` or `encode_passed`."""
    head = f'{{"seq":{seq},"eventType":"{event_type}","payload":{body},"timestamp":{timestamp:.4f}'.encode("ascii")
    return b'%b,"crc":"%08x"}\n' % (head, crc32(head))


def encode_text(text: str) -> bytes:
    """Return a text as it stands in a line."""
    return encode_basestring_ascii(plain_text(text)).encode("ascii")


def encode_parents(names: list[str]) -> str:
    """Return what passed tests with these parents have in common, as a part of what `encode_passed` makes."""
    names = [plain_text(name) for name in names]
    return f',"parentNames":{_encode_json(names)},"nodeid":{_encode_json("::".join(names))[:-1]}::'


def encode_passed(name: str, parents: str, started: float, duration: float, worker: str = "") -> str:
    """Return the payload of a test that passed and has nothing else to say: nearly all events of most runs are this one.

    It says what `encode_payload` would, in a quarter of the time. The test's node id is the names with `::` between.

    Args:
        name: the test's own name.
        parents: its parents' names, by `encode_parents`.
        started: seconds since the epoch.
        duration: milliseconds.
        worker: xdist worker id, empty without workers.
    """
    own = encode_basestring_ascii(name)
    body = (
        f'{{"testName":{own}{parents}{own[1:]},"status":"PASS","phase":"call",'
        f'"started":{started:.4f},"duration":{duration:.3f}'
    )
    body += f',"worker":{encode_basestring_ascii(plain_text(worker))}}}' if worker else "}"
    if len(body) <= FIELD_LIMIT and "\\ud" not in own:
        return body
    return encode_payload(_decode_json(body)[0])


def decode(line: bytes) -> Event:
    """Return the event of a line without its newline.

    Raises:
        BadLine: the line is cut, its checksum is wrong, or it is not an event.
    """
    (found,) = decode_all([line])
    if isinstance(found, BadLine):
        raise found
    return found


def decode_all(lines: list[bytes]) -> list[Event | BadLine]:
    """Return for each line, without its newline, its event, or why it is none; together they take less time."""
    forms = _find_passed()(b"\n".join(lines).decode("latin-1"))
    if len(forms) != len(lines):  # a newline in one of them
        return [_decode_any(line) if b"\n" in line else decode_all([line])[0] for line in lines]
    found: list[Event | BadLine] = []
    for line, (seq, nodeid, started, duration, worker, timestamp, crc) in zip(lines, forms, strict=True):
        if crc and (stated := int(crc, 16)) == crc32(line[:-_TAIL_SIZE]) and len(line) <= LINE_LIMIT:
            number = int(seq)
            row = (nodeid, number, float(started), float(duration), worker or None, stated)
            found.append(_new(Passed, (number, "testCase", (line, row), float(timestamp), stated)))
        else:
            found.append(_decode_any(line))
    return found


def _decode_any(line: bytes) -> Event | BadLine:
    """Return the event of a line in any form, or why it is none."""
    head = line[:-_TAIL_SIZE]
    tail = line[-_TAIL_SIZE:]
    if len(line) > LINE_LIMIT or not tail.startswith(_CRC_KEY) or not tail.endswith(b'"}'):
        return BadLine("not a whole line")
    crc = crc32(head)
    if tail[len(_CRC_KEY) : -2] != b"%08x" % crc:  # digit by digit: a flipped bit may make a capital of one
        return BadLine("checksum does not match")
    try:
        fields, end = _decode_json(line.decode("ascii"))
        if end != len(line):
            return BadLine("more than an event")
        seq, event_type, payload, timestamp = (
            fields["seq"],
            fields["eventType"],
            fields["payload"],
            fields["timestamp"],
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return BadLine(f"not an event: {error}")
    if not (type(seq) is int and 0 < seq < _INTEGER_LIMIT and type(event_type) is str and type(payload) is dict):
        return BadLine("not an event: a field has the wrong type")
    if type(timestamp) not in (float, int) or not -_TIME_LIMIT < timestamp < _TIME_LIMIT:
        return BadLine("not an event: the timestamp is no number of seconds")
    # Most lines have no such escape, and looking for one is quicker than looking for two.
    if b"\\u" in line and (b"\\ud" in line or b"\\uD" in line) and not _is_unicode(payload, event_type):
        return BadLine("not an event: a text is no valid Unicode")
    return Event(seq, event_type, payload, timestamp, crc)


@cache
def _find_passed() -> Callable[[str], list[Any]]:
    """Return what finds in lines the fields of those of `Passed`, as adapters write them; of others they are empty.

    Made when needed: it takes milliseconds. What it has matched it does not match in another way.
    """
    text = r'[^"\\\x00-\x1f\x80-\xff]*+'
    seconds = r"(?:0|[1-9][0-9]{0,9}+)\.[0-9]{1,9}+"
    passed = (
        r'\{"seq":([1-9][0-9]{0,17}+),"eventType":"testCase","payload":\{"testName":"TEXT",'
        r'"parentNames":\["TEXT(?:","TEXT)*+"\],"nodeid":"(NAME)","status":"PASS","phase":"call",'
        r'"started":(SECONDS),"duration":((?:0|[1-9][0-9]{0,8}+)\.[0-9]{1,3}+)(?:,"worker":"(?!")(NAME)")?\},'
        r'"timestamp":(SECONDS),"crc":"([0-9a-f]{8})"\}'
    )
    name = text.replace("*", f"{{0,{NAME_LIMIT}}}")
    pattern = passed.replace("TEXT", text).replace("NAME", name).replace("SECONDS", seconds)
    return re.compile(f"^(?:{pattern}|.*)$", re.MULTILINE).findall


def checksum(line: bytes) -> int:
    """Return the checksum that a line without its newline should state."""
    return crc32(line[:-_TAIL_SIZE])


def clip(text: str, limit: int = FIELD_LIMIT) -> str:
    """Return the text, cut in the middle to about `limit` characters with the original length stated."""
    if len(text) <= limit:
        return text
    mark = f" [... cut: {len(text)} characters in all ...] "
    keep = max(limit - len(mark), 0)
    return text[: keep - keep // 2] + mark + text[len(text) - keep // 2 :]


def plain_text(text: str) -> str:
    """Return the text as valid Unicode: lone surrogates as their backslash escape."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _is_unicode(payload: Payload, event_type: str) -> bool:
    try:
        _encode_unicode([payload, event_type]).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def encode_payload(payload: Payload) -> str:
    """Return the payload as JSON that fits into a line, whatever is in it."""
    try:
        body = _encode_json(payload)
        # A surrogate pair of a valid character looks the same here; `_plain` leaves that one as it is.
        if len(body) <= FIELD_LIMIT and "\\ud" not in body:
            return body
    except Exception:  # noqa: BLE001, S110 - what JSON cannot hold, or a subclass that raises: `_plain` makes text of it
        pass
    room = LINE_LIMIT - 1024
    for number, (limit, most) in enumerate(_SHORTER):
        # Last of all the names' parts are shortened, too: they stand in the node id.
        kept = _NAMES if number < len(_SHORTER) - 1 else _KEPT
        short = {
            plain_text(clip(as_text(key), limit)): _short(key, value, kept, limit, most)
            for key, value in dict.items(payload)
        }
        body = _encode_json(short if most is None else {**short, "cut": True})
        if len(body) <= room:
            return body
    body = _encode_json({**{key: _name(value) for key, value in dict.items(payload) if key in _KEPT}, "cut": True})
    return body if len(body) <= room else '{"cut":true}'


def _short(key: object, value: Any, kept: frozenset[str], limit: int, most: int | None) -> Any:
    return _name(value) if key in kept else _plain(value, limit, most, 1)


def _name(value: Any) -> Any:
    """Return what says which test, run or process it is about, the same whatever else an event has to say.

    A name whose JSON would fill a good part of a line is cut to what never does.
    """
    short = _plain(value, FIELD_LIMIT, None, 1)
    return [_clip_name(item) for item in short] if isinstance(short, list) else _clip_name(short)


def _clip_name(short: Any) -> Any:
    is_long = isinstance(short, str) and len(encode_basestring_ascii(short)) > 2 * FIELD_LIMIT
    return clip(short, FIELD_LIMIT // 8) if is_long else short


def _plain(value: Any, limit: int, most: int | None, depth: int) -> Any:
    """Return what JSON can hold of any value; a subclass's own methods are not called.

    Args:
        value: the value.
        limit: characters of a text.
        most: items of a list or a dictionary; None: all of them.
        depth: levels of nesting above it.
    """
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return plain_text(clip(str.__str__(value), limit))
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -_INTEGER_LIMIT <= number < _INTEGER_LIMIT else clip(hex(number), limit)
    if isinstance(value, float):
        real = float.__float__(value)
        return real if math.isfinite(real) else str(real)
    if depth < _DEPTH_LIMIT and isinstance(value, dict):
        there = {
            plain_text(clip(as_text(k), limit)): _plain(v, limit, most, depth + 1)
            for k, v in islice(dict.items(value), most)
        }
        size = dict.__len__(value)
        return there if most is None or size <= most else {**there, "cut": f"{size} in all"}
    if depth < _DEPTH_LIMIT and isinstance(value, list | tuple):
        items = list.__iter__(value) if isinstance(value, list) else tuple.__iter__(value)
        size = list.__len__(value) if isinstance(value, list) else tuple.__len__(value)
        some = [_plain(item, limit, most, depth + 1) for item in islice(items, most)]
        return some if len(some) == size else [*some, *_cut_mark(some, size)]
    return plain_text(clip(as_text(value), limit))


def _cut_mark(some: list[Any], size: int) -> list[Any]:
    """Return what says at the end of a list that it was cut, like its other items where readers take these apart."""
    mark = f"[... cut: {size} in all ...]"
    first = some[0] if some else ""
    if isinstance(first, dict):
        return []
    return [[mark, *[""] * (len(first) - 1)]] if isinstance(first, list) and first else [mark]


def as_text(value: object) -> str:
    """Return a text as it is, of a subclass too, and of anything else its `repr`; never raises."""
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001 - a test's own __repr__ may raise anything; the field says so
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
