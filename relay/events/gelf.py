"""Events as GELF 1.1 has them (Graylog's), with messages as ZoneMTA writes them: `MTA [CODE] text`. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import msgspec

from relay.events.shape import shape
from relay.message.event import Event, Numbered

#: Where Graylog listens by default.
PORT = 12201
#: The longest datagram (bytes), what stands before each part of a message that takes several, and how many may be.
CHUNK = 8192
_HEAD = 12
MOST = 128
_MAGIC = b"\x1e\x0f"
_LONGEST = 250
#: Of syslog: 4 is a warning, 5 worth a look, 6 as it should be.
_LEVELS = {"bounced": 4, "expired": 4, "complaint": 4, "deferred": 5, "dropped": 5, "suppressed": 5, "held": 5}
#: As ZoneMTA calls itself there.
_COMPONENT = "mta"
_encode = msgspec.json.Encoder().encode
#: `_id` is not allowed.
_NAMES = {"id": "_queue_id"}


def record(numbered: Numbered, host: str) -> bytes:
    """One event of the relay called `host`, as JSON without NUL."""
    event = numbered.event
    fields: dict[str, object] = {
        "version": "1.1",
        "host": host,
        "short_message": _line(event),
        "timestamp": event.time / 1000,
        "level": _LEVELS.get(event.kind, 6),
        "facility": _COMPONENT,
        "_component": _COMPONENT,
    }
    if event.id:
        fields["_delivery_id"] = event.id
    if event.seq:
        fields["_delivery_seq"] = f"{event.seq:03x}"
    for name, value in shape(numbered).items():
        if name != "time":
            fields[_NAMES.get(name, f"_{name}")] = ",".join(value) if isinstance(value, list) else value
    return _encode(fields)


def datagrams(message: bytes, id: bytes) -> Iterator[bytes]:
    """What is to be sent for a record; `id` are 8 bytes that no other has. A long one is compressed, and cut where that
    isn't enough; nothing for what is longer than can be."""
    if len(message) > CHUNK:
        message = zlib.compress(message)
    if len(message) <= CHUNK:
        yield message
        return
    size = CHUNK - _HEAD
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    if len(parts) <= MOST:
        for number, part in enumerate(parts):
            yield _MAGIC + id + bytes((number, len(parts))) + part


def _line(event: Event) -> str:
    code = event.kind.upper().replace("-", "_")
    text = event.reply or event.reason or event.recipient or event.sender or event.kind
    name = f"{event.name} " if event.id else ""
    return f"MTA [{code}] {name}{text}"[:_LONGEST]
