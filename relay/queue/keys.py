"""The keys of the queue: what is kept under which bytes, and in what order.

The first byte is the kind. Ids are their 18 hex digits, numbers are big-endian, so that the
order of the bytes is the order of the things: the due index sorts by (zone, domain, flow, due,
id, seq). Names (zone, domain) end with a zero byte, which they must not contain; free texts of
the secondary index carry their length instead. docs/queue-format.md has the table.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache
from typing import NamedTuple

from relay.message.queueid import parse_name

FORMAT = b"#format"
STATE = b"#state"
TRACED = b"#traced"
ID_LENGTH = 18
TOKEN_LENGTH = 32
#: The kinds of the secondary index by the word that `Store.query` uses.
INDEX_KINDS = {"sender": b"s", "recipient": b"r", "reason": b"c"}
_INDEX_NAMES = {code: name for name, code in INDEX_KINDS.items()}
#: What a message's history is found by, all that time.
TRACE_KINDS = {"message-id": b"i", "recipient": b"r", "sender": b"s", "tenant": b"t", "tag": b"g"}
_TRACE_NAMES = {code: name for name, code in TRACE_KINDS.items()}
#: Milliseconds.
DAY = 86_400_000
_HASH = 8

#: Between a domain, which can't contain it, and the flow.
_FLOW = "\x01"
_id = struct.Struct(">c18s").pack
_numbered = struct.Struct(">c18sI").pack
_place = struct.Struct(">Q18sI")
PLACE_LENGTH = _place.size
_tail = struct.Struct(">18sI")
_u64 = struct.Struct(">Q")
_length = struct.Struct(">I")
_step = struct.Struct(">c18sIQ")
_trace = struct.Struct(f">cIc{_HASH}s18sI")
_day = struct.Struct(">I")


class Key(NamedTuple):
    """A decoded key: the word for its kind, and its fields in the order they were given."""

    kind: str
    fields: tuple[str | int | bytes, ...] = ()


def message(queue_id: str) -> bytes:
    """The record of a message."""
    return _id(b"m", queue_id.encode())


def chunk(queue_id: str, number: int) -> bytes:
    """A body chunk, numbered from 0."""
    return _numbered(b"b", queue_id.encode(), number)


def delivery(queue_id: str, seq: int) -> bytes:
    """A delivery's row."""
    return _numbered(b"d", queue_id.encode(), seq)


def recipients(queue_id: str) -> bytes:
    """The recipients of a message that has several."""
    return _id(b"r", queue_id.encode())


def remaining(queue_id: str) -> bytes:
    """How many rows are left of a message that has several recipients."""
    return _id(b"n", queue_id.encode())


def under_way(queue_id: str) -> bytes:
    """The mark of a message whose chunks are being written: what the sweep looks for."""
    return _id(b"w", queue_id.encode())


@lru_cache(8192)
def lane(zone: str, domain: str, flow: str = "") -> bytes:
    """What all due keys of a lane begin with; the usual flow leaves no trace in it. ValueError for a
    byte in a name that would end it."""
    if _FLOW in domain:
        raise ValueError(f"a byte 1 in the name {domain!r}")
    return b"q%b\0%b\0" % (_name(zone), _name(f"{domain}{_FLOW}{flow}" if flow else domain))


def due(zone: str, domain: str, flow: str, due: int, queue_id: str, seq: int) -> bytes:
    """A place in the due index; `due` in milliseconds."""
    return lane(zone, domain, flow) + _place.pack(due, queue_id.encode(), seq)


def held(queue_id: str, seq: int) -> bytes:
    """A delivery put aside."""
    return _numbered(b"h", queue_id.encode(), seq)


def index(kind: str, value: str, queue_id: str, seq: int) -> bytes:
    """An entry of the secondary index; `kind` is one of INDEX_KINDS."""
    return index_prefix(kind, value) + _tail.pack(queue_id.encode(), seq)


def index_prefix(kind: str, value: str) -> bytes:
    """What all entries of one value begin with."""
    text = value.encode()
    return b"x" + INDEX_KINDS[kind] + _length.pack(len(text)) + text


def counter(zone: str, bucket: int) -> bytes:
    """How many deliveries of a zone are due in the second `bucket` (see relay.queue.counters)."""
    return b"c%b\0%b" % (_name(zone), _u64.pack(bucket))


def token(token: bytes) -> bytes:
    """What was taken under an idempotency key; `token`, TOKEN_LENGTH bytes, stands for the key."""
    return b"i" + token


def token_since(created: int, token: bytes) -> bytes:
    """When a token was written (ms): what the sweep of old ones goes by."""
    return b"j" + _u64.pack(created) + token


def event(number: int) -> bytes:
    """An event, in the order in which they came to the disk."""
    return b"e" + _u64.pack(number)


def step(queue_id: str, seq: int, number: int) -> bytes:
    """That an event tells of this delivery (`seq` 0: of the message)."""
    return _step.pack(b"a", queue_id.encode(), seq, number)


