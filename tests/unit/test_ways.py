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
from relay.message.tls import REPORTS, TlsPolicy, TlsResult
from relay.message.values import Origin, Result
from relay.net.dane import Dane
from relay.net.dns import DnsError, Found, ServerFailure
from relay.net.tlsa import Record
from tests.unit.test_child import a_briefing
from tests.unit.test_session import offer

KEPT = Host("mx.test", "9.0.0.1")


class FakeResolver:
    """Each domain has two exchangers, mx.DOMAIN and one that is blocked; all names have one address, unless `addresses`
    has another. What is `secure` is validated; TLSA records, or why there are none, stand in `records`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        self.secure = False
        self.addresses: dict[str, str] = {}
        self.records: dict[str, list[str] | DnsError] = {}
        self.looked: list[str] = []

    async def exchangers(self, domain: str) -> Found[tuple[int, str]]:
        return Found([(10, f"mx.{domain}"), (20, "mx.bad.test")], self.secure)

    async def locate(self, host: str, families: tuple[int, ...]) -> Found[str]:
        self.asked.append((host, families))
        return Found([self.addresses.get(host, "9.0.0.1")], self.secure)

    async def alias(self, name: str) -> list[str]:
        return []

    async def tlsa(self, name: str) -> list[str]:
        self.looked.append(name)
        found = self.records.get(name, [])
        if isinstance(found, DnsError):
            raise found.again()
        return found


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.resolver = FakeResolver()
        self.told: list[TlsResult] = []

    def ways(self, **changes: Any) -> Ways:
        return Ways(replace(a_briefing(), **changes), self.resolver, self.told.append)  # type: ignore[arg-type]

    def found(self, ways: Ways, **changes: Any) -> list[Way]:
        return self.successResultOf(Deferred.fromCoroutine(ways.find(offer(**changes))))


class Finding(Case):
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

DIGEST = "ab" * 32
RECORDS = [f"3 1 1 {DIGEST}"]
DANE = Dane("mx.to.test", ("mx.to.test", "to.test"), (Record(3, 1, 1, bytes.fromhex(DIGEST)),))


REPORTED = TlsPolicy("to.test", "tlsa", tuple(RECORDS), ("mx.to.test",))


class ByRecords(Case):
    """D27: TLSA records are the host's own word, and can't be talked out of (RFC 7672 2.2)."""

    def setUp(self) -> None:
        super().setUp()
        self.resolver.secure = True
        self.resolver.addresses = {"mx.bad.test": "9.0.0.2"}

    def refusal(self, ways: Ways, **changes: Any) -> str:
        problem = self.failureResultOf(Deferred.fromCoroutine(ways.find(offer(**changes))), Unroutable).value
        self.assertEqual((problem.result, problem.category), (Result.DEFERRED, "tls"))
        return str(problem)

    def test_each_host_has_its_own(self) -> None:
        self.resolver.records["_25._tcp.mx.to.test"] = RECORDS
        for policy in ("may", "must", "verify"):
            ways = self.ways(tls={"default": policy})
            first, second = self.found(ways)
            self.assertEqual((first.approach.dane, second.approach.dane), (DANE, None))
            self.assertEqual((first.approach.reported, second.approach.reported), (REPORTED, TlsPolicy("to.test")))
            for way in (first, second):
                need = ways.need(offer(), way.host)
                self.assertEqual(need and (need.policy, need.dane), (way.approach.policy, way.approach.dane))

    def test_the_port_is_the_zones(self) -> None:
        self.found(self.ways(options=Zone(port=2525)))
        self.assertEqual(self.resolver.looked, ["_2525._tcp.mx.to.test", "_2525._tcp.mx.bad.test"])

    def test_nothing_is_looked_up_where_it_would_not_count(self) -> None:
        self.resolver.records["_25._tcp.mx.to.test"] = RECORDS
        for changes in (
            {"dane": {"default": False}},
            {"dane": {"default": True, "to.test": False}},
            {"tls": {"default": "none"}},
            {"options": Zone(host="mx.to.test")},
        ):
            ways = self.ways(**changes)
            found = self.found(ways)
            self.assertEqual({way.approach.dane for way in found}, {None}, changes)
            self.assertIsNone(ways.need(offer(), found[0].host).dane)  # type: ignore[union-attr]
        self.found(self.ways(), origin=Origin(REPORTS, ""))
        self.resolver.secure = False
        self.found(self.ways())
        self.assertEqual(self.resolver.looked, [])

    def test_a_look_up_that_fails_takes_the_host_away(self) -> None:
        self.resolver.records["_25._tcp.mx.to.test"] = ServerFailure("name server says SERVFAIL")
        self.assertEqual([way.host.name for way in self.found(self.ways())], ["mx.bad.test"])
        self.resolver.records["_25._tcp.mx.bad.test"] = ServerFailure("name server says SERVFAIL")
        self.told.clear()
        self.assertRegex(self.refusal(self.ways()), r"^4\.7\.5 DANE: .* mx\.to\.test can't be looked up: .*SERVFAIL")
        self.assertEqual([(one.failure, one.mx_host) for one in self.told],
                         [("dnssec-invalid", "mx.to.test"), ("dnssec-invalid", "mx.bad.test")])
        self.assertEqual({one.policy for one in self.told}, {TlsPolicy("to.test", "tlsa")})

    def test_records_of_no_use_ask_for_tls_with_any_certificate(self) -> None:
        self.resolver.records["_25._tcp.mx.to.test"] = [f"1 1 1 {DIGEST}", f"3 1 1 {DIGEST}ff"]
        approach = self.found(self.ways())[0].approach
        self.assertEqual(approach.dane, DANE._replace(records=()))
        self.assertTrue(approach.enforced)
        self.assertIsNone(approach.authority)

    def test_where_they_have_to_be_there(self) -> None:
        ways = self.ways(tls={"default": "dane"})
        self.assertIn("mx.to.test has no TLSA record", self.refusal(ways))
        self.resolver.records["_25._tcp.mx.to.test"] = [f"0 1 1 {DIGEST}"]
        self.assertIn("mx.to.test has no TLSA record that can be used", self.refusal(ways))
        self.resolver.records["_25._tcp.mx.to.test"] = RECORDS
        for require_tls in (False, True):
            [way] = self.found(ways, require_tls=require_tls)
            self.assertEqual(way.approach, Approach(Policy.DANE, dane=DANE, reported=REPORTED))
        self.assertEqual({one.failure for one in self.told}, {"dane-required", "tlsa-invalid"})
        self.resolver.secure = False
        self.assertIn("mx.to.test is not proven", self.refusal(ways))

    def test_a_kept_connection_has_to_know_what_is_asked_now(self) -> None:
        ways = self.ways()
        kept = self.found(ways)[0].host
        self.assertIsNone(ways.need(offer(), kept).dane)  # type: ignore[union-attr]
        self.resolver.records["_25._tcp.mx.to.test"] = RECORDS
        self.found(ways)
        self.assertEqual(ways.need(offer(), kept).dane, DANE)  # type: ignore[union-attr]
        self.resolver.records["_25._tcp.mx.to.test"] = ServerFailure("for now")
        self.found(ways)
        self.assertEqual(ways.need(offer(), kept).dane, DANE)  # type: ignore[union-attr]
        self.resolver.records.clear()
        self.found(ways)
        self.assertIsNone(ways.need(offer(), kept).dane)  # type: ignore[union-attr]
