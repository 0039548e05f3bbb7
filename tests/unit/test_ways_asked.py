"""What a message itself asks of the way: a policy of its own, REQUIRETLS, or to arrive in any case (RFC 8689)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from relay.config.schema import Zone
from relay.delivery.exchangers import Host, Unroutable
from relay.delivery.security import Approach, Policy
from relay.delivery.sts.policies import Answer
from relay.delivery.ways import Ways
from relay.message.tls import TlsPolicy
from relay.message.values import Result
from relay.net.dns import NoData, NoSuchDomain
from tests.unit.test_session import offer
from tests.unit.test_ways import DANE, RECORDS, PolicyCase


class Demanding(PolicyCase):
    def test_more_and_never_less(self) -> None:
        for own, word, policy in (
            ("may", "must", Policy.MUST),
            ("none", "verify", Policy.VERIFY),
            ("verify", "must", Policy.VERIFY),
            ("must", "", Policy.MUST),
            ("must", "no", Policy.MUST),
            ("verify", "no", Policy.VERIFY),
            ("may", "no", Policy.MAY),
            ("none", "no", Policy.NONE),
        ):
            ways = self.heeding(tls={"default": own})
            [way] = self.found(ways, domain="plain.test", tls=word)
            self.assertEqual(way.approach.policy, policy, (own, word))
            need = ways.need(offer(domain="plain.test", tls=word), way.host)
            self.assertEqual(need, way.approach)

    def test_a_policy_that_zone_and_domain_have_no_use_for(self) -> None:
        """The domain is asked for this message, and for no other."""
        ways = self.heeding(tls={"default": "none"}, sts={"default": False}, dane={"default": False})
        self.assertIn("needs an MTA-STS policy that is enforced", self.asked(ways, "plain.test", "sts"))
        [way] = self.found(ways, domain="safe.test", tls="sts")
        self.assertEqual((way.approach.policy, way.approach.verified), (Policy.STS, True))
        [way] = self.found(ways, domain="safe.test")
        self.assertEqual(way.approach.policy, Policy.NONE)
        self.assertIn("mx.plain.test is not proven", self.asked(ways, "plain.test", "dane"))
        self.resolver.secure = True
        self.resolver.records["_25._tcp.mx.plain.test"] = RECORDS
        [way] = self.found(ways, domain="plain.test", tls="dane")
        names = ("mx.plain.test", "plain.test")
        self.assertEqual(way.approach.authority, DANE._replace(base="mx.plain.test", names=names))

    def test_a_next_hop_of_ours(self) -> None:
        """Its name is given, so that its certificate alone has to be right."""
        for word in ("verify", "sts", "dane"):
            ways = self.heeding(options=Zone(host="smart.test"))
            [way] = self.found(ways, tls=word)
            self.assertEqual(way.approach, Approach(Policy.VERIFY))

    def asked(self, ways: Ways, domain: str, word: str) -> str:
        found = Deferred.fromCoroutine(ways.find(offer(domain=domain, tls=word)))
        problem = self.failureResultOf(found, Unroutable).value
        self.assertEqual(problem.result, Result.DEFERRED)
        return str(problem)


class Heedless(PolicyCase):
    """TLS-Required: No (RFC 8689 4.2.2): neither the domain nor its hosts are asked."""

    def test_nothing_is_asked_for(self) -> None:
        self.resolver.secure = True
        self.resolver.addresses = {"mx.bad.test": "9.0.0.2"}
        self.resolver.records["_25._tcp.mx.gone.test"] = RECORDS
        ways = self.heeding()
        for tls in ("may", "must"):
            ways = self.heeding(tls={"default": tls})
            found = self.found(ways, domain="gone.test", tls="no")
            self.assertEqual({way.approach for way in found}, {Approach(Policy(tls), heedless=True)})
            self.assertEqual([way.host.name for way in found], ["mx.gone.test", "mx.bad.test"])
            self.assertEqual(ways.need(offer(domain="gone.test", tls="no"), found[0].host), found[0].approach)
            self.assertIsNone(ways.need(offer(domain="gone.test"), found[0].host), "others have to look")
        self.assertEqual((self.policies.asked, self.resolver.looked, self.told), ([], [], []))

    def test_what_the_operator_wants_of_them_stays(self) -> None:
        for tls, words in (("sts", "needs an MTA-STS policy"), ("dane", "is not proven")):
            ways = self.heeding(tls={"default": tls})
            found = Deferred.fromCoroutine(ways.find(offer(domain="plain.test", tls="no")))
            self.assertIn(words, str(self.failureResultOf(found, Unroutable).value))


class Required(PolicyCase):
    """REQUIRETLS (RFC 8689 4.2.1): to hosts that nobody between can have named."""

    def refusal(self, domain: str, **changes: Any) -> tuple[Result, str, str]:
        found = Deferred.fromCoroutine(self.heeding(**changes).find(offer(domain=domain, require_tls=True)))
        problem = self.failureResultOf(found, Unroutable).value
        self.assertEqual(problem.category, "tls")
        status, _, text = str(problem).partition(" ")
        return problem.result, status, text

    def test_names_in_signed_answers(self) -> None:
        self.resolver.secure = True
        for tls, policy in (("none", Policy.VERIFY), ("must", Policy.VERIFY), ("verify", Policy.VERIFY)):
            ways = self.heeding(tls={"default": tls}, sts={"default": False})
            way, _ = self.found(ways, domain="plain.test", require_tls=True)
            self.assertEqual(way.approach, Approach(policy, reported=TlsPolicy("plain.test"), required=True))
            self.assertEqual(ways.need(offer(domain="plain.test", require_tls=True), way.host), way.approach)
            unsigned = way.host._replace(meant=False)
            self.assertIsNone(ways.need(offer(domain="plain.test", require_tls=True), unsigned))
            self.assertIsNotNone(ways.need(offer(domain="plain.test"), unsigned))

    def test_names_in_policies(self) -> None:
        """In force or on trial, and whether other mail heeds them or not."""
        self.policies.answers["tests"] = Answer(self.policies.answers["tests"].policy._replace(mx=("mx.bad.test",)))  # type: ignore[union-attr]
        self.resolver.addresses = {"mx.bad.test": "9.0.0.2"}
        for sts in (True, False):
            ways = self.heeding(sts={"default": sts})
            [way] = self.found(ways, domain="safe.test", require_tls=True)
            self.assertEqual((way.host.name, way.approach.policy), ("mx.safe.test", Policy.STS))
            self.assertEqual(ways.need(offer(domain="safe.test", require_tls=True), way.host), way.approach._replace(
                reported=TlsPolicy("safe.test")))
            [way] = self.found(ways, domain="tests.test", require_tls=True)
            self.assertEqual((way.host.name, way.approach.policy), ("mx.bad.test", Policy.VERIFY))
            self.assertTrue(way.approach.required and way.approach.named)
            other = Host("mx.tests.test", "9.0.0.1")
            self.assertIsNone(ways.need(offer(domain="tests.test", require_tls=True), other))

    def test_nothing_proves_them(self) -> None:
        for domain in ("plain.test", "off.test", "tests.test"):
            result, status, text = self.refusal(domain)
            self.assertEqual((result, status), (Result.BOUNCED, "5.7.10"))
            self.assertIn(f"nothing proves which hosts take mail of {domain}", text)
        self.assertEqual(self.refusal("gone.test")[:2], (Result.BOUNCED, "5.7.10"))

    def test_nobody_can_tell(self) -> None:
        """Then it is too early to give up."""
        self.policies.answers["lost"] = Answer(None, "it is down", "sts-policy-fetch-error", True)
        self.assertEqual(self.refusal("lost.test")[:2], (Result.DEFERRED, "4.7.5"))

    def test_the_domain_itself_and_a_next_hop_of_ours(self) -> None:
        self.resolver.problem = NoData("plain.test has no MX")
        smart = {"options": Zone(host="smart.test")}
        for changes, asked in (({}, "plain.test"), ({}, "[9.0.0.1]"), (smart, "plain.test")):
            ways = self.heeding(**changes)
            [way] = self.found(ways, domain=asked, require_tls=True)
            self.assertEqual((way.approach.policy, way.approach.required), (Policy.VERIFY, True))
            self.assertIsNotNone(ways.need(offer(domain=asked, require_tls=True), way.host))


class Bounces(PolicyCase):
    """REQUIRETLS in a bounce: where it can be had, and where it can't the bounce goes without (RFC 8689 4.2.1, 5)."""

    def bounce(self, ways: Ways, domain: str) -> list[tuple[str, Policy, bool]]:
        found = self.found(ways, domain=domain, sender="", require_tls=True)
        for way in found:
            self.assertIsNone(ways.need(offer(domain=domain, sender="", require_tls=True), way.host))
        return [(way.host.name, way.approach.policy, way.approach.required) for way in found]

    def test_hosts_that_are_proven_come_first(self) -> None:
        self.resolver.secure = True
        for tls, without in (("may", Policy.MAY), ("verify", Policy.VERIFY)):
            ways = self.bounce(self.heeding(tls={"default": tls}), "plain.test")
            hosts = list(dict.fromkeys(name for name, _, _ in ways))
            safe = [(name, Policy.VERIFY, True) for name in hosts]
            self.assertEqual(ways, safe + [(name, without, False) for name in hosts])

    def test_nothing_proves_them(self) -> None:
        ways = self.bounce(self.heeding(), "plain.test")
        self.assertEqual({(policy, required) for _, policy, required in ways}, {(Policy.MAY, False)})

    def test_what_the_domain_asks_for_stays(self) -> None:
        self.assertEqual({policy for _, policy, _ in self.bounce(self.heeding(), "safe.test")}, {Policy.STS})

    def test_there_is_no_host(self) -> None:
        self.resolver.problem = NoSuchDomain("gone.test does not exist")
        found = Deferred.fromCoroutine(self.heeding().find(offer(domain="gone.test", sender="", require_tls=True)))
        self.assertEqual(self.failureResultOf(found, Unroutable).value.result, Result.BOUNCED)

    def test_by_http_the_scheme_says_how_safe_it_is(self) -> None:
        ways = self.heeding(options=Zone(url="https://hook.test/in"))
        [way] = self.found(ways, sender="", require_tls=True)
        self.assertIsNotNone(ways.need(offer(sender="", require_tls=True), way.host))
