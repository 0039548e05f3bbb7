"""A closed-loop source with the options of smtp-source, and TLS and AUTH; and one huge message.

    python -m bench.source -s 20 -m 8000 -l 1024 -f a@b -t c@d [-d] [--tls starttls|implicit]
                           [--user U --password P] [--wait] 127.0.0.1:2525

Each session is a process of its own that waits for one reply at a time, as smtp-source does: no loop
and no thread stands between it and its socket, so that the server is what is measured. No certificate
is checked, and no TLS session taken up again: each connection costs the server a whole handshake.
With --wait it says "ready" and begins when it gets a line.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import multiprocessing
import socket
import ssl
import sys
from collections.abc import Iterator
from multiprocessing.sharedctypes import Synchronized

LINE = b"abcdefghijklmnopqrstuvwxyz 0123456789 abcdefghijklmnopqrstuvwxyz 0123456789\r\n"


class Refused(Exception):
    """The server answered otherwise than hoped."""


class Client:
    """One SMTP session over asyncio streams; every wait is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, host: str, port: int) -> Client:
        client = cls(*await asyncio.open_connection(host, port))
        await client.expect(b"220")
        await client.say(b"EHLO source.test\r\n", b"250")
        return client

    async def expect(self, code: bytes, timeout: float = 600.0) -> bytes:
        """The last line of the next reply, which has to begin with this code."""
        while True:
            line = await asyncio.wait_for(self.reader.readline(), timeout)
            if line[3:4] != b"-":
                if not line.startswith(code):
                    raise Refused(line.decode("latin-1").strip() or "connection closed")
                return line

    async def say(self, words: bytes, code: bytes) -> bytes:
        self.writer.write(words)
        return await self.expect(code)

    async def send(self, sender: str, recipients: list[str], pieces: Iterator[bytes]) -> bytes:
        """One message, its text in pieces (CRLF ended, no dot to be stuffed). Returns the last reply."""
        await self.say(f"MAIL FROM:<{sender}>\r\n".encode(), b"250")
        for start in range(0, len(recipients), 100):
            some = recipients[start : start + 100]
            self.writer.write("".join(f"RCPT TO:<{r}>\r\n" for r in some).encode())
            for _ in some:
                await self.expect(b"25")
        await self.say(b"DATA\r\n", b"354")
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
        return await self.say(b".\r\n", b"250")

    async def quit(self) -> None:
        await self.say(b"QUIT\r\n", b"221")
        self.writer.close()


def text(size: int, sender: str, recipient: str) -> Iterator[bytes]:
    """A message of about `size` bytes, in pieces of at most 1 MiB."""
    head = f"From: <{sender}>\r\nTo: <{recipient}>\r\nSubject: bench\r\n\r\n".encode()
    left = max(len(LINE), size - len(head))
    if left <= 1 << 20:
        yield head + LINE * (left // len(LINE))
        return
    yield head
    block = LINE * ((1 << 20) // len(LINE))
    while left >= len(LINE):
        piece = block if left >= len(block) else LINE * (left // len(LINE))
        yield piece
        left -= len(piece)


class Session:
    """One connection, blocking."""

    def __init__(self, host: str, port: int, a: argparse.Namespace, context: ssl.SSLContext) -> None:
        self.socket: socket.socket = socket.create_connection((host, port), 600)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if a.tls == "implicit":
            self.socket = context.wrap_socket(self.socket)
        self.expect(b"220")
        self.say(b"EHLO source.test\r\n", b"250")
        if a.tls == "starttls":
            self.say(b"STARTTLS\r\n", b"220")
            self.socket = context.wrap_socket(self.socket)
            self.say(b"EHLO source.test\r\n", b"250")
        if a.user:
            login = base64.b64encode(f"\0{a.user}\0{a.password}".encode())
            self.say(b"AUTH PLAIN " + login + b"\r\n", b"235")

    def expect(self, code: bytes) -> None:
        """One reply of any number of lines; its last line ends what has come."""
        reply = b""
        while not reply.endswith(b"\r\n") or reply[reply.rfind(b"\n", 0, -1) + 1 :][3:4] == b"-":
            piece = self.socket.recv(4096)
            if not piece:
                raise Refused("connection closed")
            reply += piece
        if not reply.startswith(code):
            raise Refused(reply.decode("latin-1").strip())

    def say(self, words: bytes, code: bytes) -> None:
        self.socket.sendall(words)
        self.expect(code)

    def send(self, steps: list[tuple[bytes, bytes]]) -> None:
        for words, code in steps:
            self.say(words, code)

    def quit(self) -> None:
        self.say(b"QUIT\r\n", b"221")
        self.socket.close()


def work(a: argparse.Namespace, left: Synchronized[int]) -> None:
    """Send as many of the messages that are left as come to this session."""
    host, port = a.server.rsplit(":", 1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    steps = [
        (f"MAIL FROM:<{a.f}>\r\n".encode(), b"250"),
        (f"RCPT TO:<{a.t}>\r\n".encode(), b"25"),
        (b"DATA\r\n", b"354"),
        (b"".join(text(a.l, a.f, a.t)) + b".\r\n", b"250"),
    ]
    session = None
    try:
        while True:
            with left.get_lock():
                if left.value <= 0:
                    break
                left.value -= 1
            session = session or Session(host, int(port), a, context)
            session.send(steps)
            if not a.d:
                session.quit()
                session = None
        if session:
            session.quit()
    except (OSError, Refused) as error:
        sys.exit(f"source: {error}")


def run(a: argparse.Namespace) -> int:
    """All sessions to their end; 1 when one of them failed."""
    forking = multiprocessing.get_context("fork")
    left = forking.Value("l", a.m)
    sessions = [forking.Process(target=work, args=(a, left)) for _ in range(a.s)]
    if a.wait:
        print("ready", flush=True)
        sys.stdin.readline()
    for session in sessions:
        session.start()
    for session in sessions:
        session.join()
    return int(any(session.exitcode for session in sessions))


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, kind, default in (
        ("s", int, 1),
        ("m", int, 1),
        ("l", int, 1024),
        ("f", str, "a@src.test"),
        ("t", str, "b@remote.test"),
    ):
        p.add_argument(f"-{name}", type=kind, default=default)
    p.add_argument("-d", action="store_true", help="keep connections")
    p.add_argument("--tls", choices=("off", "starttls", "implicit"), default="off")
    p.add_argument("--user", default="")
    p.add_argument("--password", default="")
    p.add_argument("--wait", action="store_true")
    p.add_argument("server")
    sys.exit(run(p.parse_args()))
