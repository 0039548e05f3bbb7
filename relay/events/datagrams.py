"""Events by UDP: nobody says whether one has arrived, so those are taken that could be sent."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import DatagramProtocol

from relay.config.schema import Sink
from relay.events import gelf, zonemta
from relay.events.reader import NotTaken
from relay.events.taker import Means, Taker
from relay.message.event import Numbered

#: For how long the address of a host is believed (seconds).
BELIEVED = 60.0


class Datagrams:
    """The taker."""

    def __init__(self, host: str, port: int, pack: Callable[[Numbered], Iterable[bytes]], means: Means) -> None:
        """`pack` gives what is to be sent of one event."""
        self.where = f"udp:{f'[{host}]' if ':' in host else host}:{port}"
        self._host = host
        self._port = port
        self._pack = pack
        self._means = means
        self._address = ""
        self._until = 0.0
        self._socket: Any = None

    def take(self, events: Sequence[Numbered]) -> Deferred[int]:
        """Fails with NotTaken, or why the host isn't found."""
        return Deferred.fromCoroutine(self._take(events))

    def stop(self) -> None:
        if self._socket is not None:
            self._socket.stopListening()
            self._socket = None
            self._address = ""

    async def _take(self, events: Sequence[Numbered]) -> int:
        await self._find()
        try:
            for one in events:
                for data in self._pack(one):
                    self._socket.write(data, (self._address, self._port))
        except OSError as error:
            raise NotTaken(f"{self.where}: {error.strerror or error}") from None
        return 0

    async def _find(self) -> None:
        """Have the address, and a socket that can reach it."""
        now = self._means.reactor.seconds()
        if self._address and now < self._until:
            return
        address = (await located(self._host, self._means))[0]
        if address != self._address:
            self.stop()
        if self._socket is None:
            everywhere = "::" if ":" in address else ""
            self._socket = self._means.reactor.listenUDP(0, DatagramProtocol(), interface=everywhere)
        self._address, self._until = address, now + BELIEVED


async def located(host: str, means: Means) -> list[str]:
    """The addresses of a host, by its name or address; at least one. Fails with why there is none."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        return await means.addresses(host)


def zonemta_maker(name: str, section: Sink, means: Means) -> Datagrams:
    """ZoneMTA's remote log."""
    return Datagrams(section.host, section.port or zonemta.PORT, lambda one: (zonemta.datagram(one),), means)


def gelf_maker(name: str, section: Sink, means: Means) -> Taker:
    """GELF by what the section says."""
    port = section.port or gelf.PORT
    if section.transport == "tcp":
        from relay.events.gelf_tcp import GelfTcp

        return GelfTcp(section.host, port, section.timeout, means)
    return Datagrams(
        section.host, port, lambda one: gelf.datagrams(gelf.record(one, means.hostname), os.urandom(8)), means
    )
