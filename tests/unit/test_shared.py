"""One listening socket in two hands: here of one process, which the system does not mind."""

from __future__ import annotations

import os
import socket
import stat
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from relay.net.shared import adopt, hold


class Greeter(Factory):
    def __init__(self, word: bytes) -> None:
        self.word = word

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        protocol = Protocol()
        protocol.makeConnection = self._greet  # type: ignore[method-assign]
        return protocol

    def _greet(self, transport: Any) -> None:
        transport.protocol = Protocol()
        transport.write(self.word)
        transport.loseConnection()


class SharedTests(TestCase):
    async def listen(self, endpoint: str) -> Any:
        from twisted.internet import reactor

        port = await serverFromString(reactor, endpoint).listen(Greeter(b"master"))
        hold(port)
        return port

    def adopted(self, port: Any, word: bytes) -> Any:
        from twisted.internet import reactor

        return adopt(reactor, os.dup(port.fileno()), Greeter(word))

    async def greeted(self, family: int, address: Any) -> bytes:
        """What a client hears; b"" when nobody accepts it for a while, or it is refused."""
        from twisted.internet import reactor

        client = socket.socket(family)
        client.setblocking(False)
        self.addCleanup(client.close)
        if client.connect_ex(address) not in (0, 115):
            return b""
        for _ in range(50):
            await deferLater(reactor, 0.002)
            try:
                return client.recv(100)
            except BlockingIOError:
                pass
            except OSError:
                return b""
        return b""

    async def same_for(self, endpoint: str, family: int, address: Any = None) -> Any:
        port = await self.listen(endpoint)
        where = address or port.socket.getsockname()[:2]
        self.assertEqual(await self.greeted(family, where), b"")  # held: it waits in the backlog
        one, two = self.adopted(port, b"receiver"), self.adopted(port, b"receiver")
        self.assertEqual(await self.greeted(family, where), b"receiver")
        await maybeDeferred(one.stopListening)
        self.assertEqual(await self.greeted(family, where), b"receiver")
        await maybeDeferred(port.stopListening)
        if address is None:  # whoever has the socket goes on
            self.assertEqual(await self.greeted(family, where), b"receiver")
        await maybeDeferred(two.stopListening)
        self.assertEqual(await self.greeted(family, where), b"")

    async def test_tcp(self) -> None:
        await self.same_for("tcp:0:interface=127.0.0.1", socket.AF_INET)

    async def test_tcp6(self) -> None:
        await self.same_for("tcp6:0:interface=\\:\\:1", socket.AF_INET6)

    async def test_unix(self) -> None:
        path = os.path.relpath(self.mktemp())
        await self.same_for(f"unix:{path}:mode=600", socket.AF_UNIX, path)

    async def test_whose_file_it_is(self) -> None:
        path = os.path.relpath(self.mktemp())
        port = await self.listen(f"unix:{path}:mode=600")
        receiver = self.adopted(port, b"receiver")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        await maybeDeferred(receiver.stopListening)
        self.assertTrue(os.path.exists(path))
        await maybeDeferred(port.stopListening)
        self.assertFalse(os.path.exists(path))

    async def test_N19_no_descriptor_is_left(self) -> None:
        port = await self.listen("tcp:0:interface=127.0.0.1")
        self.addCleanup(port.stopListening)
        before = 0
        for number in range(4):
            if number == 1:  # Twisted reserves one for good with the first.
                before = len(os.listdir("/proc/self/fd"))
            ended: Deferred[None] = maybeDeferred(self.adopted(port, b"x").stopListening)
            await ended
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)