def trace(kind: str, value: str, time: int, queue_id: str, seq: int) -> bytes:
    """What a history is found by: a message of the day of `time` (ms) has this value; `kind` is one of TRACE_KINDS."""
    return _trace.pack(b"f", time // DAY, TRACE_KINDS[kind], _hash(value), queue_id.encode(), seq)


def trace_prefix(kind: str, value: str, time: int) -> bytes:
    """What all traces of one value on the day of `time` (ms) begin with."""
    return trace_day(time) + TRACE_KINDS[kind] + _hash(value)


def trace_day(time: int) -> bytes:
    """What all traces of the day of `time` (ms) begin with."""
    return b"f" + _day.pack(time // DAY)


def day_of(key: bytes) -> int:
    """The day of a trace (days since the epoch)."""
    day: int = _day.unpack_from(key, 1)[0]
    return day


def dialogue(queue_id: str, seq: int) -> bytes:
    """What was said when a delivery failed last."""
    return _numbered(b"l", queue_id.encode(), seq)


def shelf(name: str) -> bytes:
    """What all keys of a shelf begin with."""
    return b"k%b\0" % _name(name)


def of_message(kind: bytes, queue_id: str) -> bytes:
    """What all numbered keys (`a`, `b`, `d`, `h`, `l`) of a message begin with."""
    return _id(kind, queue_id.encode())


def after(prefix: bytes) -> bytes:
    """The first key behind everything that begins with `prefix` (not all 0xff)."""
    bare = prefix.rstrip(b"\xff")
    return bare[:-1] + bytes([bare[-1] + 1])


def place_of(key: bytes) -> tuple[int, str, int]:
    """(due, id, seq) of a due key: the hot half of `decode`."""
    when, queue_id, seq = _place.unpack_from(key, len(key) - _place.size)
    return when, queue_id.decode(), seq


def name_of(key: bytes) -> tuple[str, int]:
    """(id, seq) of any key that ends with them."""
    queue_id, seq = _tail.unpack_from(key, len(key) - _tail.size)
    return queue_id.decode(), seq


def lane_of(key: bytes) -> tuple[str, str, str]:
    """(zone, domain, flow) of a due key."""
    zone, name = key[1 : -_place.size - 1].split(b"\0")
    domain, _, flow = name.decode().partition(_FLOW)
    return zone.decode(), domain, flow


def counter_of(key: bytes) -> tuple[str, int]:
    """(zone, bucket) of a counter's key."""
    return key[1:-9].decode(), _u64.unpack_from(key, len(key) - 8)[0]


def token_of(key: bytes) -> tuple[int, bytes]:
    """(created, token) of a key that says since when."""
    return _u64.unpack_from(key, 1)[0], key[-TOKEN_LENGTH:]


def event_of(key: bytes) -> int:
    """The number of an event, of its own key or of the step's."""
    number: int = _u64.unpack_from(key, len(key) - _u64.size)[0]
    return number


def step_of(key: bytes) -> tuple[str, int, int]:
    """(id, seq, number) of a step's key."""
    _, queue_id, seq, number = _step.unpack(key)
    return queue_id.decode(), seq, number


def name_start(name: str) -> tuple[str, int]:
    """The (id, seq) a listing after `name` (`id`, `id.seq` or "") starts behind.
    ValueError when it is neither."""
    if not name:
        return "0" * ID_LENGTH, 0
    parsed = parse_name(name)
    if parsed is None:
        raise ValueError(f"not a delivery's name: {name!r}")
    return parsed[0], parsed[1] or 0


def decode(key: bytes) -> Key:
    """The key's kind and fields: decode(encode(x)) = x. ValueError for what is no key of ours."""
    try:
        return _decode(key)
    except (struct.error, IndexError, KeyError) as error:
        raise ValueError(f"not a key of the queue: {key!r}") from error


_WHOLE = {b"m": "message", b"r": "recipients", b"n": "remaining", b"w": "under way"}
_NUMBERED = {b"b": "chunk", b"d": "delivery", b"h": "held", b"l": "dialogue"}


def _decode(key: bytes) -> Key:
    kind = key[:1]
    if key in (FORMAT, STATE, TRACED):
        return Key(key[1:].decode())
    if kind in _WHOLE and len(key) == 1 + ID_LENGTH:
        return Key(_WHOLE[kind], (key[1:].decode(),))
    if kind in _NUMBERED and len(key) == 1 + _tail.size:
        return Key(_NUMBERED[kind], name_of(key))
    if kind == b"i" and len(key) == 1 + TOKEN_LENGTH:
        return Key("token", (key[1:],))
    if kind == b"j" and len(key) == 9 + TOKEN_LENGTH:
        return Key("token since", token_of(key))
    if kind == b"e" and len(key) == 1 + _u64.size:
        return Key("event", (event_of(key),))
    if kind == b"a" and len(key) == _step.size:
        return Key("step", step_of(key))
    if kind == b"f" and len(key) == _trace.size:
        _, day, code, digest, queue_id, seq = _trace.unpack(key)
        return Key("trace", (_TRACE_NAMES[code], day, digest, queue_id.decode(), seq))
    if kind == b"k":
        name, _, inner = key[1:].partition(b"\0")
        return Key("shelf", (name.decode(), inner))
    if kind == b"q" and key[-PLACE_LENGTH - 1 : -PLACE_LENGTH] == b"\0":
        return Key("due", (*lane_of(key), *place_of(key)))
    if kind == b"c" and key[-9:-8] == b"\0" and b"\0" not in key[1:-9]:
        return Key("counter", counter_of(key))
    if kind == b"x":
        text = key[6 : 6 + _length.unpack_from(key, 2)[0]]
        if len(key) == 6 + len(text) + _tail.size:
            return Key("index", (_INDEX_NAMES[key[1:2]], text.decode(), *name_of(key)))
    raise ValueError(f"not a key of the queue: {key!r}")


def _name(text: str) -> bytes:
    if "\0" in text:
        raise ValueError(f"a zero byte in the name {text!r}")
    return text.encode()


def _hash(value: str) -> bytes:
    """What stands for a value that is looked for, whatever its case."""
    return hashlib.blake2b(value.casefold().encode("utf-8", "surrogatepass"), digest_size=_HASH).digest()
