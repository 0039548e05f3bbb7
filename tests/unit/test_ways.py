"""Where the mail of a zone goes, and how safe it has to be on its way."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Zone
from relay.delivery.exchangers import Host, Unroutable
from relay.delivery.security import Approach, Policy
from relay.delivery.sts.heeding import Heeding
from relay.delivery.sts.policies import Answer
from relay.delivery.sts.policy import Mode, StsPolicy
from relay.delivery.ways import Way, Ways
from relay.message.tls import REPORTS, TlsPolicy, TlsResult
from relay.message.values import Origin, Result
from relay.net.dane import Dane
from relay.net.dns import DnsError, Found, NoSuchDomain, ServerFailure
from relay.net.tlsa import Record
from tests.unit.test_child import a_briefing
from tests.unit.test_session import offer

KEPT = Host("mx.test", "9.0.0.1")


class FakeResolver:
    """Each domain has two exchangers, mx.DOMAIN and one that is blocked; all names have one address, unless `addresses`
    has another. What is `secure` is validated; TLSA records, or why there are none, stand in `records`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[int, ...]]] = []
        self.problem: Exception | None = None
        self.secure = False
        self.addresses: dict[str, str] = {}
        self.records: dict[str, list[str] | DnsError] = {}
        self.looked: list[str] = []

    async def exchangers(self, domain: str) -> Found[tuple[int, str]]:
        if self.problem is not None:
            raise self.problem
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

    def ways(self, policies: Any = None, **changes: Any) -> Ways:
        briefing = replace(a_briefing(), **changes)
        sts = policies and Heeding(briefing.sts, policies, self.told.append)
        return Ways(briefing, self.resolver, self.told.append, sts)  # type: ignore[arg-type]

    def found(self, ways: Ways, **changes: Any) -> list[Way]:
        return self.successResultOf(Deferred.fromCoroutine(ways.find(offer(**changes))))


class Finding(Case):
    def test_how_safe_mail_has_to_be(self) -> None:
        """As the briefing says of its domain."""
        ways = self.ways(options=Zone(implicit_tls=True), tls={"default": "none", "safe.test": "must"})
        for domain, policy in (("x.test", Policy.NONE), ("safe.test", Policy.MUST)):
            approach = Approach(policy, implicit=True, reported=TlsPolicy(domain))
            self.assertEqual({way.approach for way in self.found(ways, domain=domain)}, {approach})
            self.assertEqual(ways.need(offer(domain=domain), KEPT), approach)
        self.assertEqual(
            self.found(self.ways())[0],
            Way(Host("mx.to.test", "9.0.0.1", 10), Approach(Policy.MAY, reported=TlsPolicy("to.test"))),
        )
        [literal] = self.found(self.ways(), domain="[9.0.0.1]")
        self.assertIsNone(literal.approach.reported)

    def test_mail_with_a_report_goes_in_any_case(self) -> None:
        """And tells nothing of itself (RFC 8460 3); a next hop of ours asks for what it asks of all mail."""
        for host, approach in (("", Approach(heedless=True)), ("smart.test", Approach(Policy.VERIFY))):
            ways = self.ways(options=Zone(host=host), tls={"default": "verify"})
            [way] = self.found(ways, origin=Origin(REPORTS, ""))
            self.assertEqual(way.approach, approach)

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


