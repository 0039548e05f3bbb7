"""The PROXY header, by which a balancer says for whom it has connected (HAProxy's proxy-protocol.txt).

Versions 1 (a line) and 2 (binary), without a socket: bytes go in, in any split; the address and
what follows the header come out. Only what is said of TCP counts; whatever else a balancer may
state, also that it speaks for itself, leaves the address of the connection as it is.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

#: Longest header of version 1, CRLF included (section 2.1), and the longest of version 2 that is taken (bytes).
LONGEST_1 = 107
LONGEST_2 = 2048

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_WORD = b"PROXY "
_LOCAL, _PROXY = 0x20, 0x21
#: Family and protocol of version 2, with the length of both addresses and ports.
_UNSPEC, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_LENGTHS = {_UNSPEC: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}


class ProxyError(Exception):
    """What came is no PROXY header; the text says why, without a byte of it."""


class Client(NamedTuple):
    """Address and port that a header states."""

    host: str
    port: int


class ProxyHeader:
    """Reads one header.

    Attributes:
        client: whom it states, once it is complete; None: the connection speaks for itself.
        rest: what came behind it.
    """

    __slots__ = ("_buffer", "client", "rest")

    def __init__(self) -> None:
        self._buffer = b""
        self.client: Client | None = None
        self.rest = b""

    def feed(self, data: bytes) -> bool:
        """Take bytes; whether the header is complete. Raises ProxyError, then feed no more."""
        self._buffer += data
        if self._buffer.startswith(_SIGNATURE):
            end = self._second()
        elif self._buffer.startswith(_WORD):
            end = self._first()
        elif _SIGNATURE.startswith(self._buffer) or _WORD.startswith(self._buffer):
            return False
        else:
            raise ProxyError("it begins with something else")
        if not end:
            return False
        self.rest = self._buffer[end:]
        self._buffer = b""
        return True

    def _first(self) -> int:
        """Section 2.1. The length of the header, 0 while it is incomplete."""
        end = self._buffer.find(b"\r\n", 0, LONGEST_1)
        if end >= 0:
            self.client = _line(self._buffer[len(_WORD) : end])
            return end + 2
        if len(self._buffer) >= LONGEST_1:
            raise ProxyError(f"its line is longer than {LONGEST_1} bytes")
        return 0

    def _second(self) -> int:
        """Section 2.2. The length of the header, 0 while it is incomplete."""
        buffer, start = self._buffer, len(_SIGNATURE) + 4
        if len(buffer) < start:
            return 0
        command, family, length = buffer[12], buffer[13], int.from_bytes(buffer[14:start], "big")
        if command not in (_LOCAL, _PROXY):
            raise ProxyError("its version or command is unknown")
        if start + length > LONGEST_2:
            raise ProxyError(f"it is longer than {LONGEST_2} bytes")
        if command == _PROXY and length < _LENGTHS.get(family, LONGEST_2):
            raise ProxyError("its family is unknown, or longer than the header")
        if len(buffer) < start + length:
            return 0
        if command == _PROXY:
            self.client = _addresses(family, buffer[start:])
        return start + length


def _line(words: bytes) -> Client | None:
    """What stands behind PROXY."""
    family, *stated = words.split(b" ")
    if family == b"UNKNOWN":
        return None
    if family not in (b"TCP4", b"TCP6") or len(stated) != 4:
        raise ProxyError("its line is malformed")
    source, destination, source_port, destination_port = stated
    _address(family, destination)
    _port(destination_port)
    return Client(_address(family, source), _port(source_port))


def _address(family: bytes, text: bytes) -> str:
    kind = ipaddress.IPv4Address if family == b"TCP4" else ipaddress.IPv6Address
    try:
        address = kind(text.decode("ascii"))
    except ValueError:
        raise ProxyError("an address in it is malformed") from None
    if b"%" in text:
        raise ProxyError("an address in it has a scope")
    return str(address)


def _port(text: bytes) -> int:
    if not text.isdigit() or len(text) > 5 or (text[:1] == b"0" and text != b"0") or int(text) > 65535:
        raise ProxyError("a port in it is malformed")
    return int(text)


def _addresses(family: int, block: bytes) -> Client | None:
    if family == _TCP4:
        return Client(str(ipaddress.IPv4Address(block[:4])), int.from_bytes(block[8:10], "big"))
    if family == _TCP6:
        return Client(str(ipaddress.IPv6Address(block[:16])), int.from_bytes(block[32:34], "big"))
    return None


def encode_1(client: Client | None, server: Client | None = None) -> bytes:
    """The header of version 1 that states `client`, connected to `server`; None: unknown."""
    if client is None:
        return b"PROXY UNKNOWN\r\n"
    server = server or client
    family = "TCP6" if ":" in client.host else "TCP4"
    return f"PROXY {family} {client.host} {server.host} {client.port} {server.port}\r\n".encode("ascii")


def encode_2(client: Client | None, server: Client | None = None, extra: bytes = b"") -> bytes:
    """The same in version 2; None: LOCAL. `extra` are the TLVs behind the addresses."""
    if client is None:
        return _SIGNATURE + struct.pack("!BBH", _LOCAL, _UNSPEC, len(extra)) + extra
    server = server or client
    family = _TCP6 if ":" in client.host else _TCP4
    block = b"".join(ipaddress.ip_address(end.host).packed for end in (client, server))
    block += struct.pack("!HH", client.port, server.port) + extra
    return _SIGNATURE + struct.pack("!BBH", _PROXY, family, len(block)) + block
