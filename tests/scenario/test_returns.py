"""What comes back for mail that has left, through a real listener: bounces, complaints, wishes, and what is sent on."""

from __future__ import annotations

import json
import re
import smtplib
from email import message_from_bytes
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from bench.network import free_ports
from relay.config.load import load
from relay.message.event import Event
from relay.queue.level import LevelStore
from tests.peers.mailserver import Postfix
from tests.scenario.harness import Relay, Scenario, deferToThread, post
from tests.scenario.interop import absent

SAMPLES = Path(__file__).parents[1] / "fixtures" / "returned"
EXTRA = """
[returns]
domain = "back.test"
secret_file = "{secret}"
unsubscribe_url = "https://mail.test/unsubscribe/"
[listeners.back]
endpoint = "tcp:{port}:interface=127.0.0.1"
returns = true
[zones.forwards]
sender_domains = ["forwarded.test"]
host = "127.0.0.1"
port = {mx}
return_path = "srs"
"""


def sample(name: str) -> bytes:
    return (SAMPLES / f"{name}.eml").read_bytes().replace(b"\n", b"\r\n")


class Doubter(Postfix):
    """It takes mail for whomever, and says later who isn't there."""

    def __init__(self, folder: str, back: int) -> None:
        super().__init__(folder)
        self.more = (
            "smtpd_reject_unlisted_recipient = no\nvirtual_mailbox_domains = to.test\n"
            f"virtual_mailbox_maps = inline:{{inbox@to.test=inbox/}}\nrelayhost = [127.0.0.1]:{back}"
        )


