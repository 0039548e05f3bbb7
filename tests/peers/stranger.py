"""An SMTP client that writes whatever it is told to, and reads replies with a deadline.

It keeps to no rule of the protocol by itself: that is left to who uses it.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

#: How long a reply may take (seconds).
PATIENCE = 20.0


class Stranger:
    """One connection to a listener.

    Attributes:
        ended: the relay has closed or reset it.
    """

    def __init__(self, port: int, source: str = "127.0.0.1", greeted: bool = True) -> None:
        """`greeted`: wait for the greeting, and keep it in `greeting`."""
        self.socket: Any = socket.create_connection(("127.0.0.1", port), PATIENCE, (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ended = False
        self._buffer = b""
        self.greeting = self.reply() if greeted else ""

    def __enter__(self) -> Stranger:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Write without waiting for a reply; to one who has closed, it is written in vain."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self.ended = True

    def reply(self) -> str:
        """The last line of the next reply; "" when there is none and never will be.

        Raises:
            TimeoutError: nothing came for too long.
        """
        while True:
            line, found, rest = self._buffer.partition(b"\r\n")
            if found:
                self._buffer = rest
                if not (line[:3].isdigit() and line.isascii() and len(line) <= 510 and line.decode().isprintable()):
                    raise AssertionError(f"this is no line of a reply: {line[:600]!r}")
                if line[3:4] != b"-":
                    return line.decode()
            elif not self._more():
                return ""

    def say(self, data: bytes) -> str:
        """Write, and wait for one reply."""
        self.write(data)
        return self.reply()

    def tell(self, data: bytes) -> str:
        """The same with a line."""
        return self.say(data + b"\r\n")

    def replies(self, data: bytes = b"") -> list[str]:
        """Write, and read until the relay closes: all replies there were."""
        self.write(data)
        found = []
        while answer := self.reply():
            found.append(answer)
        return found

    def hello(self) -> list[str]:
        """Say EHLO; what is offered."""
        self.write(b"EHLO stranger.test\r\n")
        offers: list[str] = []
        while True:
            while b"\r\n" not in self._buffer and self._more():
                pass
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            if not line.startswith(b"250"):
                raise AssertionError(f"EHLO got {line!r}")
            offers.append(line[4:].decode())
            if line[3:4] == b" ":
                return offers[1:]

    def secure(self) -> str:
        """STARTTLS and the handshake; the version of TLS."""
        answer = self.tell(b"STARTTLS")
        if not answer.startswith("220"):
            raise AssertionError(f"STARTTLS got {answer!r}")
        self.handshake()
        return str(self.socket.version())

    def handshake(self) -> None:
        """TLS from here on, with whatever certificate."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.socket = context.wrap_socket(self.socket)

    def close(self) -> None:
        self.socket.close()

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        self._buffer += data
        self.ended = self.ended or not data
        return bool(data)
