"""Where the mail of a zone goes, and how safe it has to be on its way."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Zone
from relay.delivery.exchangers import Host, Unroutable
from relay.delivery.security import Approach, Policy
from relay.delivery.ways import Way, Ways
from relay.message.tls import REPORTS, TlsPolicy
from relay.message.values import Origin, Result
from tests.unit.test_child import a_briefing
from tests.unit.test_session import offer

KEPT = Host("mx.test", "9.0.0.1")


class FakeResolver:
    """Each domain has two exchangers, mx.DOMAIN and one that is blocked; all names have one address."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[int, ...]]] = []

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        return [(10, f"mx.{domain}"), (20, "mx.bad.test")]

    async def addresses(self, host: str, families: tuple[int, ...]) -> list[str]:
        self.asked.append((host, families))
        return ["9.0.0.1"]


class Finding(SynchronousTestCase):
    def setUp(self) -> None:
        self.resolver = FakeResolver()

    def ways(self, **changes: Any) -> Ways:
        return Ways(replace(a_briefing(), **changes), self.resolver)  # type: ignore[arg-type]

    def found(self, ways: Ways, **changes: Any) -> list[Way]:
        return self.successResultOf(Deferred.fromCoroutine(ways.find(offer(**changes))))

    def test_how_safe_mail_has_to_be(self) -> None:
        """As the briefing says of its domain; REQUIRETLS asks for more (RFC 8689 4.2.1)."""
        ways = self.ways(options=Zone(implicit_tls=True), tls={"default": "none", "safe.test": "must"})
        for domain, required, policy in (
            ("x.test", False, Policy.NONE),
            ("safe.test", False, Policy.MUST),
            ("x.test", True, Policy.VERIFY),
        ):
            approach = Approach(policy, implicit=True, reported=TlsPolicy(domain))
            asked = {"domain": domain, "require_tls": required}
            self.assertEqual({way.approach for way in self.found(ways, **asked)}, {approach})
            self.assertEqual(ways.need(offer(**asked), KEPT), approach)
        self.assertEqual(
            self.found(self.ways())[0],
            Way(Host("mx.to.test", "9.0.0.1", 10), Approach(Policy.MAY, reported=TlsPolicy("to.test"))),
        )
        [literal] = self.found(self.ways(), domain="[9.0.0.1]")
        self.assertIsNone(literal.approach.reported)

    def test_mail_with_a_report_goes_in_any_case(self) -> None:
        """And tells nothing of itself (RFC 8460 3); a next hop of ours asks for what it asks of all mail."""
        for host, policy in (("", Policy.MAY), ("smart.test", Policy.VERIFY)):
            ways = self.ways(options=Zone(host=host), tls={"default": "verify"})
            [way] = self.found(ways, origin=Origin(REPORTS, ""))
            self.assertEqual(way.approach, Approach(policy))

    def test_mail_for_our_own_listener_loops(self) -> None:
        """Told in the briefing: 192.0.2.25 is this relay itself."""
        found = Deferred.fromCoroutine(self.ways().find(offer(domain="[192.0.2.25]")))
        problem = self.failureResultOf(found, Unroutable).value
        self.assertEqual((problem.result, str(problem)[:6]), (Result.BOUNCED, "5.4.6 "))

    def test_how_domains_are_reached(self) -> None:
        """Each domain as the briefing says, and hosts that are blocked not at all."""
        ipv6 = {"default": (False, True), "four.test": (True, False)}
        ways = self.ways(options=Zone(block_domains=("Bad.test.",)), ipv6=ipv6)
        for domain in ("four.test", "most.test"):
            self.found(ways, domain=domain)
        self.assertEqual(self.resolver.asked, [("mx.four.test", (4,)), ("mx.most.test", (6, 4))])

    def test_a_fixed_next_hop(self) -> None:
        """It takes mail for every domain."""
        ways = self.ways(options=Zone(host="smart.test"))
        self.assertEqual([way.host.name for way in self.found(ways)], ["smart.test"])
        self.assertTrue(ways.serves("other.test", KEPT))
        self.assertFalse(self.ways().serves("other.test", KEPT))

    def test_a_url(self) -> None:
        """Its host, which may be local, takes it all; https:// is always verified, whatever was said of TLS."""
        for url, name, approach in (
            ("https://web.test/in", "web.test", Approach(Policy.VERIFY, implicit=True)),
            ("http://127.0.0.1:8080/", "127.0.0.1", Approach(Policy.NONE)),
        ):
            ways = self.ways(options=Zone(url=url), tls={"default": "must"})
            self.assertEqual([(way.host.name, way.approach) for way in self.found(ways)], [(name, approach)])
            self.assertEqual(ways.need(offer(), KEPT), approach)
            self.assertTrue(ways.serves("other.test", KEPT))
