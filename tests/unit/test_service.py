"""What the relay tells its children at birth, and how it stops; nothing is really started here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from relay import service as module
from relay.access.roll import Roll
from relay.children import fence as fences
from relay.config.schema import Bounces, ClientTls, Config, Domain, Listener, Logs, Queue, Zone
from relay.queue.store import QueueUnusable
from relay.service import RelayService, StartupError
from tests.unit.suppression_rig import FakeShelf, a_list


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
        service.parts.ports = ports
        self.assertEqual(service.parts.briefings.sender("default", "x").own, ("192.0.2.1", "2001:db8::1"))
        self.assertEqual(service.parts.briefings.sender("high", "x").own, ("192.0.2.2",))

    def test_how_domains_are_reached(self) -> None:
        domains = {"default": Domain(), "four.test": Domain(ignore_ipv6="on")}
        service = RelayService(Config(hostname="relay.test", domains=domains), MemoryReactorClock())
        service.parts.ports = [("data channel", port("127.0.0.1", 25))]  # type: ignore[list-item]
        wanted = {"default": (False, False), "four.test": (True, False)}
        self.assertEqual(service.parts.briefings.sender("default", "x").ipv6, wanted)


class Part:
    """A part of the relay that notes what it is told, and ends when and as it is told to."""

    def __init__(self, name: str, told: list[str]) -> None:
        self._name = name
        self._told = told
        self.ends: Callable[[], Any] = lambda: succeed(None)

    def _is_told(self, what: str) -> Any:
        self._told.append(f"{self._name} {what}")
        return self.ends()

    def stop(self) -> Any:
        return self._is_told("stop")

    def stopListening(self) -> Any:
        return self._is_told("stop")

    def close(self) -> Any:
        return self._is_told("close")

    def close_connections(self) -> None:
        self._told.append(f"{self._name} close")

    def kill(self) -> None:
        self._told.append(f"{self._name} kill")

    living = 0

    def children(self) -> list[int]:
        return [0] * self.living


class Draining(SynchronousTestCase):
    """N17: the order of a stop, and its time."""

    limit = 10.0

    def setUp(self) -> None:
        self.told: list[str] = []
        self.reactor = MemoryReactorClock()
        self.service = RelayService(Config(hostname="relay.test", shutdown_timeout=self.limit), self.reactor)
        names = (
            "channel", "port", "listener", "second", "receivers", "api", "dispatch", "roster", "gate",
            "schedule", "store",
        )  # fmt: skip
        self.parts = {name: Part(name, self.told) for name in names}
        service: Any = self.service
        service.parts.ports = [("data channel", self.parts["channel"]), ("listener a", self.parts["port"])]
        service.parts.listeners._factories = {"a": self.parts["listener"], "b": self.parts["second"]}
        service._site = self.parts["api"]
        service.parts.dispatcher = self.parts["dispatch"]
        service.parts.roster = self.parts["roster"]
        service.parts.receivers = self.parts["receivers"]
        service.parts.gate = self.parts["gate"]
        service.parts.schedule = self.parts["schedule"]
        service.parts.store = self.parts["store"]

    def never(self, name: str) -> None:
        """This part does not end, whatever it is told."""
        self.parts[name].ends = Deferred

    def pass_time(self, seconds: float) -> None:
        self.reactor.pump([0.1] * round(seconds * 10))

    def test_the_order(self) -> None:
        self.assertIsNone(self.successResultOf(self.service.stopService()))
        self.assertEqual(
            self.told,
            [
                "port stop", "listener stop", "second stop", "receivers stop", "api close", "dispatch stop",
                "roster stop", "gate stop", "channel stop", "schedule stop", "store close",
            ],
        )  # fmt: skip
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_listeners_that_never_stop(self) -> None:
        """All are told at once, and cost half of the time together."""
        self.never("listener")
        self.never("second")
        done = self.service.stopService()
        self.assertEqual(self.told, ["port stop", "listener stop", "second stop", "receivers stop"])
        self.pass_time(self.limit / 2 - 0.2)
        self.assertNoResult(done)
        self.pass_time(0.4)
        self.assertIsNone(self.successResultOf(done))
        self.assertIn("roster stop", self.told)
        self.assertNotIn("roster kill", self.told)
        self.assertEqual(self.told[-1], "store close")

    def test_receivers_that_never_leave_are_killed_in_the_half_of_the_listeners(self) -> None:
        self.never("receivers")
        self.parts["receivers"].living = 2
        done = self.service.stopService()
        self.pass_time(self.limit / 2 + 0.2)
        self.assertEqual(self.told[-2:], ["receivers kill", "receivers stop"])
        self.pass_time(module._KILLED)
        self.assertIsNone(self.successResultOf(done))
        self.assertNotIn("roster kill", self.told)

    def test_children_have_what_is_left_of_the_time(self) -> None:
        for name in ("listener", "second", "roster"):
            self.never(name)
        done = self.service.stopService()
        self.pass_time(self.limit - 0.2)
        self.assertNotIn("roster kill", self.told)
        self.pass_time(0.4)
        self.assertEqual(self.told[-3:], ["roster stop", "roster kill", "roster stop"])
        self.assertNoResult(done)

    def test_the_queue_is_closed_after_killed_children_are_gone(self) -> None:
        self.never("roster")
        ended: Deferred[None] = Deferred()
        done = self.service.stopService()
        self.parts["roster"].ends = lambda: ended
        self.pass_time(self.limit + 0.2)
        self.assertNotIn("store close", self.told)
        ended.callback(None)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.told[-1], "store close")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_child_that_never_goes(self) -> None:
        self.never("roster")
        done = self.service.stopService()
        self.pass_time(self.limit + module._KILLED - 0.2)
        self.assertNotIn("store close", self.told)
        self.pass_time(0.4)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.told[-1], "store close")

    def test_trouble_in_one_part_stops_no_other(self) -> None:
        def breaks() -> Any:
            raise KeyError("bug")

        for name in ("port", "dispatch", "gate"):
            self.parts[name].ends = breaks
        self.assertIsNone(self.successResultOf(self.service.stopService()))
        for told in ("listener stop", "second stop", "api close", "schedule stop", "store close"):
            self.assertIn(told, self.told)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 3)


class Beginning(SynchronousTestCase):
    """What comes before the first offer."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.journals = Path(self.mktemp()) / "journal"
        self.journals.mkdir(parents=True)
        (self.journals / "00000001-1.0").touch()
        config = Config(hostname="relay.test", queue=Queue(path=str(self.journals.parent)))
        self.service = RelayService(config, self.reactor)
        self.told: list[str] = []
        service: Any = self.service
        service.parts.dispatcher = self.dispatch = Part("dispatch", self.told)
        self.dispatch.start = lambda: self.told.append("dispatch start")  # type: ignore[attr-defined]
        service.parts.ports = [("data channel", Part("channel", []))]
        service._site = Part("api", [])
        self.holder: int | None = 0
        self.patch(fences, "holder", lambda path: self.holder)

    def test_it_waits_for_orphans(self) -> None:
        self.service._start_sending()
        self.reactor.pump([0.1] * 20)
        self.assertEqual(self.told, [])

    def test_N17_a_stop_meanwhile_is_no_error(self) -> None:
        self.service._start_sending()
        with capturedLogs() as events:
            self.assertIsNone(self.successResultOf(self.service.stopService()))
            self.holder = None
            self.reactor.pump([0.1] * 20)
        self.assertEqual(self.told, ["dispatch stop"])
        self.assertEqual([event for event in events if "log_failure" in event], [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_no_trouble_keeps_mail_for_ever(self) -> None:
        def breaks(path: Path) -> int | None:
            raise KeyError("bug")

        self.patch(fences, "holder", breaks)
        self.service._start_sending()
        self.assertEqual(self.told, ["dispatch start"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)


class Refusing(SynchronousTestCase):
    """A start that fails says what it was, and leaves nothing open."""

    def refused(self, error: Exception | None, log: str = "", **keys: Any) -> str:
        config = Config(hostname="relay.test", logs=Logs(mail=log), **keys)
        self.patch(module, "spare_files", lambda *port: None)  # Ports in memory have no sockets.
        service: Any = RelayService(config, MemoryReactorClock())
        told: list[str] = []

        def opens() -> None:
            if error is not None:
                raise error

        service.parts.store = Part("store", told)
        service.parts.store.open, service.parts.store.newest = opens, ""
        service.parts.suppressions = a_list()
        service.parts.roll = Roll(FakeShelf(), service.parts.now)
        service.parts.store.on_writable = service.parts.store.on_broken = lambda call: None
        said = str(self.assertRaises(StartupError, service.startService))
        self.assertEqual((told, service.running), (["store close"], 0))
        return said

    def test_the_mail_log(self) -> None:
        said = self.refused(None, log="/nowhere/at/all.log")
        self.assertIn("the mail log can't be written", said)
        self.assertIn("/nowhere/at/all.log", said)

    def test_authorities_for_deliveries(self) -> None:
        said = self.refused(None, tls=ClientTls(authorities="/nowhere/at/all.pem"))
        self.assertTrue(said.startswith("tls.authorities: /nowhere/at/all.pem: it can't be read: "), said)

    def test_rules_for_bounces(self) -> None:
        said = self.refused(None, bounces=Bounces(rules="/nowhere/at/all.toml"))
        self.assertEqual(said, "/nowhere/at/all.toml: can't be read: No such file or directory")

    def test_a_certificate(self) -> None:
        """G01: a listener without a certificate that can be used."""
        listener = Listener(tls="implicit", certificate="/nowhere/at/all.pem")
        said = self.refused(None, listeners={"smtps": listener})
        expected = "listener smtps: certificate: /nowhere/at/all.pem: it can't be read: No such file or directory"
        self.assertEqual(said, expected)

    def test_an_endpoint(self) -> None:
        endpoint = "systemd:domain=INET:index=0"
        said = self.refused(None, listeners={"feeder": Listener(endpoint=endpoint)})
        expected = f"listener feeder: can't listen on {endpoint}: systemd has passed no such socket to this process"
        self.assertEqual(said, expected)

    def test_anything_else(self) -> None:
        said = self.refused(OSError(24, "Too many open files", "/var/queue"))
        self.assertEqual(said, "[Errno 24] Too many open files: '/var/queue'")
        self.assertEqual(self.refused(QueueUnusable("another has it")), "another has it")
