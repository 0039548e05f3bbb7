"""Where events go: to a web server, to files, and bounces as forms; whoever dies in between."""

from __future__ import annotations

import json
import smtplib
import threading
from typing import Any
from urllib.parse import parse_qsl

from bench.network import free_ports
from tests.scenario.harness import EACH_SECOND, Relay, Scenario, deferToThread, post
from tests.scenario.receiving import Receiver

SECRET = b"a secret of tests and nobody else"
HOOK = """[sinks.hook]
kind = "webhook"
url = "http://127.0.0.1:{port}/in"
secret_variable = "HOOK"
allow_private = true
"""
BOUNCES = """[bounces]
url = "http://127.0.0.1:{port}/{path}"
secret_variable = "HOOK"
allow_private = true
"""
TEXT = "From: <me@src.test>\r\nMessage-ID: <1@src.test>\r\n{more}\r\nhello\r\n"


class Sinks(Scenario):
    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.receiver = Receiver(free_ports(1)[0])
        self.addCleanup(lambda: self.receiver.stop())

    async def begun(self, extra: str, **settings: Any) -> Relay:
        relay = self.relay(extra=extra.replace("{port}", str(self.receiver.port)), **settings)
        await self.up(relay, HOOK=SECRET.decode())
        return relay

    async def mail(self, relay: Relay, *recipients: str, sender: str = "me@src.test", more: str = "") -> str:
        """One message to these; its queue id."""

        def submit() -> str:
            with smtplib.SMTP("127.0.0.1", relay.smtp, "client.test", timeout=20) as client:
                client.ehlo()
                client.mail(sender)
                for recipient in recipients:
                    client.rcpt(recipient)
                code, reply = client.data(TEXT.format(more=more).encode())
                self.assertEqual(code, 250)
                return reply.split()[-1].decode()

        return await deferToThread(submit)

    def known(self, relay: Relay) -> list[dict[str, Any]]:
        """The events of the relay."""
        told = json.loads(post(relay.api, "/v1/events?limit=1000", method="GET")[1])
        return list(told["events"])

    def sinks(self, relay: Relay) -> dict[str, dict[str, Any]]:
        told = json.loads(post(relay.api, "/v1/sinks", method="GET")[1])
        return {sink["name"]: sink for sink in told["sinks"]}

    def deliveries(self, relay: Relay) -> list[dict[str, Any]]:
        """What was handed on, the latest first."""
        return list(json.loads(post(relay.api, "/v1/sinks/hook/deliveries", method="GET")[1])["items"])

    async def up_to_date(self, relay: Relay) -> None:
        """Each sink has all there is."""
        await self.until(
            lambda: all(sink["state"] == "up to date" for sink in self.sinks(relay).values()), 20, "the sinks", relay
        )

    async def test_each_step_arrives_signed_and_in_order(self) -> None:
        self.receiver.start()
        relay = await self.begun(HOOK, retry=EACH_SECOND)
        to = ("ok+a@evil.test", "tempfail-rcpt-1+b@evil.test", "perm-rcpt+c@evil.test")
        name = await self.mail(relay, *to, more="Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n")
        await self.until(lambda: len(self.receiver.events()) >= 5, 20, "five events", relay)
        await self.up_to_date(relay)
        events = self.receiver.events()
        self.assertEqual(events, self.known(relay))
        self.assertEqual([event["number"] for event in events], sorted(event["number"] for event in events))
        steps: dict[Any, list[str]] = {}
        for event in events:
            self.assertEqual(event["id"], name)
            steps.setdefault(event.get("recipient"), []).append(event["kind"])
        self.assertEqual(
            steps,
            {
                None: ["queued"],
                "ok+a@evil.test": ["delivered"],
                "tempfail-rcpt-1+b@evil.test": ["deferred", "delivered"],
                "perm-rcpt+c@evil.test": ["bounced"],
            },
        )
        [queued] = [event for event in events if event["kind"] == "queued"]
        told = [queued[name] for name in ("client", "helo", "transport", "subject", "header_from", "body_size")]
        self.assertEqual(told, ["127.0.0.1", "client.test", "ESMTP", "Grüße", "<me@src.test>", 7])
        self.assertEqual({event["protocol"] for event in events if "protocol" in event}, {"smtp"})
        for heard in self.receiver.heard:
            self.assertTrue(heard.signed(SECRET))
            self.assertFalse(heard.signed(b"another secret"))
            self.assertEqual(heard.headers["Content-Type"], "application/json")

    async def test_H12_a_receiver_that_is_down_delays_no_mail_and_misses_nothing(self) -> None:
        relay = await self.begun(HOOK)
        load = await self.send(relay, 10)
        self.assert_safe(await self.drained(relay, load, settle=0))
        await self.until(lambda: self.sinks(relay)["hook"]["failures"], 20, "a failure", relay)
        hook = self.sinks(relay)["hook"]
        self.assertEqual((hook["trouble"], hook["taken"]), ("127.0.0.1: Connection refused", 0))
        self.assertGreaterEqual(hook["behind"], 10)
        self.receiver.start()
        await self.until(lambda: len(self.receiver.events()) >= 20, 30, "all events", relay)
        await self.up_to_date(relay)
        self.assertEqual(self.receiver.events(), self.known(relay))

    async def test_H12_a_receiver_that_hangs_holds_up_neither_mail_nor_a_stop(self) -> None:
        """What it was given comes again at the next start, for it has not said that it has it."""
        over = threading.Event()
        self.addCleanup(over.set)
        self.receiver.answer = lambda path: (204 if over.wait(30) else 500, {})
        self.receiver.start()
        relay = await self.begun(HOOK)
        load = await self.send(relay, 5)
        self.assert_safe(await self.drained(relay, load, settle=0))
        self.assertEqual(self.sinks(relay)["hook"]["taken"], 0)
        await self.stopped(relay)
        over.set()
        await self.up(relay, HOOK=SECRET.decode())
        await self.up_to_date(relay)
        numbers = {event["number"] for event in self.receiver.events()}
        self.assertEqual(numbers, {event["number"] for event in self.known(relay)})

    async def test_handed_on_again_beside_what_is_new(self) -> None:
        """To a receiver that is down, over a stop: the same events by the same numbers, in order."""
        self.receiver.start()
        relay = await self.begun(HOOK + "batch = 1\n")
        await self.mail(relay, "ok+a@evil.test", "ok+b@evil.test")
        await self.until(lambda: len(self.known(relay)) == 3, 20, "three events", relay)
        await self.up_to_date(relay)
        before = self.known(relay)
        self.assertEqual(self.receiver.events(), before)
        self.receiver.heard.clear()
        old = {event["number"] for event in before}
        self.receiver.refuse = lambda body: json.loads(body)["events"][0]["number"] in old
        status, told = post(relay.api, "/v1/sinks/hook/replay", b'{"after": 0}')
        self.assertEqual((status, json.loads(told)["until"]), (202, before[-1]["number"]))
        self.assertEqual(post(relay.api, "/v1/sinks/hook/replay", b'{"after": 0}')[0], 409)
        await self.until(lambda: self.sinks(relay)["hook"]["replay"]["trouble"], 20, "a replay that is refused", relay)
        await self.mail(relay, "ok+c@evil.test")
        await self.until(lambda: len(self.known(relay)) == 6, 20, "an audit and two steps", relay)
        await self.up_to_date(relay)
        new = [event for event in self.known(relay) if event["number"] not in old]
        self.assertEqual(self.receiver.events(), new, "what is new doesn't wait for what is old")
        [failed] = [one for one in self.deliveries(relay) if not one["taken"]]
        self.assertEqual((failed["status"], failed["said"], failed["replay"]), (500, "so be it", True))
        await self.stopped(relay)
        self.receiver.heard.clear()
        self.receiver.refuse = lambda body: False
        await self.up(relay, HOOK=SECRET.decode())
        self.assertEqual(post(relay.api, "/v1/sinks/hook/resume")[0], 200)
        await self.until(
            lambda: (self.sinks(relay)["hook"]["replay"] or {}).get("state") == "done", 20, "a replay", relay
        )
        self.assertEqual([event for event in self.receiver.events() if event["number"] in old], before)
        self.assertTrue(all(heard.signed(SECRET) for heard in self.receiver.heard))
        again = [one for one in self.deliveries(relay) if one["replay"]]
        self.assertEqual([one["first"] for one in again if one["taken"]][::-1], sorted(old))
        audited = [one for one in self.known(relay) if one["kind"] == "audit"]
        self.assertEqual([one["what"] for one in audited], ["sink.replayed", "sink.resumed"])

    async def test_kill_9_in_the_middle_leaves_no_event_out(self) -> None:
        """By the numbers: each at least once, at the web server and in the file, whose lines are all whole."""
        self.receiver.start()
        path = f"{self.directory}/events.jsonl"
        relay = await self.begun(HOOK + f'batch = 5\n[sinks.log]\nkind = "file"\npath = "{path}"\nbatch = 3\n')
        load = self.load(relay, sessions=4)
        await self.until(lambda: len(self.receiver.events()) >= 40, 30, "40 events", relay)
        relay.kill()
        await self.up(relay, HOOK=SECRET.decode())
        await self.more(load, 10, relay)
        await self.stop(load)
        await self.drained(relay, load, settle=0)
        await self.up_to_date(relay)
        known: list[dict[str, Any]] = []
        while True:
            after = known[-1]["number"] if known else 0
            page = json.loads(post(relay.api, f"/v1/events?limit=1000&after={after}", method="GET")[1])["events"]
            known += page
            if len(page) < 1000:
                break
        numbers = {event["number"] for event in known}
        self.assertGreater(len(numbers), 40)
        self.assertEqual(numbers - {event["number"] for event in self.receiver.events()}, set())
        with open(path) as file:
            written = [json.loads(line) for line in file]
        self.assertEqual(numbers - {event["number"] for event in written}, set())

    async def test_H11_no_redirect_and_no_address_of_our_own_network(self) -> None:
        self.receiver.start()
        self.receiver.answer = lambda path: (302, {"Location": f"http://127.0.0.1:{self.receiver.port}/inner"})
        inner = '[sinks.inner]\nkind = "webhook"\nurl = "http://hooks.evil.test:{port}/inner"\n'
        dns = f'[dns]\nnameservers = ["127.0.0.1:{await self.names()}"]\n'
        relay = await self.begun(HOOK + inner + dns)
        await self.mail(relay, "ok+a@evil.test")
        await self.until(
            lambda: all(sink["trouble"] for sink in self.sinks(relay).values()), 20, "trouble with both", relay
        )
        sinks = self.sinks(relay)
        self.assertEqual(sinks["hook"]["trouble"], "127.0.0.1 answers 302")
        self.assertIn("hooks.evil.test leads to no public address (127.0.0.1", sinks["inner"]["trouble"])
        self.assertEqual({heard.path for heard in self.receiver.heard}, {"/in"})

    async def test_bounces_are_posted_as_forms(self) -> None:
        self.receiver.start()
        relay = await self.begun(BOUNCES.replace("{path}", "bounce"))
        name = await self.mail(relay, "ok+a@evil.test", "perm-rcpt+b@evil.test", more="X-FBL: campaign 7\r\n")
        await self.mail(relay, "perm-rcpt+c@evil.test", sender="")
        await self.mail(relay, "perm-rcpt+d@evil.test", more="Auto-Submitted: auto-replied\r\n")
        await self.until(lambda: len(self.known(relay)) >= 7, 20, "seven events", relay)
        await self.up_to_date(relay)
        [heard] = self.receiver.heard
        [event] = [one for one in self.known(relay) if one.get("recipient") == "perm-rcpt+b@evil.test"]
        self.assertEqual((heard.path, heard.signed(SECRET)), ("/bounce", True))
        self.assertEqual(heard.headers["Content-Type"], "application/x-www-form-urlencoded")
        self.assertEqual(
            parse_qsl(heard.body.decode(), keep_blank_values=True),
            [
                ("id", name),
                ("to", "perm-rcpt+b@evil.test"),
                ("seq", "002"),
                ("returnPath", "me@src.test"),
                ("category", event["category"]),
                ("time", str(event["time"])),
                ("response", event["reply"]),
                ("fbl", "campaign 7"),
                ("action", "reject"),
                ("message", event["reason"]),
                ("status", event["status"]),
            ],
        )

    async def test_the_relays_own_server_for_bounces(self) -> None:
        [api] = free_ports(1)
        bounces = BOUNCES.replace("{path}", "report-bounce").replace("{port}", str(api))
        relay = await self.begun(bounces, api=api)
        relay.api = api
        name = await self.mail(relay, "perm-rcpt+b@evil.test")

        def told() -> list[dict[str, str]]:
            return list(json.loads(post(api, "/bounces", method="GET")[1])["bounces"])

        await self.until(told, 20, "a bounce", relay)
        [bounce] = told()
        self.assertEqual(
            (bounce["id"], bounce["seq"], bounce["to"], bounce["returnPath"]),
            (name, "001", "perm-rcpt+b@evil.test", "me@src.test"),
        )
        self.assertLess(set(bounce), {"id", "to", "seq", "returnPath", "category", "time", "response", "fbl"})
