"""Local addresses that leave the machine and come back."""

from __future__ import annotations

import errno
import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.net.plumbed import EVERY, Plumbed, reason_against
from relay.zone.decision import Decision, Scope


class PlumbedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.away: dict[str, str | OSError] = {}
        self.told: list[Decision] = []
        self.asked: list[str] = []
        addresses = ["192.0.2.1", "2001:db8::1", "0.0.0.0", "::", "192.0.2.1"]
        self.plumbed = Plumbed(addresses, self.told.append, self.clock, self.now, self.against)

    def now(self) -> int:
        return round(self.clock.seconds() * 1000)

    def against(self, address: str) -> str:
        self.asked.append(address)
        answer = self.away.get(address, "")
        if isinstance(answer, OSError):
            raise answer
        return answer

    def test_at_the_start_and_every_half_minute(self) -> None:
        self.away["192.0.2.1"] = "Cannot assign requested address"
        self.plumbed.start()
        gone = Decision("address-gone", Scope(address="192.0.2.1"), f"it can't be bound: {self.away['192.0.2.1']}", 0)
        self.assertEqual((self.plumbed.gone, self.told), ({"192.0.2.1"}, [gone]))
        self.clock.advance(EVERY)
        self.assertEqual(len(self.told), 1)
        self.away = {"2001:db8::1": "x"}
        self.clock.advance(EVERY - 1)
        self.assertEqual(self.plumbed.gone, {"192.0.2.1"})
        self.clock.advance(1)
        self.assertEqual(self.plumbed.gone, {"2001:db8::1"})
        told = [(one.kind, one.scope.address, one.made) for one in self.told[1:]]
        self.assertEqual(told, [("address-back", "192.0.2.1", 60_000), ("address-gone", "2001:db8::1", 60_000)])

    def test_wildcards_are_never_gone(self) -> None:
        self.plumbed.start()
        self.assertEqual(sorted(self.asked), ["192.0.2.1", "2001:db8::1"])
        nothing = Plumbed(["0.0.0.0", "::"], self.told.append, self.clock, self.now, self.against)
        nothing.start()
        nothing.stop()
        self.assertEqual(len(self.asked), 2)

    def test_what_can_not_be_told_stays_as_it_was(self) -> None:
        self.away["192.0.2.1"] = "x"
        self.plumbed.start()
        self.away = dict.fromkeys(self.asked, OSError(errno.EMFILE, "Too many open files"))
        self.clock.advance(EVERY)
        self.assertEqual((self.plumbed.gone, len(self.told)), ({"192.0.2.1"}, 1))

    def test_an_error_of_who_is_told_ends_nothing(self) -> None:
        def decided(decision: Decision) -> None:
            self.assertEqual(plumbed.gone, {"192.0.2.1"})
            self.told.append(decision)
            raise RuntimeError("of ours")

        plumbed = Plumbed(["192.0.2.1"], decided, self.clock, self.now, self.against)
        self.away["192.0.2.1"] = "x"
        plumbed.start()
        self.away = {}
        plumbed._decided = self.told.append
        self.clock.advance(EVERY)
        self.assertEqual([one.kind for one in self.told], ["address-gone", "address-back"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_stop_ends_it(self) -> None:
        self.plumbed.start()
        self.plumbed.stop()
        self.plumbed.stop()
        self.clock.advance(10 * EVERY)
        self.assertEqual(len(self.asked), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class OnThisMachine(SynchronousTestCase):
    def test_here_and_elsewhere(self) -> None:
        self.assertEqual(reason_against("127.0.0.1"), "")
        # Of TEST-NET-3 (RFC 5737): it is on no machine.
        self.assertEqual(reason_against("203.0.113.77"), os.strerror(errno.EADDRNOTAVAIL))
