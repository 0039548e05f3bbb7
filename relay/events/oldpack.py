"""Flat maps in the msgpack that ZoneMTA speaks and every reader of it understands. Pure.

Its library (msgpack-js) knows the format as it was before strings could have a length of one byte: what begins so is
something else to it. So no string does, and numbers beyond 31 bits are doubles, as JavaScript has them.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

import msgspec

Plain = str | int | float | bool

_encode = msgspec.msgpack.Encoder().encode
_head16 = struct.Struct(">BH").pack
_head32 = struct.Struct(">BI").pack
_GREATEST = 2**31 - 1


def packed(fields: Mapping[str, Plain]) -> bytes:
    """The map, of up to 65,535 fields."""
    many = len(fields)
    parts = [bytes((0x80 | many,)) if many < 16 else _head16(0xDE, many)]
    for name, value in fields.items():
        parts += (_string(name), _string(value) if isinstance(value, str) else _number(value))
    return b"".join(parts)


def _string(text: str) -> bytes:
    data = text.encode()
    size = len(data)
    if size < 32:
        return bytes((0xA0 | size,)) + data
    return (_head16(0xDA, size) if size < 1 << 16 else _head32(0xDB, size)) + data


def _number(value: int | float) -> bytes:
    return _encode(float(value) if abs(value) > _GREATEST else value)
