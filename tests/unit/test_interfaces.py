"""The addresses of network interfaces, and zones that send from all of them."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from relay.config import interfaces
from relay.config.interfaces import NoInterface
from relay.config.load import ConfigError, parse


class OnThisMachine(SynchronousTestCase):
    def test_the_loopback(self) -> None:
        self.assertIn("lo", interfaces.names())
        self.assertIn("127.0.0.1", interfaces.addresses("lo"))

    def test_one_that_is_not_there(self) -> None:
        for name in ("no-such-if", "", "x" * 300, "a\0b"):
            self.assertIn("lo", str(self.assertRaises(NoInterface, interfaces.addresses, name)))


class Kernel:
    """A netlink socket that answers with what it was made from."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *error: object) -> None: ...
    def settimeout(self, seconds: float) -> None: ...
    def bind(self, address: object) -> None: ...
    def send(self, data: bytes) -> None: ...
    def recv(self, size: int) -> bytes:
        return self._pieces.pop(0)


def framed(kind: int, body: bytes = b"") -> bytes:
    return interfaces._header.pack(interfaces._header.size + len(body), kind, 2, 1, 0) + body


def entry(index: int, *attributes: tuple[int, str], flags: int = 0, scope: int = 0) -> bytes:
    family = socket.AF_INET6 if ":" in attributes[0][1] else socket.AF_INET
    body = interfaces._about.pack(family, 24, flags, scope, index)
    for kind, address in attributes:
        packed = socket.inet_pton(family, address)
        body += interfaces._attribute.pack(4 + len(packed), kind) + packed
    return framed(20, body)


class Messages(SynchronousTestCase):
    def told(self, *pieces: bytes) -> list[tuple[int, str]]:
        self.patch(interfaces.socket, "socket", lambda *kind: Kernel(*pieces))
        return list(interfaces._all())

    def test_in_several_pieces(self) -> None:
        one, two = entry(1, (1, "192.0.2.1")), entry(2, (1, "2001:db8::1"))
        for pieces in ((one + two + framed(3),), (one, two, framed(3)), (one + two, framed(3))):
            self.assertEqual(self.told(*pieces), [(1, "192.0.2.1"), (2, "2001:db8::1")])

    def test_the_near_end_of_a_link(self) -> None:
        self.assertEqual(self.told(entry(1, (1, "192.0.2.9"), (2, "192.0.2.1")), framed(3)), [(1, "192.0.2.1")])

    def test_those_that_are_no_use(self) -> None:
        """Good for one link alone, or passing; the same bit says of IPv4 that it is a second one, which is fine."""
        passing = [entry(1, (1, "2001:db8::1"), flags=flags) for flags in (0x01, 0x08, 0x20, 0x40)]
        second = entry(1, (1, "192.0.2.2"), flags=0x81)
        pieces = [*passing, entry(1, (1, "fe80::1"), scope=253), second, framed(3)]
        self.assertEqual(self.told(*pieces), [(1, "192.0.2.2")])

    def test_an_error(self) -> None:
        self.patch(interfaces.socket, "socket", lambda *kind: Kernel(framed(2)))
        self.assertRaises(OSError, list, interfaces._all())


class ZonesOfInterfaces(SynchronousTestCase):
    def read(self, text: str, *addresses: str) -> tuple[str, ...]:
        self.patch(interfaces, "addresses", lambda name: addresses)
        return parse(text, "f").zones["a"].addresses

    def test_its_addresses_join_those_of_the_zone(self) -> None:
        text = "[zones.a]\ninterface = 'eth1'\naddresses = ['192.0.2.1', '2001:DB8:0::1']\n"
        found = self.read(text, "192.0.2.1", "192.0.2.2", "2001:db8::1")
        self.assertEqual(found, ("192.0.2.1", "2001:DB8:0::1", "192.0.2.2"))

    def test_those_in_the_pool_are_not_given_twice(self) -> None:
        text = "[pools]\ndefault = [{ address = '192.0.2.1', ratio = 0.05 }]\n[zones.a]\ninterface = 'eth1'\n"
        self.assertEqual(self.read(text, "192.0.2.1", "192.0.2.2"), ("192.0.2.2",))

    def test_none(self) -> None:
        error = self.assertRaises(ConfigError, self.read, "[zones.a]\ninterface = 'eth1'\n")
        self.assertEqual(str(error), 'f:2: zones.a.interface: expected an interface with an address, "eth1" has none')

    def test_a_kernel_that_does_not_answer(self) -> None:
        def addresses(name: str) -> tuple[str, ...]:
            raise OSError("timed out")

        self.patch(interfaces, "addresses", addresses)
        error = self.assertRaises(ConfigError, parse, "[zones.a]\ninterface = 'eth1'\n", "f")
        self.assertIn("f:2: zones.a.interface: the addresses of \"eth1\" can't be read: timed out", str(error))
