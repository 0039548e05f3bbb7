"""Limits are one object for all who count by them, and forgotten when they say nothing any more."""

from __future__ import annotations

import gc

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Domain, Sender, Site, Zone
from relay.config.schema import Limits as Section
from relay.dispatch import limits as module
from relay.dispatch.capacity import Capacity
from relay.dispatch.connection import Connection
from relay.dispatch.gates import MOMENT, Connections, Shut
from relay.dispatch.leaving import Leaving
from relay.dispatch.limits import NONE, Limits, Senders, Way
from relay.dispatch.tokens import Tokens
from relay.zone.decision import Scope
from relay.zone.pool import Local
from tests.unit.dispatch_rig import FakeSites
from tests.unit.journey_rig import zones_of

LOCAL = Local("192.0.2.1", "relay.test", "", "")


class Scopes(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sites = FakeSites()
        self.sites.sections = {"big": Site(max_connections=2)}
        self.zones = zones_of(
            {"default": Domain(max_connections=5), "rated.test": Domain(messages=("1/m",), max_connections=0)},
            default=Zone(max_connections=9, address=Section(max_connections=1)),
            other=Zone(),
        )
        senders = Senders({"default": Sender(max_connections=3), "Me": Sender(max_connections=1, weight=20)})
        self.limits = Limits(self.zones, self.sites, senders, self.clock.seconds)

    def test_one_for_all(self) -> None:
        zone = self.zones["default"]
        a, b = (self.limits.way(zone, name, "big", "me") for name in ("a.test", "b.test"))
        self.assertIs(a, self.limits.way(zone, "a.test", "big", "me"))
        self.assertIsNot(a.counted[0], b.counted[0], "each domain has its own")
        scopes = [Scope(zone="default", site="big"), Scope(zone="default")]
        self.assertEqual([gate.scope for gate in a.counted[1:]], scopes)
        self.assertTrue(all(x is y for x, y in zip(a.counted[1:], b.counted[1:], strict=True)))
        elsewhere = self.limits.way(self.zones["other"], "a.test", "a.test", "me")
        self.assertIs(elsewhere.busy[0], a.busy[0], "a user is one over all zones")
        here = self.limits.at(zone, "192.0.2.1")
        self.assertIs(here, self.limits.at(zone, "192.0.2.1"))
        self.assertIs(self.limits.at(self.zones["other"], "192.0.2.1"), NONE)

    def test_mail_of_nobody_has_no_users_limits(self) -> None:
        self.assertEqual(self.limits.way(self.zones["default"], "a.test", "a.test", "").busy, ())
        self.assertEqual(self.limits.way(self.zones["default"], "a.test", "a.test", "else").busy[0].most, 3)
        self.assertEqual((self.limits.weight("ME"), self.limits.weight("")), (2.0, 1.0))

    def way(self, domain: str) -> Way:
        return self.limits.way(self.zones["other"], domain, domain, "")

    def test_rates_are_forgotten_only_when_full(self) -> None:
        """However many scopes there are, and whenever they were looked through."""
        self.patch(module, "_REMEMBERED", 0)
        self.patch(module, "_WAYS", 1)
        self.limits._most_kept = 0
        connection = Connection(1, Capacity("c", "other", 9, 9), self.way("rated.test"), Leaving(LOCAL))
        tokens = Tokens(self.limits.keep)
        self.clock.advance(10)
        tokens.spend(connection, self.clock.seconds())
        del connection
        self.way("else.test")
        gc.collect()
        [again] = self.way("rated.test").sending
        self.assertFalse(again.bucket.ready(self.clock.seconds()))
        del again
        self.way("else.test")
        self.clock.advance(61)
        self.limits._forget()
        gc.collect()
        left = [key for key in self.limits._scoped if "rated.test" in str(key)]
        self.assertEqual((self.limits._kept, left), ({}, []))

    def test_those_of_an_address_are_never_made_again(self) -> None:
        """A lane that stands there holds the gate alone."""
        zone = self.zones["default"]
        [gate] = self.limits.at(zone, "192.0.2.1").connections
        gc.collect()
        [again] = self.limits.at(zone, "192.0.2.1").connections
        self.assertIs(again, gate)
        self.assertNotIn(gate, self.way("d.test").counted)


class Gates(SynchronousTestCase):
    def test_an_idle_connection_is_room(self) -> None:
        gate = Connections(Scope(zone="z"), 1, lambda user: 1.0)
        self.assertEqual((gate.room(0.0), gate.full(0.0)), (True, False))
        gate.open = 1
        self.assertEqual((gate.room(0.0), gate.full(0.0), gate.opens(0.0)), (False, True, None))
        gate.idle = 1
        self.assertEqual((gate.room(0.0), gate.full(0.0)), (True, True))
        self.assertEqual((gate.yields(0.0), gate.yields(0.0, 1)), (False, True), "for somebody")
        gate.closing = 1
        self.assertEqual((gate.yields(0.0, 1), gate.yields(0.0, 2)), (False, True), "for each one")
        gate.open = 0
        self.assertEqual((gate.yields(0.0, 2), gate.opens(0.0)), (False, MOMENT), "there is room without")

    def test_a_shut_one_opens_at_its_time_or_when_told(self) -> None:
        gate = Shut("hold", Scope(zone="z"), "so", lambda user: 1.0, 5.0)
        self.assertEqual([(gate.room(now), gate.opens(now)) for now in (1.0, 5.0)], [(False, 4.0), (True, 0.0)])
        gate.until = None
        self.assertEqual((gate.room(1e9), gate.opens(1e9)), (False, None))
