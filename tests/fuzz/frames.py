"""What is read back from children, journals and the store: damaged, forged or from elsewhere."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from zlib import crc32

from google_crc32c import value as crc32c

from relay.channel import journal
from relay.channel.codec import (
    FROM_RECEIVER,
    FROM_SENDER,
    STRANGER,
    TO_RECEIVER,
    TO_SENDER,
    BadFrame,
    FrameReader,
    Tongue,
    pack,
)
from relay.queue import keys, records
from relay.queue.store import Unreadable
from tests.fuzz.choices import bit, head, pieces

_READERS = (
    records.read_message,
    records.read_delivery,
    records.read_names,
    records.read_number,
    records.read_format,
    records.read_state,
    records.read_taken,
)
_TONGUES = (TO_SENDER, FROM_SENDER, TO_RECEIVER, FROM_RECEIVER)
_WRITERS = {
    "message": keys.message,
    "chunk": keys.chunk,
    "delivery": keys.delivery,
    "recipients": keys.recipients,
    "remaining": keys.remaining,
    "under way": keys.under_way,
    "due": keys.due,
    "held": keys.held,
    "counter": keys.counter,
    "token": keys.token,
    "token since": keys.token_since,
}


def channel(data: bytes) -> None:
    """Frames in any split, of each side, and then BadFrame or nothing."""
    (options, first, second), rest = head(data, 3)
    if bit(options, 1):
        # Lengths that fit, so that it is the payload that is tried.
        rest = b"".join(len(part).to_bytes(4, "big") + part for part in rest.split(b"\xfe\xfd"))
    tongue = _TONGUES[options & 1 | options >> 1 & 2] if not bit(options, 3) else STRANGER
    whole, error = _frames(tongue, [rest])
    again, also = _frames(tongue, pieces(rest, first, second))
    assert error == also and list(map(pack, whole)) == list(map(pack, again))
    packed = b"".join(map(pack, whole))
    copies, wrong = _frames(tongue, [packed])
    assert wrong == "" and list(map(pack, copies)) == list(map(pack, whole))


def _frames(tongue: Tongue, given: Iterable[bytes]) -> tuple[list[object], str]:
    reader, found = FrameReader(tongue), []
    try:
        for piece in given:
            found.extend(reader.feed(piece))
    except BadFrame as error:
        return found, str(error)
    return found, ""


def journal_lines(data: bytes) -> None:
    """Lines that are whole are acceptances, all others are counted."""
    (options,), rest = head(data, 1)
    if bit(options, 0):
        rest = b"".join(b"%08x %b\n" % (crc32(line), line) for line in rest.split(b"\n"))
    found, damaged = journal.decode(rest)
    assert len(found) + damaged == len(rest.splitlines())
    small = [each for each in found if abs(each.seq) < 1 << 63 and abs(each.lease) < 1 << 63]
    assert journal.decode(b"".join(map(journal.encode, small))) == (small, 0)


def queue_key(data: bytes) -> None:
    """A key that is one of ours is made again from its fields."""
    try:
        key = keys.decode(data)
    except ValueError:
        return
    if key.kind == "index":
        assert keys.index(*key.fields) == data  # type: ignore[arg-type]
    elif key.kind in _WRITERS:
        assert _WRITERS[key.kind](*key.fields) == data  # type: ignore[operator]
    else:
        assert data in (keys.FORMAT, keys.STATE)


def queue_record(data: bytes) -> None:
    """A record gives a value of its kind or is unreadable."""
    (options,), record = head(data, 1)
    if bit(options, 7):
        record = struct.pack("<BI", records.VERSION, crc32(record)) + record
    reader = _READERS[(options & 0x3F) % len(_READERS)]
    try:
        value = reader(record)
    except Unreadable:
        pass
    else:
        again = records.encode(value)
        assert records.encode(reader(again)) == again
    if bit(options, 6):
        record = struct.pack("<I", crc32c(record)) + record
    try:
        chunk = records.read_chunk(record)
    except Unreadable:
        return
    assert records.encode_chunk(chunk) == record
