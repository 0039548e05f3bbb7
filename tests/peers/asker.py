"""An HTTP client that writes whatever it is told to, and reads answers with a deadline.

It keeps to no rule of the protocol by itself; what it reads has to be HTTP to the letter.
"""

from __future__ import annotations

import re
import socket
import struct
from typing import NamedTuple

#: How long an answer may take (seconds).
PATIENCE = 20.0
_status = re.compile(rb"HTTP/1\.1 (\d{3}) [ -~]*").fullmatch
_field = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([ -~\t\x80-\xff]*)").fullmatch


class Said(NamedTuple):
    """One answer. Names of fields are in lower case."""

    status: int
    fields: dict[str, str]
    body: bytes


class Asker:
    """One connection to the API.

    Attributes:
        ended: the relay has closed or reset it.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", source: str = "") -> None:
        self.socket = socket.create_connection((host, port), PATIENCE, (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.ended = False
        self._buffer = b""

    def __enter__(self) -> Asker:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def write(self, data: bytes) -> None:
        """Write without waiting for an answer; to one who has closed, it is written in vain."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # what was said before can still be read

    def answer(self, *, bodiless: bool = False) -> Said | None:
        """The next answer; None when there is none and never will be. `bodiless`: that to a HEAD.

        Raises:
            AssertionError: it isn't HTTP.
            TimeoutError: nothing came for too long.
        """
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                assert not self._buffer, f"half an answer: {self._buffer[:500]!r}"
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        begun = _status(first)
        assert begun, f"no status line: {first[:500]!r}"
        fields: dict[str, str] = {}
        for line in lines:
            found = _field(line)
            assert found, f"no field: {line[:500]!r}"
            name = found[1].decode().lower()
            assert name not in fields, f"{name} twice: {head[:500]!r}"
            fields[name] = found[2].decode("latin-1")
        status = int(begun[1])
        if bodiless or status < 200 or status in (204, 304):
            return Said(status, fields, b"")
        if fields.get("transfer-encoding") == "chunked":
            return Said(status, fields, self._chunks())
        if "content-length" in fields:
            return Said(status, fields, self._take(int(fields["content-length"])))
        while self._more():
            pass
        body, self._buffer = self._buffer, b""
        return Said(status, fields, body)

    @property
    def has_answer(self) -> bool:
        """Whether the header of one was read and not yet asked for."""
        return b"\r\n\r\n" in self._buffer

    def all(self) -> list[Said]:
        """The answers up to the end, which the relay has to make."""
        answers = []
        while (answer := self.answer()) is not None:
            answers.append(answer)
        return answers

    def say(self, data: bytes) -> Said:
        """Write, and read the answer there has to be."""
        self.write(data)
        answer = self.answer()
        assert answer is not None, "closed without an answer"
        return answer

    def trickle(self, data: bytes) -> bool:
        """Write as much as goes without waiting, and read what is there; whether it is still open."""
        self.socket.settimeout(0)
        try:
            if data:
                self.socket.send(data)
            read = self.socket.recv(65536)
            self._buffer += read
            self.ended = not read
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self.ended = True
        finally:
            self.socket.settimeout(PATIENCE)
        return not self.ended

    def reset(self) -> None:
        """End it by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self.socket.close()

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            assert self._more(), f"{len(self._buffer)} bytes of {size}"
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self._buffer:
                assert self._more(), "half a chunk"
            size, _, self._buffer = self._buffer.partition(b"\r\n")
            chunk = self._take(int(size, 16) + 2)
            assert chunk.endswith(b"\r\n"), "a chunk without its end"
            if len(chunk) == 2:
                return body
            body += chunk[:-2]

    def _more(self) -> bool:
        if self.ended:
            return False
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self._buffer += data
        self.ended = not data
        return not self.ended


def request(method: str, target: str | bytes, body: bytes | None = None, *fields: str | bytes) -> bytes:
    """A request as it should be, with these fields besides: `Name: value`."""
    named = [field.encode() if isinstance(field, str) else field for field in fields]
    if not any(field.lower().startswith(b"host:") for field in named):
        named.insert(0, b"Host: 127.0.0.1")
    if body is not None:
        named.append(b"Content-Length: %d" % len(body))
    path = target.encode() if isinstance(target, str) else target
    return b"%b %b HTTP/1.1\r\n%b\r\n\r\n%b" % (method.encode(), path, b"\r\n".join(named), body or b"")
