"""A closed-loop source for machines without smtp-source, with the same few options; and one huge message.

python -m bench.source -s 20 -m 8000 -l 1024 -f a@b -t c@d [-d] 127.0.0.1:2525
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator

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


async def run(a: argparse.Namespace) -> None:
    host, port = a.server.rsplit(":", 1)
    left = [a.m]

    async def session() -> None:
        client = None
        while left[0] > 0:
            left[0] -= 1
            client = client or await Client.open(host, int(port))
            await client.send(a.f, [a.t], text(a.l, a.f, a.t))
            if not a.d:
                await client.quit()
                client = None
        if client:
            await client.quit()

    await asyncio.gather(*(session() for _ in range(a.s)))


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
    p.add_argument("server")
    try:
        asyncio.run(run(p.parse_args()))
    except (OSError, Refused) as e:
        sys.exit(f"source: {e}")
