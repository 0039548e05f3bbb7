"""What real relays do to headers and lines: loops end, keys hold over a restart, what leaves is clean."""

from __future__ import annotations

import os
import re
import smtplib
from collections import Counter
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


def replace(relay: Relay, old: str, new: str) -> None:
    """In its configuration, everywhere."""
    config = Path(relay.config)
    config.write_text(config.read_text().replace(old, new))


class Headers(Scenario):
    async def test_S35_two_relays_that_point_at_each_other(self) -> None:
        """The loop ends far below 60 hops, with 554 5.4.6; both relays have one name here."""
        await self.loop_with("relay.test")

    async def test_S35_two_relays_with_names_of_their_own(self) -> None:
        """The same, as neither needs to know the other to see itself."""
        await self.loop_with("other.test")

    async def loop_with(self, name: str) -> None:
        """One message into a loop with a relay of this name: two passes each, and a bounce."""
        first = self.relay()
        directory = os.path.join(self.directory, "other")
        os.mkdir(directory)
        second = Relay(directory, first.smtp)
        self.addCleanup(second.kill)
        replace(first, f"port = {self.mx.port}", f"port = {second.smtp}")
        replace(second, "relay.test", name)
        await self.up(second)
        await self.up(first)
        code, _ = await deferToThread(submit, first, b"Subject: round\r\n\r\nand round\r\n")
        self.assertEqual(code, 250)

        def steps() -> Counter[str]:
            """Each relay writes its log a moment later than it acts."""
            return Counter(re.findall(r"(?m)^\S+ (queued|delivered|bounced) id=", first.said() + second.said()))

        expected = {"queued": 4, "delivered": 3, "bounced": 1}
        await self.until(lambda: steps().total() >= 8, 30, "the end of the loop", first)
        await self.remains(lambda: steps() == expected, 0.5, "four hops, and no more")
        self.assertRegex(first.said() + second.said(), r'(?m)^\S+ bounced .* reply="554 5\.4\.6 ')

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
