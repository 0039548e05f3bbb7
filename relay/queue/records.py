"""The values of the queue: a version, a checksum and msgpack, so that damage is never read as mail.

    version (1 byte) | crc32 of the rest (4, little-endian) | msgpack of the struct as an array

LevelDB has checksums of its own; these are ours, end to end: they catch what a repair, a copy
or a bug of the layers below puts under a key. A body chunk has a crc32c alone in front, which
costs a tenth of the other on what is large. Structs grow at the end with defaults, which needs
no new version; a version we don't know is never guessed at.
"""

from __future__ import annotations

import struct
from typing import Generic, TypeVar
from zlib import crc32

import msgspec
from google_crc32c import value as crc32c

from relay.message.dialogue import Dialogue
from relay.message.event import Event
from relay.message.mark import Taken
from relay.message.values import Delivery, Message
from relay.queue.store import Unreadable

VERSION = 1
FORMAT_VERSION = 2

T = TypeVar("T")
_head = struct.Struct("<BI")
_crc = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode


class Format(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The queue's format, written when it is made. A newer one than ours isn't opened."""

    version: int


class State(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Written with every group: the time (ms), the greatest queue id ever seen, the number of the newest
    event, one from which on all that are kept are found, and the number of the group."""

    seen: int
    newest: str
    told: int = 0
    oldest: int = 1
    group: int = 0


def encode(value: object) -> bytes:
    """The record of a struct, number or list. TypeError and UnicodeEncodeError are the caller's."""
    body = _encode(value)
    return _head.pack(VERSION, crc32(body)) + body


class Reader(Generic[T]):
    """Reads records of one type."""

    __slots__ = ("_decode",)

    def __init__(self, kind: type[T]) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode

    def __call__(self, record: bytes) -> T:
        """The value. Unreadable: bad checksum, unknown version, not msgpack, wrong UTF-8."""
        if len(record) <= _head.size:
            raise Unreadable("a record is cut short")
        version, checksum = _head.unpack_from(record)
        if version != VERSION:
            raise Unreadable(f"a record has version {version}, known is {VERSION}")
        body = record[_head.size :]
        if crc32(body) != checksum:
            raise Unreadable("a record's checksum is wrong")
        try:
            return self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unreadable(f"a record can't be decoded: {error}") from error


read_message = Reader(Message)
read_delivery = Reader(Delivery)
read_names = Reader(list[str])
read_number = Reader(int)
read_format = Reader(Format)
read_state = Reader(State)
read_taken = Reader(Taken)
read_event = Reader(Event)
read_dialogue = Reader(Dialogue)


def encode_chunk(data: bytes) -> bytes:
    """A body chunk behind its checksum."""
    return _crc.pack(crc32c(data)) + data


def read_chunk(record: bytes) -> bytes:
    """The chunk. Unreadable when its checksum is wrong."""
    data = record[_crc.size :]
    if len(record) < _crc.size or _crc.unpack_from(record)[0] != crc32c(data):
        raise Unreadable("a body chunk's checksum is wrong")
    return data
