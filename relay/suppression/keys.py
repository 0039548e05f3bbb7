"""The list's keys on its shelf, and the short values that go with them.

| key | value |
| --- | --- |
| `g` whom | of an entry for everybody: its id without zeros in its middle, and its end if it has one (ms in 6 bytes) |
| `t` tenant whom | the same of an entry for one tenant, which stands there as 16 bytes of its BLAKE2b |
| `i` id | the entry, as a msgpack array; all bits of the id are turned round, so that the newest comes first |
| `x` expires kind … | empty: when what `kind` and the rest name (`i` id, or `s` and the key of a count) is over |
| `s` key | how many hard bounces the address of that key has had: the count, and the number of the last event counted |
| `n` | how many entries there are (8 bytes) |

*whom* is the domain and, of an address, a zero byte and the local part: what is mailed together lies together. All
look-ups go to `g` and `t`, and are fast as long as LevelDB has the tables with these open: they are kept small.
"""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache

COUNT = b"n"
ID_LENGTH = 12
#: Bytes of an id that are 0, unless thousands of millions were given in a second, and left out then.
_MIDDLE = slice(4, 8)
_SHORT = 8
#: Bytes of an end.
_END = 6
_u64 = struct.Struct(">Q")
_strikes = struct.Struct(">IQ")
_ALL = (1 << 96) - 1
#: Behind each entry, and behind each mark of an end.
ENTRIES_END = b"j"
ENDS_END = b"y"


def place(tenant: str, whom: str) -> bytes:
    """Where an entry for somebody is looked up."""
    local, at, domain = whom.rpartition("@")
    name = f"{domain}\0{local}" if at else domain
    return (b"t" + _digest(tenant) if tenant else b"g") + name.encode()


@lru_cache(1024)
def _digest(tenant: str) -> bytes:
    return hashlib.blake2b(tenant.encode(), digest_size=16).digest()


def link(id: str, expires: int) -> bytes:
    """What stands at a place; `expires` is before the year 10889."""
    own = bytes.fromhex(id)
    if not any(own[_MIDDLE]):
        own = own[: _MIDDLE.start] + own[_MIDDLE.stop :]
    return own + expires.to_bytes(_END, "big") if expires else own


def read_link(value: bytes) -> tuple[str, int]:
    """The id and the end. Raises ValueError."""
    length = len(value)
    ends = length in (_SHORT + _END, ID_LENGTH + _END)
    own, end = (value[:-_END], value[-_END:]) if ends else (value, b"")
    if len(own) == _SHORT:
        own = own[: _MIDDLE.start] + bytes(_MIDDLE.stop - _MIDDLE.start) + own[_MIDDLE.start :]
    if len(own) != ID_LENGTH:
        raise ValueError(f"not what stands at a place: {length} bytes")
    return own.hex(), int.from_bytes(end, "big")


def entry(id: str) -> bytes:
    """An entry's own key."""
    return b"i" + _turned(bytes.fromhex(id))


def id_of(key: bytes) -> str:
    """The id in an entry's own key."""
    return _turned(key[1:]).hex()


def _turned(id: bytes) -> bytes:
    return (_ALL ^ int.from_bytes(id, "big")).to_bytes(ID_LENGTH, "big")


def end(expires: int, key: bytes) -> bytes:
    """The mark of the end of an entry, or of a count, that has this key."""
    return b"x" + _u64.pack(expires) + key


def ended(until: int) -> tuple[bytes, bytes]:
    """The range of marks of all that is over at `until` (ms)."""
    return b"x", b"x" + _u64.pack(until + 1)


def read_end(key: bytes) -> tuple[int, bytes]:
    """When what is over, by its key."""
    return _u64.unpack_from(key, 1)[0], key[9:]


def strikes(place: bytes) -> bytes:
    """Where hard bounces of an address are counted."""
    return b"s" + place


def strike(count: int, event: int, expires: int) -> bytes:
    """A count of hard bounces, the last of them told by that event."""
    return _strikes.pack(count, event) + _u64.pack(expires)


def read_strike(value: bytes | None) -> tuple[int, int, int]:
    """The count, the event, the end. Raises struct.error."""
    return (*_strikes.unpack_from(value), *_u64.unpack_from(value, _strikes.size)) if value else (0, 0, 0)


def number(count: int) -> bytes:
    return _u64.pack(count)


def read_number(value: bytes | None) -> int:
    """Raises struct.error."""
    return _u64.unpack(value)[0] if value else 0
