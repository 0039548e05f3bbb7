"""What the relay tells its children at birth; the service itself is never started here."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Config, Zone
from relay.service import RelayService


class FakePort:
    def __init__(self, address: Any) -> None:
        self._address = address

    def getHost(self) -> Any:
        return self._address


def port(host: str, number: int) -> FakePort:
    return FakePort((IPv6Address if ":" in host else IPv4Address)("TCP", host, number))


class Briefings(SynchronousTestCase):
    def test_own_addresses(self) -> None:
        """Those of SMTP listeners at the zone's port; a wildcard tells of no address."""
        config = Config(hostname="relay.test", zones={"default": Zone(), "high": Zone(port=2525)})
        service = RelayService(config, MemoryReactorClock())
        ports: list[Any] = [
            ("data channel", port("127.0.0.1", 25)),
            ("listener one", port("192.0.2.1", 25)),
            ("listener two", port("2001:db8::1", 25)),
            ("listener three", port("192.0.2.2", 2525)),
            ("listener any", port("0.0.0.0", 25)),
            ("listener any6", port("::", 25)),
            ("listener local", FakePort(UNIXAddress("smtp.sock"))),
            ("API", port("192.0.2.3", 25)),
        ]
        service._ports = ports
        self.assertEqual(service._briefing("default", "x").own, ("192.0.2.1", "2001:db8::1"))
        self.assertEqual(service._briefing("high", "x").own, ("192.0.2.2",))
