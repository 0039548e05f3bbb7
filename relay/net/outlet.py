"""Writing to a socket at once, without a turn of the reactor and two calls of epoll.

For conversations whose every step is one small write, Twisted's buffered way costs as much
as the step itself. Whatever the socket does not take goes to the transport's buffer, which
from then on keeps the order. Over TLS a step is encrypted at once: Twisted would wait a turn for more to encrypt
with it, and nothing comes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOProtocol


class Outlet:
    """The writing side of one transport."""

    __slots__ = ("_buffer", "_direct", "_secure", "_transport")

    def __init__(self, transport: Any) -> None:
        """A transport that is no plain TCP connection of Twisted's is always written to through
        its buffer. Nobody else may write to it, but for a last word."""
        self._transport = transport
        # With TLS what waits is in the connection below.
        below = getattr(transport, "transport", transport)
        self._buffer = below if isinstance(below, FileDescriptor) else None
        self._direct = isinstance(transport, Connection) and not transport.TLS
        inside = transport.protocol if isinstance(transport, Connection) else transport
        self._secure = inside if isinstance(inside, TLSMemoryBIOProtocol) else None

    @property
    def waiting(self) -> int:
        """Bytes that the socket has not taken yet."""
        buffer = self._buffer
        if self._direct or buffer is None:
            return 0
        return len(buffer.dataBuffer) - buffer.offset + int(buffer._tempDataLen)

    def write(self, data: bytes) -> None:
        """Send `data` now if the socket takes all of it, else as soon as it does."""
        if self._direct:
            sent = self._transport.writeSomeData(data)
            if sent == len(data):
                return
            self._direct = False
            if isinstance(sent, int):  # Else the connection is lost, which write() finds out.
                data = data[sent:]
        if self._secure is None:
            self._transport.write(data)
        else:
            TLSMemoryBIOProtocol.write(self._secure, data)  # The class above it is the one that waits.