class Returns(Scenario):
    def setUp(self) -> None:
        super().setUp()
        [self.back] = free_ports(1)

    async def serving(self, mx: int = 0) -> Relay:
        """`mx` is where mail goes; 0: to the hostile host."""
        secret = Path(self.directory) / "secret"
        secret.write_text("a secret that only we know\n")
        self.dump = Path(self.directory) / "dump"
        self.dump.mkdir()
        self.mx.options = ("--dump", str(self.dump))
        extra = EXTRA.format(secret=secret, port=self.back, mx=self.mx.port)
        zone = 'return_path = "verp"\nlist_unsubscribe = true'
        relay = self.relay(zone=zone, extra=extra, mx=mx or self.mx.port)
        await self.up(relay)
        return relay

    async def sent(self, relay: Relay, sender: str = "ann@from.test") -> dict[str, Any]:
        """What the host knows of a mail that we have sent: the first that it took."""

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", relay.smtp, timeout=20) as client:
                client.sendmail(sender, ["ok+1@to.test"], f"From: {sender}\r\nMessage-ID: <m1@from.test>\r\n\r\nhello")

        await deferToThread(send)
        await self.until(lambda: self.mx.accepted(), 20, "its arrival", relay)
        return self.mx.accepted()[0]

    async def bring(self, text: bytes | str, *to: str, sender: str = "") -> list[tuple[int, str]]:
        """What is said to each recipient of a mail to the listener, and to its end."""
        text = sample(text) if isinstance(text, str) else text

        def say() -> list[tuple[int, bytes]]:
            with smtplib.SMTP("127.0.0.1", self.back, timeout=20) as client:
                client.ehlo("mx.test")
                client.mail(sender)
                heard = [client.rcpt(one) for one in to]
                return [*heard, client.data(text)] if any(code == 250 for code, _ in heard) else heard

        return [(code, words.decode()) for code, words in await deferToThread(say)]

    async def line(self, relay: Relay, step: str) -> str:
        """The first line of the mail log about it."""
        found: list[str] = []
        await self.until(
            lambda: found.extend(re.findall(rf"^\S+ {step} id=.*$", relay.said(), re.M)) or found, 20, step, relay
        )
        return found[0]

    async def test_a_bounce(self) -> None:
        relay = await self.serving()
        mail = await self.sent(relay)
        self.assertRegex(mail["from"], r"^bounces\+[a-z2-7]{32}@back\.test$")
        forged = mail["from"].replace("+" + mail["from"][8], "+" + ("a" if mail["from"][8] != "a" else "b"))
        for other in (forged, "ann@from.test", "postmaster@back.test"):
            self.assertEqual((await self.bring(b"", other))[0], (550, "5.1.1 Nobody has this address here"))
        (_, _), (code, said) = await self.bring("postfix-failed", mail["from"].upper())
        self.assertEqual(code, 250, said)
        line = await self.line(relay, "bounce-returned")
        name = re.findall(r" delivered id=(\S+)", await self.line(relay, "delivered"))[0]
        self.assertIn(f" id={name} zone=default to=<ok+1@to.test> client=127.0.0.1 ", line)
        self.assertIn(" category=recipient action=reject status=5.1.1 ", line)
        status, found = await deferToThread(post, relay.api, "/v1/events?kind=bounce-returned", b"", "GET")
        self.assertEqual(status, 200)
        [event] = json.loads(found)["events"]
        self.assertEqual((event["recipient"], event["status"]), ("ok+1@to.test", "5.1.1"))
        status, found = await deferToThread(post, relay.api, "/v1/events?kind=delivered", b"", "GET")
        [event] = json.loads(found)["events"]
        self.assertEqual((event["sender"], event["return_path"]), ("ann@from.test", mail["from"]))
        metrics = (await deferToThread(post, relay.api, "/metrics", b"", "GET"))[1].decode()
        self.assertIn('zonerelay_returns_total{kind="bounce-returned"} 1.0', metrics)

    async def test_complaints_and_wishes(self) -> None:
        relay = await self.serving()
        mail = await self.sent(relay)
        # A feedback loop sends back what its user has got: the host's copy has its return path, and our Received.
        text = (self.dump / mail["file"]).read_bytes()
        for original in (f"Return-Path: <{mail['from']}>\r\n\r\n".encode(), text):
            arf = sample("arf-redacted")
            begin = arf.index(b"Return-Path: <bounces@")
            arf = arf[:begin] + original + b"\r\n--arf--\r\n"
            (_, _), (code, said) = await self.bring(arf, "fbl@back.test", sender="loop@isp.test")
            self.assertEqual(code, 250, said)
        await self.until(lambda: relay.said().count(" complaint id=") == 2, 20, "both complaints", relay)
        self.assertEqual(relay.said().count("to=<ok+1@to.test> client=127.0.0.1 returned="), 2)
        await self.until(lambda: "ok+1@to.test gets no more mail: complaint" in relay.said(), 20, "an entry", relay)

        fields = message_from_bytes(text)
        self.assertEqual(fields["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click")
        click, mailto = re.findall("<([^>]+)>", fields["List-Unsubscribe"])
        path = click.removeprefix("https://mail.test")
        self.assertEqual((await deferToThread(post, relay.api, path, b"", "GET"))[0], 200)
        self.assertNotIn(" unsubscribed id=", relay.said())
        click_body = b"List-Unsubscribe=One-Click"
        headers = {"Host": "mail.test", "Content-Type": "application/x-www-form-urlencoded"}
        status, _ = await deferToThread(post, relay.api, path, click_body, "POST", headers)
        self.assertEqual(status, 200)
        (_, _), (code, said) = await self.bring(b"\r\n", mailto.removeprefix("mailto:"), sender="rob@to.test")
        self.assertEqual(code, 250, said)
        await self.until(lambda: relay.said().count(" unsubscribed id=") == 2, 20, "both wishes", relay)

    async def test_sent_on(self) -> None:
        relay = await self.serving()
        mail = await self.sent(relay, "ann@forwarded.test")
        self.assertRegex(mail["from"], r"^SRS0=[0-9a-f]{8}=[A-Z2-7]{2}=forwarded\.test=ann@back\.test$")
        (_, _), (code, said) = await self.bring("qmail", mail["from"], sender="rob@to.test")
        self.assertEqual((code, said[:5]), (550, "5.7.1"))
        # Whoever brings it can't choose the way that it goes on: by this header it would be the zone "forwards".
        stranger = sample("qmail").replace(b"MAILER-DAEMON@qmail.example", b"x@forwarded.test", 1)
        (_, _), (code, said) = await self.bring(stranger, mail["from"].lower())
        self.assertEqual(code, 250, said)
        await self.until(lambda: len(self.mx.accepted()) == 2, 20, "the bounce at the sender's", relay)
        bounce = self.mx.accepted()[1]
        self.assertEqual((bounce["from"], bounce["rcpt"]), ("", "ann@forwarded.test"))
        self.assertIn(b"This is the qmail-send program", (self.dump / bounce["file"]).read_bytes())
        status, found = await deferToThread(post, relay.api, "/v1/events?kind=queued,sent-on", b"", "GET")
        self.assertEqual(status, 200)
        _, queued, on = json.loads(found)["events"]
        self.assertEqual((queued["kind"], on["kind"], on["id"]), ("queued", "sent-on", queued["id"]))
        self.assertEqual((on["recipient"], on["zone"]), ("ann@forwarded.test", "default"))
        self.assertEqual((on["listener"], on["client"], on["helo"]), ("back", "127.0.0.1", "mx.test"))

    async def test_what_postfix_writes_later(self) -> None:
        if Doubter.missing():
            raise absent(Doubter.missing())
        if Doubter.forbidden():
            raise SkipTest(f"{Doubter.forbidden()}: its reports NOT TESTED")
        Path(self.directory).chmod(0o711)  # it delivers as another user
        server = Doubter(f"{self.directory}/peer", self.back)
        server.start()
        self.addCleanup(server.stop)
        await self.until(lambda: server.greets, 20, "Postfix's greeting", server)
        relay = await self.serving(server.port)

        def send() -> None:
            with smtplib.SMTP("127.0.0.1", relay.smtp, timeout=20) as client:
                client.ehlo()
                client.mail("ann@from.test")
                client.rcpt("nobody@to.test")
                client.rcpt("inbox@to.test", ["NOTIFY=SUCCESS"])
                client.data(b"From: ann@from.test\r\n\r\nhello")

        await deferToThread(send)
        line = await self.line(relay, "bounce-returned")
        self.assertIn(".001 zone=default to=<nobody@to.test> ", line)
        self.assertIn(" category=recipient action=reject status=5.1.1 ", line)
        line = await self.line(relay, "receipt-returned")
        self.assertIn(".002 zone=default to=<inbox@to.test> ", line)
        self.assertEqual(relay.said().count("-returned id="), 2)

    async def test_killed_right_after_250(self) -> None:
        """What the client was told is written down, is."""
        relay = await self.serving()
        mail = await self.sent(relay)
        for count in (1, 2):
            (_, _), (code, said) = await self.bring("qmail", mail["from"])
            relay.kill()
            self.assertEqual(code, 250, said)
            events = [event for event in self.events(relay) if event.kind == "bounce-returned"]
            self.assertEqual([event.recipient for event in events], ["ok+1@to.test"] * count)
            if count < 2:
                await self.up(relay)

    def events(self, relay: Relay) -> list[Event]:
        """Those of a relay that doesn't run, read from its queue."""
        from twisted.internet import reactor

        config = load(relay.config)
        store = LevelStore(config.queue.path, config.queue, reactor, config.events)
        store.open()
        self.addCleanup(store.close)
        found = [numbered.event for numbered in store.events(0, 1000)]
        store.close()
        return found
