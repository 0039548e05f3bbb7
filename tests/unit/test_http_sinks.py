"""Sinks by the API and by `zonerelay sinks`: how far they are, what was handed on, and events handed on again."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.access.caller import Scope
from relay.access.tenant import Tenant
from relay.config.schema import Bounces, Config, Sink
from relay.events.reader import GATHER, PAUSES
from relay.events.sink import Standing
from relay.events.sinks import Sinks
from relay.http.sinks import SinksApi
from relay.message.event import Event
from relay.queue.memory import MemoryStore
from relay.queue.store import StoreError
from tests.unit import test_cli_holds
from tests.unit.api_rig import Rig
from tests.unit.sink_rig import NOW, Answer, FakeWeb, means

CONFIG = Config(
    sinks={"hook": Sink(url="https://hooks.test/", batch=2, events=("queued", "bounced"))},
    bounces=Bounces(url="https://b.test/in"),
)
HOOK = "/v1/sinks/hook"
ISO = "2026-11-22T03:58:10.123Z"
LATER = "2026-11-22T03:58:11.123Z"


class Running:
    """Sinks of a store, with a receiver that says what it is told to."""

    def __init__(self) -> None:
        self.clock, self.web, self.store = Clock(), FakeWeb(), MemoryStore()
        self.sinks = Sinks(CONFIG, self.store, means(self.clock, self.web))
        self.sinks.make()
        self.sinks.start()

    def tell(self, *kinds: str) -> None:
        """An event of each kind, each a second later than the one before."""
        first = self.store.event_bounds()[1]
        self.store.tell([Event(kind, NOW + 1000 * number, "1a20169d1ea0007acc", 1) for number, kind in
                         enumerate(kinds, first)])  # fmt: skip
        self.pass_time(GATHER)

    def pass_time(self, seconds: float = 0.0) -> None:
        self.clock.pump([seconds] + [0] * 20)


class SinksApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.running = Running()
        self.rig = Rig(more=(SinksApi(self.running.sinks),))

    def get(self, path: str) -> Any:
        answer = self.rig.get(path)
        self.assertEqual(answer.status, 200, answer)
        return answer.json

    def replay(self, body: bytes, status: int = 202) -> Any:
        answer = self.rig.request("POST", f"{HOOK}/replay", body)
        self.assertEqual(answer.status, status, answer)
        return answer.json if status == 202 else answer.problem

    def test_one_and_all(self) -> None:
        self.running.tell("queued", "delivered", "bounced")
        hook, bounces = self.get("/v1/sinks")["sinks"]
        self.assertEqual(hook, self.get(HOOK))
        self.assertEqual(
            bounces,
            {"name": "bounces", "kind": "bounces", "where": "https://b.test/in", "state": "up to date", "behind": 0,
             "taken": 1, "missed": 0, "aside": 0, "failures": 0, "trouble": "", "last": ISO, "until": None,
             "cursor": 3, "replay": None},
        )  # fmt: skip
        self.assertEqual(self.rig.get("/v1/sinks?x=1").status, 400)
        for method, path in (("GET", ""), ("GET", "/deliveries"), ("GET", "/aside"), ("DELETE", "/replay"),
                             ("POST", "/resume")):  # fmt: skip
            answer = self.rig.request(method, f"/v1/sinks/none{path}")
            self.assertEqual((answer.status, answer.problem["detail"]), (404, 'There is no sink "none"'))

    def test_what_was_handed_on(self) -> None:
        self.running.tell("queued", "bounced", "queued")
        self.running.web.judge = lambda body: Answer(503, text="busy")
        self.running.tell("queued")
        page = self.get(f"{HOOK}/deliveries?limit=2")
        self.assertEqual(
            page["items"][0],
            {"begun": ISO, "time": ISO, "first": 4, "last": 4, "count": 1, "tries": 1, "seconds": 0.0,
             "taken": False, "status": 503, "trouble": "hooks.test answers 503", "said": "busy", "next": LATER,
             "replay": False},
        )  # fmt: skip
        rest = self.get(f"{HOOK}/deliveries?limit=2&cursor={page['next']}")
        told = [(one["first"], one["last"], one["taken"]) for one in page["items"] + rest["items"]]
        self.assertEqual((told, rest["next"]), ([(4, 4, False), (3, 3, True), (1, 2, True)], None))
        for query in ("limit=501", "limit=0", "cursor=0", "cursor=x"):
            self.assertEqual(self.rig.get(f"{HOOK}/deliveries?{query}").status, 400)

    def test_a_receiver_that_is_back_needs_no_waiting_for(self) -> None:
        self.running.web.judge = lambda body: Answer(503, 600.0)
        self.running.tell("queued")
        self.assertEqual(self.get(HOOK)["state"], "waiting")
        self.running.web.judge = lambda body: Answer(200)
        answer = self.rig.request("POST", f"{HOOK}/resume")
        self.assertEqual((answer.status, answer.json["name"]), (200, "hook"))
        self.running.pass_time()
        self.assertEqual((self.get(HOOK)["state"], self.get(HOOK)["taken"]), ("up to date", 1))
        self.assertEqual(self.rig.request("POST", f"{HOOK}/resume").status, 200, "there is nothing to wait for")
        self.assertEqual([(event.what, event.about) for event in self.rig.audited], [("sink.resumed", "hook")] * 2)

    def test_those_refused_one_by_one(self) -> None:
        self.running.web.judge = lambda body: Answer(400)
        self.running.tell("bounced", "bounced")
        item = {"tries": 1, "since": ISO, "next": "2026-11-22T03:59:10.123Z"}
        page = self.get("/v1/sinks/bounces/aside?limit=1")
        self.assertEqual(page, {"items": [{"number": 1, **item}], "next": 1})
        page = self.get("/v1/sinks/bounces/aside?limit=1&cursor=1")
        self.assertEqual(page, {"items": [{"number": 2, **item}], "next": None})
        self.assertEqual(self.get(f"{HOOK}/aside"), {"items": [], "next": None})
        self.running.web.judge = lambda body: Answer(200)
        self.rig.request("POST", "/v1/sinks/bounces/resume")
        self.running.pass_time()
        self.assertEqual(self.get("/v1/sinks/bounces")["aside"], 0)

    def test_handed_on_again(self) -> None:
        self.running.tell("queued", "delivered", "bounced", "queued", "queued")
        self.running.web.judge = lambda body: Answer(500)
        begun = self.replay(b'{"after": 1, "until": 4}')
        self.assertEqual(
            begun,
            {"after": 1, "until": 4, "begun": ISO, "at": 1, "state": "under way", "missed": 0, "trouble": "",
             "next": None},
        )  # fmt: skip
        self.running.pass_time()
        self.assertEqual(self.replay(b'{"after": 1}', 409)["code"], "UnderWay")
        stands = self.get(HOOK)["replay"]
        self.assertEqual((stands["state"], stands["next"], stands["trouble"]),
                         ("waiting", LATER, "hooks.test answers 500"))  # fmt: skip
        [batch] = self.get(f"{HOOK}/deliveries?limit=1")["items"]
        self.assertEqual((batch["replay"], batch["first"], batch["next"]), (True, 3, LATER))
        self.running.web.judge = lambda body: Answer(200)
        self.running.pass_time(PAUSES[0])
        self.assertEqual((self.get(HOOK)["replay"]["state"], self.get(HOOK)["replay"]["at"]), ("done", 4))
        self.assertEqual(self.get(HOOK)["cursor"], 5)
        self.assertEqual([(event.what, event.about) for event in self.rig.audited], [("sink.replayed", "hook: 1 to 4")])

    def test_ended_before_its_end(self) -> None:
        self.running.tell("queued", "queued", "queued")
        self.running.web.judge = lambda body: Answer(500)
        self.replay(b'{"after": 0}')
        self.running.pass_time()
        answer = self.rig.request("DELETE", f"{HOOK}/replay")
        self.assertEqual((answer.status, answer.json["state"], answer.json["at"]), (200, "cancelled", 0))
        self.assertIsNone(self.get(f"{HOOK}/deliveries")["items"][0]["next"])
        answer = self.rig.request("DELETE", f"{HOOK}/replay")
        self.assertEqual((answer.status, answer.problem["detail"]), (404, 'There is no replay under way to "hook"'))
        self.assertEqual([event.what for event in self.rig.audited], ["sink.replayed", "sink.replay-cancelled"])

    def test_by_the_clock(self) -> None:
        """Events are a second apart, the first at :10."""
        self.running.tell(*["queued"] * 6)
        begun = self.replay(b'{"since": "2026-11-22T03:58:11.123Z", "until": "2026-11-22T04:58:13.123+01:00"}')
        self.assertEqual((begun["after"], begun["until"]), (1, 4))
        self.running.pass_time()
        self.assertEqual(self.replay(b'{"since": "2026-11-22T03:58:11.124Z"}')["after"], 2)

    def test_nothing_beyond_what_it_has_had(self) -> None:
        self.running.web.judge = lambda body: Answer(200 if b'"number":1' in body else 500)
        self.running.tell("queued")
        self.running.tell("queued", "queued")
        self.assertEqual(self.replay(b'{"after": 0, "until": 3}')["until"], 1)

    def test_what_it_cannot_be(self) -> None:
        self.running.tell("queued", "queued")
        for body, field in (
            (b"{}", "after"),
            (b'{"after": 0, "since": "2026-11-22T03:58:11Z"}', "after"),
            (b'{"after": -1}', "after"),
            (b'{"after": "x"}', "after"),
            (b'{"since": "yesterday"}', "since"),
            (b'{"since": "2026-11-22T03:58:11"}', "since"),
            (b'{"since": "1969-11-22T03:58:11Z"}', "since"),
            (b'{"after": 0, "until": "soon"}', "until"),
            (b'{"after": 0, "until": -1}', "until"),
            (b'{"after": 0, "until": 0}', "until"),
            (b'{"after": 2}', "until"),
            (b'{"after": 4611686018427387905}', "after"),
            (b'{"after": 0, "to": 1}', "to"),
        ):
            self.assertEqual(self.replay(body, 400)["field"], field, body)
        self.assertIsNone(self.get(HOOK)["replay"])

    def test_a_store_that_cannot_be_used(self) -> None:
        def broken(*args: object) -> Any:
            raise StoreError("it is being reopened")

        self.running.tell("queued")
        self.patch(self.running.store, "events", broken)
        self.assertEqual(self.replay(b'{"since": "2026-11-22T03:58:09Z"}', 503)["detail"], "it is being reopened")
        self.running.store.shelf("replays").broken = True  # type: ignore[attr-defined]
        self.replay(b'{"after": 0}', 503)

    def test_who_may(self) -> None:
        read, operate = self.rig.key(Scope.READ), self.rig.key(Scope.OPERATE)
        self.rig.roll.add_tenant(Tenant("acme", "Acme"))
        tenants = self.rig.key(Scope.READ, Scope.OPERATE, tenant="acme")
        for method, path, key, status in (
            ("GET", HOOK, read, 200),
            ("GET", f"{HOOK}/deliveries", operate, 403),
            ("POST", f"{HOOK}/resume", read, 403),
            ("POST", f"{HOOK}/resume", operate, 200),
            ("DELETE", f"{HOOK}/replay", read, 403),
            ("GET", f"{HOOK}/deliveries", tenants, 403),
            ("POST", f"{HOOK}/replay", tenants, 403),
        ):
            answer = self.rig.request(method, path, Authorization=f"Bearer {key}")
            self.assertEqual(answer.status, status, (method, path, answer))


class Told(TestCase):
    """The command."""

    listening = test_cli_holds.Asking.listening
    run_it = test_cli_holds.Asking.run_it

    def setUp(self) -> None:
        self.running = Running()
        rig = Rig(clock=test_cli_holds.reactor, more=(SinksApi(self.running.sinks),))
        test_cli_holds.streams(self)
        self.url = f"http://127.0.0.1:{self.listening(rig.site)}"

    async def test_all(self) -> None:
        standings = [
            Standing("hook", "webhook", "https://h.test/", "waiting", 7, 3, 2, 0, 4, "h says \x1b[31m", NOW, NOW + 999),
            Standing("bounces", "bounces", "https://b.test/", "up to date", 0, 9, 0, 1, 0, "", 0, 0),
        ]
        self.patch(self.running.sinks, "standings", lambda: standings)
        code, out, err = await self.run_it("sinks")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(
            out.splitlines(),
            [
                "hook: webhook to https://h.test/: waiting until 2026-11-22T03:58:11.122Z, 7 behind, 2 missed: "
                "h says \\u001b[31m",
                "bounces: bounces to https://b.test/: up to date, 0 behind, 1 set aside",
            ],
        )
        code, out, _ = await self.run_it("sinks", "--json")
        self.assertEqual([one["name"] for one in json.loads(out)["sinks"]], ["hook", "bounces"])
        standings.clear()
        self.assertEqual(await self.run_it("sinks"), (0, "events are handed on to nobody\n", ""))

    async def test_one(self) -> None:
        self.running.tell("queued", "queued", "queued")
        self.running.web.judge = lambda body: Answer(503, text="busy")
        code, out, _ = await self.run_it("sinks", "replay", "hook", "--after", "1", "--until", "2")
        self.assertEqual((code, out), (0, "hook: events behind 1 up to 2 are handed on again\n"))
        self.running.pass_time()
        self.assertEqual(
            (await self.run_it("sinks", "deliveries", "hook", "--limit", "2"))[1].splitlines(),
            [
                f"{ISO}: 1 event, 3 to 3: taken, 0.0 s",
                f"{ISO}: 1 event, 2 to 2, again: not taken, 0.0 s, again at {LATER}: hooks.test answers 503: busy",
            ],
        )
        line = "hook: webhook to https://hooks.test/: up to date, 0 behind, replay at 1 of 2\n"
        self.assertEqual(await self.run_it("sinks", "resume", "hook"), (0, line, ""))
        self.running.pass_time()
        self.assertIn("2 tries", (await self.run_it("sinks", "deliveries", "hook"))[1])
        told = json.loads((await self.run_it("sinks", "--json", "deliveries", "hook"))[1])
        self.assertEqual([one["replay"] for one in told["items"]], [True, False, False])
        self.assertEqual(await self.run_it("sinks", "replay", "hook", "--cancel"), (0, "hook: ended at 1 of 2\n", ""))
        code, _, err = await self.run_it("sinks", "replay", "hook", "--cancel")
        self.assertEqual((code, err), (1, 'zonerelay: There is no replay under way to "hook"\n'))

    async def test_by_the_clock_of_the_machine(self) -> None:
        self.running.tell(*["queued"] * 3)
        words = ("sinks", "replay", "hook", "--since", "2026-11-22T03:58:11Z", "--until", "2026-11-22T03:58:11.500Z")
        self.assertEqual((await self.run_it(*words))[1], "hook: events behind 1 up to 2 are handed on again\n")
        code, _, err = await self.run_it("sinks", "replay", "hook", "--cancel", "--until", "2")
        self.assertEqual((code, err), (1, "zonerelay: --until: of no use with --cancel\n"))
        code, _, err = await self.run_it("sinks", "replay", "hook", "--since", "noon")
        self.assertEqual((code, "--since: expected a time" in err), (1, True))

    async def test_where_the_api_is_may_stand_before_or_behind(self) -> None:
        self.running.tell("queued")
        words = ("sinks", "--api", self.url, "resume", "hook")
        nowhere = ("--config", f"{os.devnull}")
        self.assertEqual((await self.run_it(*words, where=nowhere))[0], 0)
        self.assertEqual((await self.run_it("sinks", "resume", "hook"))[0], 0)
