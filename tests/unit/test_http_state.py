"""How the relay stands, as the API shows it."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Config, Domain, PoolAddress
from relay.config.schema import Zone as ZoneSection
from relay.dispatch.capacity import Capacity
from relay.dispatch.leaving import Leaving
from relay.dispatch.ledger import Ledger, Permit
from relay.dispatch.limits import NONE, Limits, Senders
from relay.http.health import health
from relay.http.state import Sources, StateApi
from relay.http.traffic import TrafficApi
from relay.queue.store import ZoneCount
from relay.zone.sites import Sites
from relay.zone.zones import Zones, from_config
from tests.unit.api_rig import NOW, Answer, Rig

SMALL = (PoolAddress(address="192.0.2.1", name="a.example.com"),)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        config = Config(
            pools={"small": SMALL, "default": SMALL},
            zones={"bulk": ZoneSection(pool="small", processes=2), "old": ZoneSection(pool="small", disabled=True)},
            domains={"x.test": Domain(max_connections=2, messages=("10/m",))},
        )
        self.zones: Zones = from_config(config)
        self.clock = Clock()
        self.ledger = Ledger()
        self.limits = Limits(self.zones, Sites({}), Senders({}), self.clock.seconds)
        self.writable = self.accepting = True
        state = StateApi(
            Sources(
                self.zones,
                self.ledger,
                lambda zone, now: ZoneCount(3, 2, 1),
                lambda zone: 7,
                lambda: NOW,
                lambda: self.writable,
                lambda: self.accepting,
            )
        )
        self.rig = Rig(more=[state, TrafficApi(self.ledger, self.limits.gates, self.clock.seconds)])

    def child(self) -> Capacity:
        child = Capacity("1", "bulk", 10, 100)
        self.ledger.join(child)
        return child

    def get(self, path: str) -> Answer:
        return self.rig.get(path)

    def connect(self, domain: str) -> None:
        zone = self.zones["bulk"]
        way = self.limits.way(zone, domain, domain, "")
        self.assertIsInstance(self.ledger.open("bulk", way, Leaving(zone.pool.choose("k"), NONE), 0), Permit)


class ZoneTests(Case):
    def test_zones(self) -> None:
        self.child()
        answer = self.get("/v1/zones")
        self.assertEqual(answer.status, 200)
        zones = {zone["name"]: zone for zone in answer.json["zones"]}
        bulk = zones["bulk"]
        self.assertEqual((bulk["queued"], bulk["deferred"], bulk["held"], bulk["ended"]), (3, 2, 1, 7))
        self.assertEqual(bulk["addresses"], [{"address": "192.0.2.1", "name": "a.example.com"}])
        self.assertEqual(bulk["children"], [{"id": "1", "busy": 0, "places": 10, "silent": 0, "idle": 0}])
        self.assertTrue(zones["old"]["disabled"])
        self.assertEqual(self.get("/v1/zones/BULK").json, bulk)
        self.assertEqual(self.get("/v1/zones/none").problem["code"], "ResourceNotFound")

    def test_pools(self) -> None:
        pools = {pool["name"]: pool for pool in self.get("/v1/pools").json["pools"]}
        self.assertEqual(pools["small"]["zones"], ["bulk", "old"])

    def test_ready(self) -> None:
        answer = self.get("/v1/health/ready")
        self.assertEqual((answer.status, answer.json["reasons"]), (503, ["no sender process is up"]))
        self.child()
        answer = self.get("/v1/health/ready")
        self.assertEqual((answer.status, answer.json), (200, {"status": "ok", "reasons": []}))
        self.accepting = False
        self.assertIn("no room", self.get("/v1/health/ready").json["reasons"][0])
        self.writable = False
        self.assertEqual(self.get("/v1/health/ready").json["reasons"], ["the queue can't write"])
        self.assertEqual(self.get("/v1/health/live").json["status"], "ok")

    def test_one_zone_of_two_is_enough(self) -> None:
        self.assertEqual(health(writable=True, accepting=True, senders={"a": 0, "b": 1}).status, "ok")
        self.assertEqual(health(writable=True, accepting=True, senders={}).status, "ok")


class TrafficTests(Case):
    def test_connections(self) -> None:
        self.child()
        for domain in ("x.test", "y.test", "x.test"):
            self.connect(domain)
        first = self.get("/v1/connections?limit=2").json
        self.assertEqual([one["domain"] for one in first["items"]], ["x.test", "y.test"])
        rest = self.get(f"/v1/connections?limit=2&cursor={first['next']}").json
        self.assertEqual(([one["domain"] for one in rest["items"]], rest["next"]), (["x.test"], None))
        for query, count in (
            ("domain=X.test", 2), ("zone=bulk", 3), ("zone=old", 0), ("address=192.0.2.1", 3), ("state=trying", 3),
            ("state=idle", 0),
        ):  # fmt: skip
            self.assertEqual(len(self.get(f"/v1/connections?{query}").json["items"]), count, query)
        self.assertEqual(self.get("/v1/connections?state=odd").problem["field"], "state")

    def test_limits(self) -> None:
        self.child()
        self.assertEqual(self.get("/v1/limits?domain=x.test").json, {"limits": [], "more": False})
        self.connect("x.test")
        told = self.get("/v1/limits?domain=x.test").json["limits"]
        self.assertEqual([one["kind"] for one in told], ["connections", "messages"])
        connections, messages = told
        self.assertEqual((connections["most"], connections["open"], connections["waiting"]), (2, 1, 0))
        self.assertEqual((messages["most"], messages["seconds"], messages["wait"]), (10, 60, 0))
        self.assertEqual(messages["scope"], {"zone": "bulk", "domain": "x.test"})
        self.assertEqual(self.get("/v1/limits?domain=x.test&waiting=true").json["limits"], [])
        self.assertTrue(self.get("/v1/limits?limit=1").json["more"])