class FakePolicies:
    """Domains have these policies; `known` knows all that were asked for."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.cancelled = 0

    async def of(self, domain: str) -> Answer:
        self.asked.append(domain)
        if "wait" in self.answers:
            await Deferred(lambda _: self._given_up())
        return self.answers[domain.partition(".")[0]]

    def _given_up(self) -> None:
        self.cancelled += 1

    def known(self, domain: str) -> Answer | None:
        return self.answers[domain.partition(".")[0]] if domain in self.asked else None


def policy(mode: Mode, *mx: str) -> Answer:
    return Answer(StsPolicy(mode, mx, 86400))


GONE = "4.7.5 The MTA-STS policy of gone.test allows none of its hosts"
LOST = Answer(None, "it is down", "sts-policy-fetch-error")


class PolicyCase(Case):
    def setUp(self) -> None:
        super().setUp()
        self.policies = FakePolicies(
            safe=policy(Mode.ENFORCE, "*.safe.test"),
            tests=policy(Mode.TESTING, "mx.else.test"),
            off=policy(Mode.NONE),
            gone=policy(Mode.ENFORCE, "mx.else.test"),
            lost=LOST,
            plain=Answer(None, "it has no MTA-STS record"),
        )

    def heeding(self, **changes: Any) -> Ways:
        return self.ways(self.policies, **{"sts": {"default": True}} | changes)

    def deferred(self, ways: Ways, domain: str) -> str:
        found = Deferred.fromCoroutine(ways.find(offer(domain=domain)))
        problem = self.failureResultOf(found, Unroutable).value
        self.assertEqual((problem.result, problem.category), (Result.DEFERRED, "tls"))
        return str(problem)


class ByPolicy(PolicyCase):
    """The policies of domains, whose hosts mx.DOMAIN and mx.bad.test have the same address."""

    def test_D26_enforced(self) -> None:
        """None but the hosts it allows, whose certificates have to prove it; by `may` and by all that asks for more."""
        reported = TlsPolicy("safe.test", "sts", policy(Mode.ENFORCE, "*.safe.test").policy.lines(), ("*.safe.test",))
        for tls in ("may", "must", "verify", "sts"):
            [way] = self.found(self.heeding(tls={"default": tls}), domain="safe.test")
            self.assertEqual(way.host.name, "mx.safe.test")
            self.assertEqual(way.approach, Approach(Policy.STS, reported=reported, named=True))
        self.assertEqual(self.told, [])

    def test_D26_none_is_left(self) -> None:
        text = self.deferred(self.heeding(), "gone.test")
        self.assertEqual(text, f"{GONE} (mx.gone.test, mx.bad.test)")
        [told] = self.told
        self.assertEqual((told.policy.type, told.failure, told.text), ("sts", "validation-failure", text))
        self.assertEqual(told.mx_host, "mx.gone.test")
        self.assertEqual(self.resolver.asked, [], "of hosts that aren't called no address is asked for")

    def test_D26_only_tested(self) -> None:
        for tls in (Policy.MAY, Policy.MUST, Policy.VERIFY):
            [way] = self.found(self.heeding(tls={"default": str(tls)}), domain="tests.test")
            self.assertEqual(way.approach.policy, tls)
            self.assertTrue(way.approach.tested)
            self.assertIn("none of those", way.approach.flaw)
            self.assertEqual((way.approach.reported or TlsPolicy("")).mx, ("mx.else.test",))

    def test_none_in_force(self) -> None:
        for domain in ("off.test", "plain.test", "lost.test"):
            [way] = self.found(self.heeding(), domain=domain)
            self.assertEqual(way.approach, Approach(Policy.MAY, reported=TlsPolicy(domain)))
            told = [TlsResult(TlsPolicy("lost.test", "sts"), "sts-policy-fetch-error", "it is down")]
            self.assertEqual(self.told, told if domain == "lost.test" else [])

    def test_where_one_has_to_be(self) -> None:
        for domain, words in (
            ("off.test", 'its mode is "none"'),
            ("tests.test", 'its mode is "testing"'),
            ("plain.test", "it has no MTA-STS record"),
            ("lost.test", "it is down"),
        ):
            text = self.deferred(self.heeding(tls={"default": "sts"}), domain)
            self.assertEqual(text, f"4.7.5 {domain} needs an MTA-STS policy that is enforced: {words}")

    def test_where_they_are_not_heeded(self) -> None:
        for changes in (
            {"sts": {"default": False}},
            {"sts": {"default": True, "safe.test": False}},
            {"options": Zone(host="smart.test")},
        ):
            [way] = self.found(self.heeding(**changes), domain="safe.test")
            self.assertEqual(way.approach.policy, Policy.MAY)
        [way] = self.found(self.heeding(), domain="[9.0.0.1]")
        [way] = self.found(self.heeding(), domain="safe.test", origin=Origin(REPORTS, ""))
        self.assertEqual((way.approach, self.policies.asked), (Approach(heedless=True), []))

    def test_kept_connections(self) -> None:
        """Nothing is known before a look; then each domain asks for its own, whatever another has on the host."""
        safe, bad = Host("mx.safe.test", "9.0.0.1"), Host("mx.bad.test", "9.0.0.1")
        ways = self.heeding()
        self.assertIsNone(ways.need(offer(domain="safe.test"), safe))
        for domain in ("safe.test", "plain.test", "tests.test", "off.test"):
            self.found(ways, domain=domain)
        for domain, host, asked in (
            ("safe.test", safe, Policy.STS),
            ("safe.test", bad, None),
            ("plain.test", safe, Policy.MAY),
            ("tests.test", safe, Policy.MAY),
            ("off.test", bad, Policy.MAY),
        ):
            need = ways.need(offer(domain=domain), host)
            self.assertEqual(need and need.policy, asked, domain)
        strict = self.heeding(tls={"default": "sts"})
        self.assertIsNone(strict.need(offer(domain="tests.test"), safe))
        self.assertEqual((strict.need(offer(domain="safe.test"), safe) or Approach()).policy, Policy.STS)

    def test_who_gives_up(self) -> None:
        """Neither a look that nobody waits for, nor one for a domain without hosts, goes on, or is reported."""
        self.policies.answers["wait"] = LOST
        found = Deferred.fromCoroutine(self.heeding().find(offer(domain="safe.test")))
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.assertEqual(self.policies.cancelled, 1)
        self.resolver.problem = NoSuchDomain("there is none")
        found = Deferred.fromCoroutine(self.heeding().find(offer(domain="safe.test")))
        self.failureResultOf(found, Unroutable)
        self.assertEqual(self.policies.cancelled, 2)


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
            self.assertEqual(
                way.approach, Approach(Policy.DANE, dane=DANE, reported=REPORTED, required=require_tls)
            )
        self.assertEqual({one.failure for one in self.told}, {"dane-required", "tlsa-invalid"})
        self.resolver.secure = False
        self.assertIn("mx.to.test is not proven", self.refusal(ways))

    def test_an_address_in_place_of_a_domain_is_told_no_reports(self) -> None:
        text = self.refusal(self.ways(tls={"default": "dane"}), domain="[9.0.0.1]")
        self.assertIn("is not proven", text)
        self.assertEqual(self.told, [])

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

    def test_a_kept_connection_for_which_no_records_were_looked_up(self) -> None:
        """Mail with a report goes whatever they say; what comes after it does not."""
        ways = self.ways()
        [kept, _] = self.found(ways, origin=Origin(REPORTS, ""))
        self.assertIsNone(ways.need(offer(), kept.host))
        self.assertEqual(ways.need(offer(origin=Origin(REPORTS, "")), kept.host), Approach(heedless=True))


class ByBoth(PolicyCase):
    """The domain says which hosts are meant, and each of these by TLSA records what proves it (RFC 8461 2)."""

    def setUp(self) -> None:
        super().setUp()
        self.resolver.secure = True
        self.resolver.addresses = {"mx.bad.test": "9.0.0.2"}

    def record(self, domain: str) -> Dane:
        self.resolver.records[f"_25._tcp.mx.{domain}"] = RECORDS
        return DANE._replace(base=f"mx.{domain}", names=(f"mx.{domain}", domain))

    def test_records_go_before_authorities(self) -> None:
        dane = self.record("safe.test")
        reported = TlsPolicy("safe.test", "tlsa", tuple(RECORDS), ("mx.safe.test",))
        for tls, policy in (("may", Policy.STS), ("verify", Policy.STS), ("sts", Policy.STS), ("dane", Policy.DANE)):
            ways = self.heeding(tls={"default": tls})
            [way] = self.found(ways, domain="safe.test")
            self.assertEqual(way.approach, Approach(policy, reported=reported, dane=dane, named=True))
            self.assertEqual((way.approach.authority, way.approach.verified), (dane, False))
            need = ways.need(offer(domain="safe.test"), way.host)
            self.assertEqual(need and (need.policy, need.dane), (policy, dane))

    def test_records_let_no_host_in_that_is_not_meant(self) -> None:
        self.record("bad.test")
        for tls in ("may", "dane"):
            self.deferred(self.heeding(tls={"default": tls}), "gone.test")
        [way] = self.found(self.heeding(), domain="safe.test")
        self.assertEqual((way.host.name, way.approach.dane), ("mx.safe.test", None))
        self.assertNotIn("_25._tcp.mx.bad.test", self.resolver.looked)

    def test_what_can_not_be_looked_up_is_not_left_to_authorities(self) -> None:
        self.resolver.records["_25._tcp.mx.safe.test"] = ServerFailure("name server says SERVFAIL")
        for tls in ("may", "sts", "dane"):
            self.told.clear()
            self.assertIn("4.7.5 DANE: ", self.deferred(self.heeding(tls={"default": tls}), "safe.test"))
            self.assertEqual([(one.policy, one.failure) for one in self.told],
                             [(TlsPolicy("safe.test", "tlsa"), "dnssec-invalid")])

    def test_without_records_the_policy_alone_counts(self) -> None:
        [way] = self.found(self.heeding(), domain="safe.test")
        self.assertEqual((way.approach.policy, way.approach.dane, way.approach.verified), (Policy.STS, None, True))
        self.assertEqual((way.approach.reported or TlsPolicy("")).type, "sts")
        text = self.deferred(self.heeding(tls={"default": "dane"}), "safe.test")
        self.assertEqual(text, "4.7.5 DANE: mx.safe.test has no TLSA record")

    def test_with_records_of_no_use_authorities_have_their_say(self) -> None:
        self.resolver.records["_25._tcp.mx.safe.test"] = [f"0 1 1 {DIGEST}"]
        [way] = self.found(self.heeding(), domain="safe.test")
        self.assertEqual((way.approach.policy, way.approach.verified), (Policy.STS, True))
        self.assertEqual(way.approach.reported, TlsPolicy("safe.test", "tlsa", (), ("mx.safe.test",)))

    def test_records_are_no_policy(self) -> None:
        self.record("plain.test")
        text = self.deferred(self.heeding(tls={"default": "sts"}), "plain.test")
        self.assertIn("needs an MTA-STS policy", text)

    def test_of_a_host_with_records_nothing_is_tested(self) -> None:
        dane = self.record("tests.test")
        with_records, without = self.found(self.heeding(), domain="tests.test")
        self.assertEqual((with_records.approach.dane, with_records.approach.flaw), (dane, ""))
        self.assertFalse(with_records.approach.tested)
        self.assertTrue(without.approach.tested and without.approach.flaw)


class SharedResolver(FakeResolver):
    """The exchangers of all domains are the same two, but those of other.test."""

    async def exchangers(self, domain: str) -> Found[tuple[int, str]]:
        found = await super().exchangers("shared.test")
        return Found([(10, "mx.else.test")], self.secure) if domain == "other.test" else found


class Also(PolicyCase):
    """How safe a connection has to be that was made for another domain."""

    def setUp(self) -> None:
        super().setUp()
        self.resolver = SharedResolver()
        self.resolver.addresses = {"mx.shared.test": "9.0.0.1", "mx.bad.test": "9.0.0.2", "mx.else.test": "9.0.0.1"}

    def also(self, ways: Ways, domain: str, host: Host = KEPT, **changes: Any) -> Approach | None:
        return self.successResultOf(Deferred.fromCoroutine(ways.also(offer(domain=domain, **changes), host)))

    def test_it_is_one_of_their_hosts_by_name_and_address(self) -> None:
        ways = self.ways()
        for name, address, is_theirs in (
            ("mx.shared.test", "9.0.0.1", True),
            ("MX.Shared.test.", "9.0.0.1", True),
            ("mx.bad.test", "9.0.0.2", True),
            ("mx.shared.test", "9.0.0.2", False),
            ("mx.else.test", "9.0.0.1", False),
        ):
            need = self.also(ways, "x.test", Host(name, address, 10))
            self.assertEqual(need, Approach(reported=TlsPolicy("x.test")) if is_theirs else None, name)
        self.assertIsNone(self.also(ways, "other.test", Host("mx.shared.test", "9.0.0.1", 10)))

    def test_as_its_own_domain_asks(self) -> None:
        host = Host("mx.shared.test", "9.0.0.1", 10)
        ways = self.ways(tls={"default": "may", "must.test": "must"})
        for domain, policy_ in (("x.test", Policy.MAY), ("must.test", Policy.MUST)):
            need = self.also(ways, domain, host)
            self.assertEqual(need and need.policy, policy_)

    def test_as_the_message_asks(self) -> None:
        """With REQUIRETLS its own domain has to prove that the host is one of its own."""
        host = Host("mx.shared.test", "9.0.0.1", 10)
        for self.resolver.secure, policy_ in ((False, None), (True, Policy.VERIFY)):
            need = self.also(self.ways(), "x.test", host, require_tls=True)
            self.assertEqual(need and need.policy, policy_)

    def test_by_its_mta_sts_policy(self) -> None:
        """It is asked for, if it isn't known; and nothing is told of it."""
        host = Host("mx.shared.test", "9.0.0.1", 10)
        self.policies.answers["safe"] = policy(Mode.ENFORCE, "mx.shared.test")
        ways = self.heeding()
        for domain, policy_ in (
            ("plain.test", Policy.MAY), ("lost.test", Policy.MAY), ("safe.test", Policy.STS), ("gone.test", None),
        ):
            need = self.also(ways, domain, host)
            self.assertEqual(need and need.policy, policy_, domain)
        self.assertEqual(self.policies.asked, ["plain.test", "lost.test", "safe.test", "gone.test"])
        self.assertEqual(self.told, [])

    def test_by_the_records_of_the_host(self) -> None:
        """The certificate may bear a name of its own domain, and so each asks for something else."""
        self.resolver.secure = True
        self.resolver.records["_25._tcp.mx.shared.test"] = ["3 1 1 " + "ab" * 32]
        ways = self.ways()
        [first] = [way for way in self.found(ways, domain="first.test") if way.host.name == "mx.shared.test"]
        need = self.also(ways, "x.test", first.host)
        assert need is not None and need.dane is not None and first.approach.dane is not None
        self.assertEqual(need.dane.records, first.approach.dane.records)
        self.assertNotEqual(need.dane, first.approach.dane)
        self.resolver.records["_25._tcp.mx.shared.test"] = ServerFailure("down")
        self.assertIsNone(self.also(self.ways(), "x.test", first.host))
        self.assertEqual(self.told, [])

    def test_records_that_can_not_be_looked_up_now_are_not_those_of_before(self) -> None:
        self.resolver.secure = True
        host, ways = Host("mx.shared.test", "9.0.0.1", 10), self.ways(dane={"default": True, "off.test": False})
        for domain in ("x.test", "off.test"):
            self.assertIsNotNone(self.also(ways, domain, host), "it has none")
        self.resolver.records["_25._tcp.mx.shared.test"] = ServerFailure("down")
        self.assertIsNone(self.also(ways, "x.test", host))
        self.assertIsNotNone(self.also(ways, "off.test", host), "they don't count")

    def test_a_fixed_next_hop_takes_it_all(self) -> None:
        ways = self.ways(options=Zone(host="smart.test"), tls={"default": "may", "must.test": "must"})
        host = Host("smart.test", "9.0.0.1")
        self.assertEqual(self.also(ways, "x.test", host), Approach())
        self.assertEqual(self.also(ways, "must.test", host), Approach(Policy.MUST))
        self.assertEqual(self.resolver.asked, [])

    def test_no_hosts(self) -> None:
        self.resolver.problem = NoSuchDomain("there is none")
        asked = Deferred.fromCoroutine(self.ways().also(offer(domain="x.test"), KEPT))
        self.failureResultOf(asked, Unroutable)
