"""What operators are shown of a hostile world, and what they do to the same mail at once.

Rows H23, H28, H29 and H30.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from bench.network import free_ports
from tests.peers.asker import Asker, Said, request
from tests.scenario.asking import Asking
from tests.scenario.harness import EACH_SECOND
from tests.scenario.hostile import SERVED
from tests.scenario.recording import Recorder

#: What a host may say, and nobody should be shown as it is.
RUDE = "<script>alert(1)</script> \x1b[2J\x1b]0;owned\x07 \x08\x7f \u202e\u2028\x85 \\u001b %0d%0a' OR 1=1 -- "
RUDE_ZONE = """
[zones.rude]
pool = "default"
host = "127.0.0.1"
port = {port}
recipient_domains = ["rude.test"]
bounce_mail = false
"""
#: Characters that any text of a host may come to in an answer.
LONGEST = 100_000


class Operators(Asking):
    """They ask and act by HTTP; the hosts at the other end are not their friends."""

    settings = {"retry": EACH_SECOND}

    @classmethod
    def prepare(cls, directory: str) -> None:
        rude = Recorder(free_ports(1)[0], lambda _, recipient: refusal(recipient))
        rude.start()  # it ends with the process, as the relay does
        cls.more = RUDE_ZONE.format(port=rude.port)

    def told(self, method: str, path: str, mail: Any = None) -> Said:
        body = None if mail is None else json.dumps(mail).encode()
        with Asker(self.relay.api) as asker:
            return asker.say(request(method, path, body, "Content-Type: application/json"))

    def asked(self, path: str, method: str = "GET", mail: Any = None) -> Any:
        said = self.told(method, path, mail)
        self.assertEqual(200, said.status, (path, said))
        return json.loads(said.body)

    def sent(self, *recipients: str, **more: Any) -> str:
        mail = {"from": "from@src.test", "bcc": list(recipients), "text": "hello", **more}
        return str(self.asked("/send", "POST", mail)["id"])

    def ends(self, queue_id: str) -> list[str]:
        """What has become of a message: the events that end a delivery."""
        kinds = [event["kind"] for event in self.asked(f"/v1/history/{queue_id}")["events"]]
        return [kind for kind in kinds if kind in ("delivered", "deleted", "bounced", "expired")]

    def ended(self, queue_id: str) -> list[str]:
        """The same, once it is on disk: the counters know a little before."""
        self.until(lambda: self.ends(queue_id), "its end")
        return self.ends(queue_id)

    def test_H23_what_a_host_has_said(self) -> None:
        """Shown in JSON, without what moves a terminal, and cut: a refusal for now, one for good, one without end."""
        waits, ended, long = self.sent("wait@rude.test"), self.sent("end@rude.test"), self.sent("long@rude.test")
        for queue_id in (waits, long):
            self.addCleanup(self.told, "DELETE", f"/message/{queue_id}")
            self.until(lambda of=queue_id: "deferred" in self.asked(f"/message/{of}")["messages"][0], "a refusal")
        self.until(lambda: "bounced" in self.ends(ended), "a refusal for good")
        for path in (
            f"/message/{waits}",
            f"/message/{long}",
            f"/v1/history/{waits}.001",
            f"/v1/history/{long}.001",
            f"/v1/history/{ended}",
            f"/v1/deliveries/{waits}.001/why",
            "/queued/deferred/rude",
            "/v1/events?limit=1000",
            "/v1/history?recipient=end@rude.test",
            "/v1/decisions",
            "/v1/backoff",
            "/v1/connections",
            "/bounces",
        ):
            said = self.told("GET", path)
            self.assertEqual((200, "nosniff"), (said.status, said.fields.get("x-content-type-options")), path)
            self.assertTrue(said.fields["content-type"].startswith("application/json"), path)
            for text in texts(json.loads(said.body)):
                self.assertTrue(text.isprintable(), (path, text[:300]))
                self.assertLess(len(text), LONGEST, path)
        shown = self.told("GET", f"/message/{waits}").body
        self.assertIn(b"<script>alert(1)</script>", shown, "nothing was shown at all")
        self.assertLess(len(shown), LONGEST)
        metrics = self.told("GET", "/metrics").body
        self.assertNotIn(b"<script", metrics)

    def test_H28_pages_of_a_list(self) -> None:
        """Each delivery once, whatever page it is on, and an SMTP client isn't kept waiting meanwhile."""
        later = formatdate(time.time() + 3600)
        ids = [self.sent(*(f"ok+{n}@page{n % 7}.test" for n in range(900)), date=later) for _ in range(2)]
        for queue_id in ids:
            self.addCleanup(self.told, "DELETE", f"/message/{queue_id}")
        found: list[tuple[str, str]] = []
        cursor = ""
        with self.begun("meanwhile") as client:
            while True:
                page = self.asked(f"/queued/deferred/default?cursor={cursor}")
                found += [(one["id"], one["seq"]) for one in page["list"]]
                begun = time.monotonic()
                self.assertEqual("250", client.tell(b"NOOP")[:3])
                self.assertLess(time.monotonic() - begun, SERVED)
                cursor = page.get("cursor", "")
                if not cursor:
                    break
        self.assertEqual(1800, len(found))
        self.assertEqual({(queue_id, f"{n:03x}") for queue_id in ids for n in range(1, 901)}, set(found))
        for cursor in ("x", "00", "ff" * 500, "7b7d"):
            self.assertEqual(400, self.told("GET", f"/queued/deferred/?cursor={cursor}").status)

    def test_H29_many_hands_on_what_is_being_delivered(self) -> None:
        """While a host takes its time over the dot: it is delivered, once, and nothing of it is left anywhere."""
        waits = sum(one["ev"] == "wait" for one in self.mx.seen())
        queue_id = self.sent("slow-dot-1+hands@evil.test")
        self.until(lambda: sum(one["ev"] == "wait" for one in self.mx.seen()) > waits, "a delivery in hand")
        self.assertEqual(0, self.at_once(queue_id))
        self.settle()
        self.assertEqual(["delivered"], self.ended(queue_id))
        self.assertEqual(1, sum(line["rcpt"] == "slow-dot-1+hands@evil.test" for line in self.mx.accepted()))
        self.gone(queue_id)

    def test_H29_many_hands_on_what_waits(self) -> None:
        """Deleted, or sent at once or once it is released: as its history says, and nothing of it is left anywhere."""
        for number in range(5):
            address = f"tempfail-rcpt-1+hands{number}@evil.test"
            queue_id = self.sent(address)
            self.until(lambda of=queue_id: "DEFERRED" in str(self.told("GET", f"/message/{of}").body), "a deferral")
            deleted = self.at_once(queue_id)
            self.told("POST", f"/v1/deliveries/{queue_id}.001/actions", {"action": "release"})
            self.settle()
            [end] = self.ended(queue_id)
            self.assertEqual("deleted" if deleted else "delivered", end)
            self.assertLessEqual(deleted, 1)
            arrived = sum(line["rcpt"] == address for line in self.mx.accepted())
            self.assertEqual(arrived, 1 if end == "delivered" else 0)
            self.gone(queue_id)

    def at_once(self, queue_id: str) -> int:
        """Delete it, hold it, let it go and send it now, from eighteen sessions; how often it was deleted."""
        paths = (f"/message/{queue_id}", f"/message/{queue_id}/001")
        acts: list[tuple[str, str, Any]] = [(method, path, None) for path in paths for method in ("PUT", "DELETE")]
        acts += [
            ("POST", f"/v1/deliveries/{queue_id}.001/actions", {"action": action})
            for action in ("hold", "delete", "release", "send-now", "hold")
        ]
        acts *= 2
        deleted = 0
        with ThreadPoolExecutor(len(acts)) as hands:
            for (method, _, asked), said in zip(acts, hands.map(lambda act: self.told(*act), acts), strict=True):
                told = json.loads(said.body)
                if asked is None:
                    self.assertEqual(200, said.status, said)
                    deleted += told["deliveries"] if method == "DELETE" else 0
                else:
                    self.assertIn(said.status, (200, 404, 409), said)
                    deleted += asked["action"] == "delete" and told.get("result") == "done"
        return deleted

    def gone(self, queue_id: str) -> None:
        """No list has it."""
        for path in (f"/message/{queue_id}", f"/fetch/{queue_id}"):
            self.assertEqual(404, self.told("GET", path).status)
        for path in ("/queued/active/", "/queued/deferred/", "/queue/default"):
            self.assertNotIn(queue_id, str(self.asked(path)))

    def test_H30_a_hundred_domains(self) -> None:
        """They are in no label: of the busiest sites there are so many, and the rest is one."""
        self.sent(*(f"ok+d{number}@d{number}.labels.test" for number in range(100)))
        self.settle()
        values: dict[tuple[str, str], set[str]] = {}
        for family in text_string_to_metric_families(self.told("GET", "/metrics").body.decode()):
            for sample in family.samples:
                for name, value in sample.labels.items():
                    values.setdefault((sample.name, name), set()).add(value)
        self.assertTrue(values)
        self.assertLess(max(map(len, values.values())), 40, "labels grow with the world")


def refusal(recipient: str) -> str:
    """Many lines of it: for good, or for now."""
    code = 550 if recipient.startswith("end") else 451
    lines = 4000 if recipient.startswith("long") else 20
    return f"{code}-{RUDE}{'x' * 300}\r\n" * lines + f"{code} {RUDE}"


def texts(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from texts(one)
