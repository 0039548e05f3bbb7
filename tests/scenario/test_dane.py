"""D27: DANE on real processes, over unbound with a signed zone: what is good arrives, what is not never does."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from bench.network import free_ports
from tests.peers.evil_mx import IP
from tests.peers.signed_dns import Authoritative, Unbound, Zone
from tests.scenario.harness import Mx, Relay, Scenario, deferToThread, post, submit_required
from tests.unit.certificates import Authority, Pair
from tests.unit.test_tlsa import der, public_key

NONE = "1 1 1 " + "00" * 32
WRONG = "3 1 1 " + "00" * 32


def tlsa(usage: int, pair: Pair) -> str:
    return f"{usage} 1 1 {hashlib.sha256(public_key(der(pair))).hexdigest()}"


class Told(NamedTuple):
    """How a host's case has to end: the result, and what the mail log says of it."""

    result: str
    words: str


class Dane(Scenario):
    timeout = 120

    def setUp(self) -> None:
        super().setUp()
        os.mkdir(f"{self.directory}/certs")
        self.certs = f"{self.directory}/certs"
        self.authority = Authority("The host's own")
        self.records: list[str] = []
        self.bogus: list[str] = []
        options = ("--tls", "--certs", self.certs)
        self.mx = Mx(self.directory, self.mx.port, "0.0.0.0", options)
        self.addCleanup(self.mx.stop)

    def case(self, name: str, shown: Pair | None, *records: str, address: str = "127.0.0.1") -> None:
        """The domain `name` in the signed zone: its host shows this certificate, and has these TLSA records."""
        host = f"mx.{name}"
        if shown is not None:
            with open(f"{self.certs}/{host}.signed.test.pem", "wb") as file:
                file.write(shown.pem + self.authority.chain_pem)
        self.records += [f"{name} MX 10 {host}", f"{host} A {address}"]
        self.records += [f"_{self.mx.port}._tcp.{host} TLSA {record}" for record in records]

    async def validated(self, *unsigned: str) -> str:
        """The name server that stands before the zones; its line of the configuration."""
        from twisted.internet import reactor

        signed = Zone("signed.test.", "\n".join(self.records) + "\n", True, "\n".join(self.bogus))
        plain = Zone("plain.test.", "\n".join(unsigned) + "\n", False)
        port = reactor.listenUDP(0, Authoritative(signed, plain), "127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        [number] = free_ports(1)
        unbound = Unbound(self.directory, number, port.getHost().port, signed, plain)
        unbound.start()
        self.addCleanup(unbound.stop)
        await self.until(lambda: unbound.ready, 10, "unbound")
        return f'nameservers = ["127.0.0.1:{number}"]'

    async def relayed(self, dns: str, more: str = "") -> Relay:
        relay = self.relay(hop="block_local_addresses = false", extra=f"[dns]\n{dns}\n{more}")
        await self.up(relay)
        return relay

    async def ended(
        self, relay: Relay, expected: dict[str, Told], submit: Callable[..., None] | None = None
    ) -> None:
        """One message to each domain; the first that the mail log tells of it is as expected. `submit` hands a relay
        those to some recipients."""
        addresses = {f"ok-0+{told.result}@{domain}": told for domain, told in expected.items()}

        def by_http(relay: Relay, *recipients: str) -> None:
            for to in recipients:
                text = f"From: <a@src.test>\r\nTo: <{to}>\r\nSubject: x\r\n\r\nhello\r\n".encode()
                status, body = post(relay.api, "/send-raw", text, headers={"Content-Type": "message/rfc822"})
                assert status in (200, 202), (to, status, body)

        def lines() -> dict[str, str]:
            said = [line for line in relay.said().splitlines() if re.search(" (delivered|deferred|bounced) id=", line)]
            return {to: next((line for line in said if f"to=<{to}>" in line), "") for to in addresses}

        await deferToThread(submit or by_http, relay, *addresses)
        await self.until(lambda: all(lines().values()), 30, "all outcomes", relay)
        for to, line in lines().items():
            told = addresses[to]
            self.assertIn(f" {told.result} ", line, f"{to}: {line}")
            self.assertIn(told.words, line, f"{to}: {line}")
        arrived = {one["rcpt"] for one in self.mx.accepted()}
        self.assertEqual(arrived & set(addresses), {to for to, told in addresses.items() if told.result == "delivered"})

    async def test_D27_over_unbound(self) -> None:
        ca, alone = self.authority, Authority("Signs itself")
        old = ca.server("else.test", days=-1)
        self.case("ee", alone, WRONG, tlsa(3, alone))
        self.case("old", old, tlsa(3, old))
        self.case("mismatch", ca.server("mx.mismatch.signed.test"), WRONG)
        self.case("ta", ca.server("mx.ta.signed.test"), tlsa(2, ca))
        self.case("tadomain", ca.server("tadomain.signed.test"), tlsa(2, ca))
        self.case("taname", ca.server("mx.else.signed.test"), tlsa(2, ca))
        self.case("taold", ca.server("mx.taold.signed.test", days=-1), tlsa(2, ca))
        self.case("bogus", alone, tlsa(3, alone))
        self.bogus.append(f"_{self.mx.port}._tcp.mx.bogus TLSA {tlsa(3, ca)}")
        self.case("bogusmx", alone, tlsa(3, alone))
        self.bogus.append("bogusmx MX 10 mx.ee.signed.test.")
        self.case("useless", alone, NONE)
        self.case("without", alone)
        self.case("needed", alone)
        self.case("off", alone, WRONG)
        self.case("stripped", None, tlsa(3, alone), address=IP["no-extensions"])
        self.case("garbage", None, NONE, address=IP["tls-garbage"])
        self.case("second", alone, WRONG)
        self.records.append("second MX 20 mx.ee")
        # A host that is an alias, of a name that has records and of one in a zone that isn't signed.
        self.records += ["alias MX 10 mx.alias", "mx.alias CNAME mx.ee", "half MX 10 mx.half"]
        self.records += ["mx.half CNAME mx.plain.test.", f"_{self.mx.port}._tcp.mx.half TLSA {WRONG}"]
        plain = ("@ MX 10 mx", "mx A 127.0.0.1", f"_{self.mx.port}._tcp.mx TLSA {WRONG}")
        dns = await self.validated(*plain, "over MX 10 mx.mismatch.signed.test.")
        relay = await self.relayed(
            f"dnssec = true\n{dns}",
            '[domains."needed.signed.test"]\ntls = "dane"\n[domains."off.signed.test"]\ndane = "off"\n',
        )
        by_dane, deferred = Told("delivered", ' dane"'), "deferred"
        await self.ended(
            relay,
            {
                "ee.signed.test": by_dane,
                "old.signed.test": by_dane,
                "mismatch.signed.test": Told(deferred, "4.7.5 DANE with mx.mismatch.signed.test: its certificate"),
                "ta.signed.test": by_dane,
                "tadomain.signed.test": by_dane,
                "taname.signed.test": Told(deferred, "for another host than mx.taname.signed.test"),
                "taold.signed.test": Told(deferred, "expired"),
                "bogus.signed.test": Told(deferred, "4.7.5 DANE: the TLSA records of mx.bogus.signed.test can't be"),
                "bogusmx.signed.test": Told(deferred, "SERVFAIL"),
                "useless.signed.test": Told("delivered", ' untrusted"'),
                "without.signed.test": Told("delivered", ' untrusted"'),
                "needed.signed.test": Told(deferred, "mx.needed.signed.test has no TLSA record"),
                "off.signed.test": Told("delivered", ' untrusted"'),
                "stripped.signed.test": Told(deferred, "does not offer TLS"),
                "garbage.signed.test": Told(deferred, " stage=tls "),
                "second.signed.test": by_dane,
                "alias.signed.test": by_dane,
                "half.signed.test": Told(deferred, "matches none"),
                "plain.test": Told("delivered", ' untrusted"'),
                "over.plain.test": Told("delivered", " tls="),
            },
        )
        # Nor do they arrive the next time.
        again = re.compile(r"to=<ok-0\+deferred@(mismatch|bogus|stripped|garbage)\.signed\.test> .* attempts=2 ")
        await self.until(lambda: len(set(again.findall(relay.said()))) == 4, 10, "another attempt", relay)
        self.assertFalse([one["rcpt"] for one in self.mx.accepted() if "deferred" in one["rcpt"]])
        for one in self.mx.accepted():
            self.assertTrue(one["tls"], one["rcpt"])
            self.assertEqual(one["viol"], [])

    async def test_requiretls(self) -> None:
        """Signed answers say which host takes the mail, and its records which certificate it has; others get none."""
        alone = Authority("Signs itself")
        self.case("ee", alone, tlsa(3, alone))
        self.case("mismatch", alone, WRONG)
        self.mx.options += ("--requiretls",)
        dns = await self.validated("@ MX 10 mx", "mx A 127.0.0.1", "over MX 10 mx.ee.signed.test.")
        shown = alone.write(f"{self.directory}/listener.pem")
        relay = self.relay(
            hop="block_local_addresses = false",
            listener=f'tls = "starttls"\ncertificate = "{shown}"',
            extra=f"[dns]\ndnssec = true\n{dns}\n",
        )
        await self.up(relay)
        expected = {
            "ee.signed.test": Told("delivered", ' dane"'),
            "mismatch.signed.test": Told("bounced", "5.7.10 DANE with mx.mismatch.signed.test"),
            "plain.test": Told("bounced", "5.7.10 The message requires TLS"),
            "over.plain.test": Told("bounced", "5.7.10 The message requires TLS"),
        }
        await self.ended(relay, expected, submit_required)
        self.assertEqual([(one["requiretls"], one["viol"]) for one in self.mx.accepted()], [(True, [])])
        # A bounce has it where that can be had, and arrives in any case.
        bounces = [f"ok-0+bounce@{domain}" for domain in ("ee.signed.test", "plain.test")]
        await deferToThread(submit_required, relay, *bounces, sender="")
        await self.until(lambda: len(self.mx.accepted()) == 3, 10, "the bounces", relay)
        said = {one["rcpt"]: (one["requiretls"], one["tls"] != "", one["viol"]) for one in self.mx.accepted()[1:]}
        self.assertEqual(said, dict(zip(bounces, ((True, True, []), (False, True, [])), strict=True)))

    async def test_D27_name_servers_that_are_not_believed(self) -> None:
        """The same records, and nobody who vouches for them: they count only where the operator says so."""
        port = await self.names()
        for dnssec, told in (
            ("true", Told("deferred", "matches none of its TLSA records")),
            ("false", Told("delivered", ' untrusted"')),
        ):
            relay = await self.relayed(f'dnssec = {dnssec}\nnameservers = ["127.0.0.1:{port}"]')
            await self.ended(relay, {"dns-tlsa-mismatch.evil.test": told})
            relay.kill()
