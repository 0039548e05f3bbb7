"""Outgoing TLS on real processes: what each policy makes of each kind of host."""

from __future__ import annotations

from typing import Any, ClassVar

from tests.scenario.harness import Mx, Relay, Scenario, deferToThread, post
from tests.unit.certificates import Authority, Pair

#: How a host may misbehave at STARTTLS.
FAULTS = ("tls-refuse", "tls-close", "tls-garbage", "tls-hang", "tls-inject")


class OutgoingTls(Scenario):
    timeout = 120
    authority: ClassVar[Authority] = Authority()

    def host(self, shown: Pair | None = None, address: str = "127.0.0.1") -> None:
        """The MX offers TLS, with this certificate."""
        shown = shown or self.authority.server("localhost")
        path = shown.write(f"{self.directory}/mx.pem")
        self.mx = Mx(self.directory, self.mx.port, address, ("--tls", "--cert", path, "--key", path))
        self.addCleanup(self.mx.stop)

    async def with_dns(self, zone: str) -> Relay:
        """A relay that finds a host for each fault by its domain."""
        self.host(address="0.0.0.0")
        dns = f'[dns]\nnameservers = ["127.0.0.1:{await self.names()}"]\n'
        return await self.begun(zone, "block_local_addresses = false", dns)

    async def begun(
        self, zone: str, hop: str = 'host = "localhost"\nignore_ipv6 = true', more: str = "", **settings: Any
    ) -> Relay:
        with open(f"{self.directory}/ca.pem", "wb") as file:
            file.write(self.authority.chain_pem)
        relay = self.relay(
            zone=zone,
            hop=hop,
            extra=f'[tls]\nauthorities = "{self.directory}/ca.pem"\n[timeouts]\ntls = "2s"\n{more}',
            **settings,
        )
        await self.up(relay)
        return relay

    async def ended(self, relay: Relay, *recipients: str, header: str = "Subject: x") -> list[str]:
        """Submit; the first lines of the mail log that tell what became of each."""
        def submit() -> None:
            for to in recipients:
                text = f"From: <a@src.test>\r\nTo: <{to}>\r\n{header}\r\n\r\nhello\r\n".encode()
                status, body = post(relay.api, "/send-raw", text, headers={"Content-Type": "message/rfc822"})
                assert status in (200, 202), (to, status, body)

        def told() -> dict[str, str]:
            lines = [line for line in relay.said().splitlines() if " delivered id=" in line or " deferred id=" in line]
            return {to: next((line for line in lines if f"to=<{to}>" in line), "") for to in recipients}

        await deferToThread(submit)
        await self.until(lambda: all(told().values()), 30, "all outcomes", relay)
        return list(told().values())

    async def test_opportunistic(self) -> None:
        """Any certificate will do; and it is told what it was worth."""
        for authority, worth in ((self.authority, "trusted"), (Authority("Somebody"), "untrusted")):
            self.host(authority.server("localhost"))
            relay = await self.begun("")
            [line] = await self.ended(relay, f"ok-0+{worth}@to.test")
            self.assertRegex(line, rf" delivered .* tls=\"?TLSv1\.3 \S+ {worth}")
            await self.until(lambda: self.mx.accepted(), 5, "the message")
            self.assertTrue(self.mx.accepted()[-1]["tls"])
            self.assertEqual(self.mx.accepted()[-1]["viol"], [])
            relay.kill()
            self.mx.stop()

    async def test_D25_verify(self) -> None:
        cases = (
            (self.authority.server("localhost"), "delivered", "verified"),
            (self.authority.server("else.test"), "deferred", "for another host than localhost"),
            (self.authority.server("localhost", days=-1), "deferred", "expired"),
            (Authority("localhost"), "deferred", "self-signed"),
        )
        for number, (shown, result, words) in enumerate(cases):
            self.host(shown)
            relay = await self.begun('tls = "verify"')
            [line] = await self.ended(relay, f"ok-0+{number}@to.test")
            self.assertIn(f" {result} ", line)
            self.assertIn(words, line)
            relay.kill()
            self.mx.stop()
        self.assertEqual(len(self.mx.accepted()), 1)

    async def test_D23_D24_hosts_that_fail_at_it(self) -> None:
        """Opportunistic: one way down to the clear, in one attempt. Nothing that was slipped in is believed: the
        connection is dropped."""
        relay = await self.with_dns("")
        recipients = [f"ok-0+x@{fault}.evil.test" for fault in FAULTS]
        lines = await self.ended(relay, *recipients)
        for fault, line in zip(FAULTS, lines, strict=True):
            self.assertIn(" delivered ", line, fault)
            self.assertNotIn(" tls=", line, fault)
        taken = self.mx.accepted()
        self.assertEqual({bool(one["tls"]) for one in taken}, {False})
        self.assertEqual([one["viol"] for one in taken], [[]] * len(FAULTS))

    async def test_D23_enforced(self) -> None:
        relay = await self.with_dns('tls = "must"')
        recipients = [f"ok-0+x@{fault}.evil.test" for fault in FAULTS]
        lines = await self.ended(relay, *recipients)
        for line in lines:
            self.assertIn(" deferred ", line)
        self.assertEqual(self.mx.accepted(), [])

    async def test_a_host_without_tls(self) -> None:
        for zone, result in (("", "delivered"), ('tls = "must"', "deferred")):
            self.mx = Mx(self.directory, self.mx.port)
            self.addCleanup(self.mx.stop)
            relay = await self.begun(zone)
            [line] = await self.ended(relay, f"ok-0+{result}@to.test")
            self.assertIn(f" {result} ", line)
            relay.kill()
            self.mx.stop()

    async def test_what_a_message_asks_for(self) -> None:
        """A certificate that proves nothing is enough for most mail, and not for that which wants it verified."""
        self.host(Authority("Somebody").server("localhost"))
        self.mx.options += ("--dump", self.directory)
        relay = await self.begun('tls = "must"')
        for number, (word, result) in enumerate((("verify", "deferred"), ("none", "delivered"), ("must", "delivered"))):
            [line] = await self.ended(relay, f"ok-0+{number}@to.test", header=f"X-Sending-TLS: {word}")
            self.assertIn(f" {result} ", line)
        await self.until(lambda: len(self.mx.accepted()) == 2, 5, "the messages")
        for one in self.mx.accepted():
            self.assertTrue(one["tls"])
            with open(f"{self.directory}/{one['file']}") as file:
                self.assertNotIn("X-Sending-TLS", file.read())
        status, body = await deferToThread(
            post, relay.api, "/send-raw", b"To: <ok@to.test>\r\nX-Sending-TLS: maybe\r\n\r\nx\r\n"
        )
        self.assertEqual(status, 400, body)
