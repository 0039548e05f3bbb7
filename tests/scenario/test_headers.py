"""What real relays do to headers and lines: loops end, keys hold over a restart, what leaves is clean."""

from __future__ import annotations

import os
import re
import smtplib
from pathlib import Path

from tests.scenario.harness import Relay, Scenario, deferToThread


def submit(relay: Relay, text: bytes, recipient: str = "ok@evil.test") -> tuple[int, str]:
    """One message; the reply to its dot."""
    with smtplib.SMTP("127.0.0.1", relay.smtp, "client.test", timeout=20) as client:
        client.ehlo()
        client.mail("from@sender.test")
        client.rcpt(recipient)
        code, said = client.data(text)
        return code, said.decode()


class Headers(Scenario):
    async def test_S35_two_relays_that_point_at_each_other(self) -> None:
        """The loop ends far below 60 hops, with 554 5.4.6; both relays have one name here."""
        first = self.relay()
        directory = os.path.join(self.directory, "other")
        os.mkdir(directory)
        second = Relay(directory, first.smtp)
        self.addCleanup(second.kill)
        config = Path(first.config)
        config.write_text(config.read_text().replace(f"port = {self.mx.port}", f"port = {second.smtp}"))
        await self.up(second)
        await self.up(first)
        code, _ = await deferToThread(submit, first, b"Subject: round\r\n\r\nand round\r\n")
        self.assertEqual(code, 250)

        def said() -> str:
            return first.said() + second.said()

        await self.until(lambda: "bounced" in said() and "5.4.6" in said(), 30, "the end of the loop", first)
        self.assertEqual(len(re.findall(r"(?m)^\S+ queued ", said())), 4)

    async def test_a_key_holds_over_a_restart(self) -> None:
        relay = self.relay()
        await self.up(relay)
        text = b"X-Idempotency-Key: order-1\r\nSubject: x\r\nMessage-ID: <k1@x.test>\r\n\r\ntext\r\n"
        first = await deferToThread(submit, relay, text)
        await self.until(lambda: len(self.mx.accepted()) == 1, 20, "the message", relay)
        relay.kill()
        await self.up(relay)
        self.assertEqual(await deferToThread(submit, relay, text), first)
        other = await deferToThread(submit, relay, text.replace(b"order-1", b"order-2"))
        self.assertNotEqual(other, first)
        await self.until(lambda: len(self.mx.accepted()) == 2, 20, "the other message", relay)
        await self.remains(lambda: len(self.mx.accepted()) == 2, 1.0, "and no third")

    async def test_S02_S31_what_leaves_has_no_long_line(self) -> None:
        relay = self.relay()
        await self.up(relay)
        text = b"Subject: " + b"word " * 500 + b"\r\n\r\n" + "€".encode() * 3000 + b"\r\n." + b"x" * 5000 + b"\r\n"
        code, said = await deferToThread(submit, relay, text)
        self.assertEqual(code, 250, said)
        await self.until(self.mx.accepted, 20, "the message", relay)
        [taken] = self.mx.accepted()
        self.assertEqual(taken["viol"], [])
        self.assertGreater(taken["size"], 16_000)
