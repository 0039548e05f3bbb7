"""What senders are told: bounces, warnings and receipts, as they come to the sender's own host.

They are read by `email` and by flufl.bounce. Where the sender is told nothing, the log says why.
"""

from __future__ import annotations

import os
import random
import re
import smtplib
from collections import Counter
from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from typing import Any, NamedTuple

from flufl.bounce import scan_message

from bench.network import free_ports
from tests.scenario.harness import Relay, Scenario, deferToThread, post, signal

BACK = '[zones.bounces]\npool = "default"\nhost = "127.0.0.1"\nport = {mx}\n'
TEXT = "From: <{author}>\r\nTo: <you@evil.test>\r\nSubject: x\r\nMessage-ID: <{id}@src.test>\r\n{more}\r\nhello\r\n"


class Notice(NamedTuple):
    """One that came: to whom, the whole, and the fields of its report."""

    to: str
    mail: Message
    message: Message
    recipient: Message

    @property
    def about(self) -> str:
        """The recipient whom it is about."""
        return str(self.recipient["Final-Recipient"]).partition("; ")[2]


class BounceMail(Scenario):
    timeout = 60

    async def begun(self, bounces: str = "", extra_listener: str = "", **settings: Any) -> Relay:
        """A relay that is up, and an MX that keeps what it takes."""
        mail = f"{self.directory}/mail"
        os.mkdir(mail)
        self.mx.options = ("--dump", mail)
        extra = f"{extra_listener}\n[bounces]\n{bounces}\n{BACK.format(mx=self.mx.port)}"
        relay = self.relay(bounces="true", extra=extra, **settings)
        await self.up(relay)
        return relay

    async def send(
        self,
        relay: Relay,
        *recipients: str,
        sender: str = "ok+me@src.test",
        more: str = "",
        mail: Sequence[str] = (),
        rcpt: Sequence[str] = (),
        author: str = "me@src.test",
        port: int = 0,
    ) -> str:
        """One message to these; its queue id."""

        def submit() -> str:
            with smtplib.SMTP("127.0.0.1", port or relay.smtp, "client.test", timeout=20) as client:
                client.ehlo()
                self.assertEqual(client.mail(sender, mail)[0], 250)
                for recipient in recipients:
                    self.assertEqual(client.rcpt(recipient, rcpt)[0], 250)
                text = TEXT.format(author=author, id=recipients[0].partition("@")[0], more=more)
                code, reply = client.data(text.encode())
                self.assertEqual(code, 250)
                return reply.split()[-1].decode()

        return await deferToThread(submit)

    def notices(self) -> list[Notice]:
        """All that came so far."""
        found = []
        for line in self.mx.accepted():
            if line["from"]:
                continue
            with open(f"{self.directory}/mail/{line['file']}", "rb") as file:
                mail = message_from_bytes(file.read())
            message, recipient = mail.get_payload()[1].get_payload()
            found.append(Notice(line["rcpt"], mail, message, recipient))
        return found

    def said(self, relay: Relay, step: str, name: str) -> list[str]:
        return re.findall(rf"(?m)^\S+ {step} id={re.escape(name)} .*$", relay.said())

    async def told(self, relay: Relay, count: int) -> list[Notice]:
        """So many have come, and the queue is empty; no more come."""
        await self.until(lambda: len(self.notices()) >= count, 30, f"{count} notices", relay)
        await self.empty(relay)
        self.assertEqual(len(self.notices()), count)
        return self.notices()

    async def empty(self, relay: Relay) -> None:
        def left() -> int:
            text = post(relay.api, "/metrics", method="GET")[1].decode()
            return sum(map(float, re.findall(r"(?m)^zonemta_queue_size\{.*\} (\S+)$", text)))

        await self.until(lambda: not left(), 30, "an empty queue", relay)

    async def test_D11_D12_each_refused_recipient_once(self) -> None:
        """Of one message to five, three are refused, one later and one not at all; each refused one has its notice."""
        relay = await self.begun()
        bad = ["perm-rcpt+a@evil.test", "perm-data+b@evil.test", "perm-dot+c@evil.test"]
        name = await self.send(
            relay, "ok+d@evil.test", "tempfail-rcpt-1+e@evil.test", *bad, mail=("RET=FULL", "ENVID=QQ+2B1"),
        )  # fmt: skip
        notices = await self.told(relay, 3)
        self.assertEqual(sorted(notice.about for notice in notices), sorted(bad))
        arrived = Counter(line["rcpt"] for line in self.mx.accepted() if line["from"])
        self.assertEqual(arrived, {"ok+d@evil.test": 1, "tempfail-rcpt-1+e@evil.test": 1})
        for notice in notices:
            self.assertEqual(notice.to, "ok+me@src.test")
            self.assertEqual(scan_message(notice.mail), {notice.about.encode()})
            self.assertEqual(notice.mail["Subject"], f"Delivery Status Notification (Failure: {notice.about})")
            self.assertEqual(notice.mail["In-Reply-To"], "<ok+d@src.test>")
            self.assertIn("mailer-daemon@relay.test", notice.mail["From"])
            self.assertEqual(notice.message["Original-Envelope-Id"], "QQ+1")
            self.assertEqual(notice.message["X-ZoneMTA-Queue-ID"], name)
            self.assertEqual((notice.recipient["Action"], notice.recipient["Status"][:2]), ("failed", "5."))
            [original] = notice.mail.get_payload()[2].get_payload()
            self.assertEqual(original.get_payload().strip(), "hello")
        bounces = set(re.findall(r"(?m) notified id=\S+ kind=failure .* bounce=(\S+)$", relay.said()))
        self.assertEqual(len(bounces), 3)
        for bounce in bounces:
            [line] = self.said(relay, "delivered", f"{bounce}.001")
            self.assertIn(" zone=bounces ", line)

    async def test_S19_D40_who_is_told_nothing(self) -> None:
        relay = await self.begun()
        reasons = {
            await self.send(relay, "perm-rcpt+a@evil.test", sender=""): "null sender",
            await self.send(relay, "perm-rcpt+b@evil.test", rcpt=("NOTIFY=NEVER",)): "not asked for",
            await self.send(relay, "perm-rcpt+c@evil.test", rcpt=("NOTIFY=SUCCESS,DELAY",)): "not asked for",
            await self.send(relay, "perm-rcpt+d@evil.test", more="Auto-Submitted: auto-replied\r\n"): "Auto-Submitted",
        }
        # A bounce that nobody takes is dropped, and there is none of it.
        lost = await self.send(relay, "perm-rcpt+e@evil.test", sender="perm-rcpt+gone@src.test")
        await self.until(lambda: self.said(relay, "notified", f"{lost}.001"), 20, "a bounce", relay)
        bounce = self.said(relay, "notified", f"{lost}.001")[0].rpartition("=")[2]
        reasons[bounce] = "null sender"
        for name, reason in reasons.items():
            await self.until(lambda name=name: self.said(relay, "skipbounce", f"{name}.001"), 20, reason, relay)
            [line] = self.said(relay, "skipbounce", f"{name}.001")
            self.assertRegex(line, f'reason="?{reason}"?$')
        self.assertEqual(len(self.said(relay, "bounced", f"{bounce}.001")), 1)
        await self.told(relay, 0)

    async def test_nor_is_anybody_whom_nobody_reads(self) -> None:
        """Programs that write to programs, and reports of reports: each rule by a mail of its own."""
        listener = '[listeners.quiet]\nendpoint = "tcp:{port}:interface=127.0.0.1"'
        [quiet] = free_ports(1)
        relay = await self.begun(
            'disabled_listeners = ["quiet"]\nper_sender = "1/d"',
            extra_listener=listener.format(port=quiet),
        )
        passed = "Received: from a.test by b.test; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        report = 'Content-Type: multipart/report; report-type=delivery-status; boundary="x"\r\n'
        reasons = {
            await self.send(relay, "perm-rcpt+a@evil.test", sender="Mailer-Daemon@src.test"): "mailer-daemon",
            await self.send(relay, "perm-rcpt+b@evil.test", more="X-Auto-Response-Suppress: OOF, All\r\n"): (
                "X-Auto-Response-Suppress"
            ),
            await self.send(relay, "perm-rcpt+c@evil.test", more=report): "a report itself",
            await self.send(relay, "perm-rcpt+d@evil.test", more=passed * 26): "too many hops",
            await self.send(relay, "perm-rcpt+e@evil.test", author="MAILER-DAEMON@src.test"): "from mailer-daemon",
            await self.send(relay, "perm-rcpt+f@evil.test", port=quiet): "listener",
        }
        for name, reason in reasons.items():
            await self.until(lambda name=name: self.said(relay, "skipbounce", f"{name}.001"), 20, reason, relay)
            [line] = self.said(relay, "skipbounce", f"{name}.001")
            self.assertRegex(line, f'reason="?{reason}"?$')
        # And who is told, is told no more than so often.
        for name in ("g", "h"):
            await self.send(relay, f"perm-rcpt+{name}@evil.test", sender="ok+often@src.test")
        refused = re.compile(r' skipbounce .* reason="too many"').search
        await self.until(lambda: refused(relay.said()), 20, "one too many", relay)
        await self.told(relay, 1)

    async def test_D39_late_and_in_the_end_never(self) -> None:
        """A warning, once, and then the bounce, once."""
        relay = await self.begun('delay_after = "1s"', retry='["1s", "1s", "1s", "1s"]')
        await self.send(relay, "tempfail-rcpt-0+a@evil.test", rcpt=("ORCPT=rfc822;a+2B1@b.test",))
        delay, failure = await self.told(relay, 2)
        self.assertEqual([delay.recipient["Action"], failure.recipient["Action"]], ["delayed", "failed"])
        self.assertEqual(failure.recipient["Status"], "4.4.7")
        self.assertIsNotNone(delay.recipient["Will-Retry-Until"])
        self.assertEqual({one.recipient["Original-Recipient"] for one in (delay, failure)}, {"rfc822; a+1@b.test"})
        self.assertEqual(scan_message(failure.mail), {b"a+1@b.test"})
        self.assertEqual(scan_message(delay.mail), set())

    async def test_passed_on_to_a_host_that_tells_nothing(self) -> None:
        relay = await self.begun()
        await self.send(relay, "ok+a@evil.test", rcpt=("NOTIFY=SUCCESS,FAILURE",))
        await self.send(relay, "ok+b@evil.test")
        [notice] = await self.told(relay, 1)
        self.assertEqual((notice.about, notice.recipient["Action"]), ("ok+a@evil.test", "relayed"))

    async def test_D11_one_each_however_often_the_master_is_killed(self) -> None:
        """Killed again and again while mail is refused: each refusal has one notice, and none is lost."""
        relay = await self.begun('per_sender = "100000/m"')
        dice = random.Random(7)
        load = self.load(relay, sessions=4, pause=0.01, recipients=["perm-rcpt+{id}@evil.test"])
        for _ in range(3):
            before = relay.said().count(" notified ")
            enough = before + dice.randint(3, 30)
            await self.until(lambda enough=enough: relay.said().count(" notified ") > enough, 20, "notices", relay)
            os.kill(relay.master(), signal.SIGKILL)
            await self.until(lambda: not relay.alive, 10, "death")
            await self.up(relay)
        await self.stop(load)
        await self.until(lambda: relay.said().count(" notified "), 10, "a beginning", relay)
        await self.empty(relay)
        # A notice is one by its own id; that it was sent twice is what a kill may do.
        ids = {(notice.about, notice.mail["Message-ID"]) for notice in self.notices()}
        each = Counter(about for about, _ in ids)
        refused = [load.to[name] for name in load.accepted()]
        self.assertEqual([rcpt for rcpt in refused if each[rcpt] != 1], [], f"of {len(refused)}")
        self.assertGreater(len(refused), 20)
