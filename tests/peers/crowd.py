"""Many SMTP clients in one process, none of them well-behaved: idle, slow, deaf, or gone in the midst.

A Crowd runs a loop of its own in a thread, so that ten thousand sockets need neither as many
threads nor the reactor of the test.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")
#: Reply lines that are kept of each client: the last ones.
_KEPT = 8


class Client(asyncio.Protocol):
    """One connection and what it was told."""

    __slots__ = ("_buffer", "_waiting", "counts", "kept", "lost", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self.counts: Counter[str] = Counter()
        self.kept: list[str] = []
        self.lost = False
        self._buffer = b""
        self._waiting: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\r\n")
        for line in lines:
            if line[3:4] != b"-":
                text = line.decode("latin-1")
                self.counts[text[:3]] += 1
                self.kept = [*self.kept[1 - _KEPT :], text]
        self._wake()

    def connection_lost(self, reason: Exception | None) -> None:
        self.lost = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    @property
    def replies(self) -> int:
        return self.counts.total()

    async def until(self, replies: int) -> None:
        """Wait for so many replies in all, or the end."""
        while self.replies < replies and not self.lost:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting

    async def say(self, data: bytes, replies: int = 1) -> str:
        """Write, and wait for so many more replies; the last one, "" when the connection is lost."""
        expected = self.replies + replies
        self.transport.write(data)
        await self.until(expected)
        return self.kept[-1] if self.replies >= expected else ""

    async def message(self, recipient: str) -> str:
        """One small message in one session that stays open; the last reply there was."""
        text = f"From: <crowd@src.test>\r\nTo: <{recipient}>\r\n\r\nhello\r\n.\r\n"
        for step in ("MAIL FROM:<crowd@src.test>\r\n", f"RCPT TO:<{recipient}>\r\n", "DATA\r\n", text):
            answer = await self.say(step.encode())
            if answer[:1] not in ("2", "3"):
                break
        return answer

    def reset(self) -> None:
        """Cut it by RST."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class Crowd:
    """A thread with a loop, and the clients in it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.clients: list[Client] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T], timeout: float = 120.0) -> _T:
        """Do it in the loop, and wait for it in this thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def close(self) -> None:
        """Cut all by RST, so that no port stays taken, and end."""
        try:
            self.run(self._close(), 30.0)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self.cut(self.clients)

    async def cut(self, clients: Sequence[Client]) -> None:
        """Cut these by RST and forget them."""
        going = set(clients)
        for client in going:
            if not client.lost:
                client.reset()
        self.clients = [client for client in self.clients if client not in going]
        await asyncio.sleep(0.01)

    async def join(
        self,
        count: int,
        hosts: Sequence[str] = ("127.0.0.1",),
        words: bytes = b"",
        replies: int = 1,
        at_once: int = 200,
        receive_buffer: int = 0,
    ) -> list[Client]:
        """So many more, from these addresses in turn. Each waits for its greeting, says `words` and
        waits for `replies` in all; one that is turned away is among them, with what it was told."""
        gate = asyncio.Semaphore(at_once)

        async def one(host: str) -> Client:
            async with gate:
                client = Client()
                sock = socket.socket()
                sock.setblocking(False)
                if receive_buffer:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                sock.bind((host, 0))
                try:
                    await self._loop.sock_connect(sock, ("127.0.0.1", self.port))
                    await self._loop.create_connection(lambda: client, sock=sock)
                except OSError:
                    sock.close()
                    client.lost = True
                    return client
                await client.until(1)
                if words and not client.lost:
                    client.transport.write(words)
                await client.until(replies)
                return client

        came = await asyncio.gather(*(one(host) for host in itertools.islice(_around(hosts), count)))
        self.clients += came
        return came

    async def trickle(self, clients: Sequence[Client], data: bytes, every: float = 1.0) -> None:
        """From now on each of them sends a byte of `data` now and then, and never comes to an end."""
        self._tasks.add(self._loop.create_task(self._trickle(list(clients), data, every)))

    async def _trickle(self, clients: list[Client], data: bytes, every: float) -> None:
        for byte in itertools.cycle(data):
            slices = 20  # not all in the same instant
            for part in range(slices):
                for client in clients[part::slices]:
                    if not client.lost:
                        client.transport.write(bytes((byte,)))
                await asyncio.sleep(every / slices)

    # -- what can be asked from any thread

    def told(self, code: str) -> int:
        """How many of them have got such a reply."""
        return sum(code in client.counts for client in list(self.clients))

    def gone(self) -> int:
        return sum(client.lost for client in list(self.clients))


def addresses(count: int) -> list[str]:
    """Loopback addresses, none of which is 127.0.0.1."""
    return [f"127.0.{1 + n // 250}.{1 + n % 250}" for n in range(count)]


def _around(hosts: Sequence[str]) -> Iterator[str]:
    return itertools.cycle(hosts)
