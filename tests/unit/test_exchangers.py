"""Which hosts take mail for a domain, and what it means when there are none."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from relay.delivery.exchangers import MAX_ADDRESSES, Host, Proven, Settings, Unroutable, find, next_hop
from relay.message.values import Result
from relay.net.dns import DnsError, Family, Found, NoData, NoSuchDomain, NullMX, ServerFailure, TimedOut


class Zone:
    """A resolver made of what is in it; what isn't does not exist.

    Attributes:
        signed: names of which every answer is validated.
        aliases: what names stand for; their addresses are told under their own.
        broken: of these it can't be told whether they are aliases.
    """

    def __init__(self, mx: dict[str, Any], addresses: dict[str, Any]) -> None:
        self._mx = mx
        self._addresses = addresses
        self.asked: list[str] = []
        self.signed: set[str] = set()
        self.aliases: dict[str, str] = {}
        self.broken: set[str] = set()

    def _found(self, name: str, items: list[Any]) -> Found[Any]:
        alias = self.aliases.get(name, "")
        return Found(items, {name, alias or name} <= self.signed, alias)

    async def alias(self, name: str) -> list[str]:
        self.asked.append(f"CNAME {name}")
        if name in self.broken:
            raise ServerFailure("broken")
        return [self.aliases[name]] if name in self.signed and name in self.aliases else []

    async def tlsa(self, name: str) -> list[str]:
        raise AssertionError("not asked for here")

    async def exchangers(self, domain: str) -> Found[tuple[int, str]]:
        self.asked.append(f"MX {domain}")
        found = self._mx.get(domain, NoSuchDomain(f"{domain} does not exist"))
        if isinstance(found, DnsError):
            raise found
        return self._found(domain, list(found))

    async def locate(self, host: str, families: Iterable[Family]) -> Found[str]:
        self.asked.append(f"{''.join(map(str, families))} {host}")
        found = self._addresses.get(host, NoSuchDomain(f"{host} does not exist"))
        if isinstance(found, DnsError):
            raise found
        wanted = [address for family in families for address in found if (":" in address) == (family == 6)]
        if not wanted:
            raise NoData(f"{host} has no address")
        return self._found(host, wanted)


class Case(TestCase):
    def asking(
        self, mx: Any, addresses: dict[str, Any] | None = None, domain: str = "to.test", **options: Any
    ) -> Deferred[list[Host]]:
        self.zone = Zone({} if mx is None else {"to.test": mx}, addresses or {})
        return Deferred.fromCoroutine(find(self.zone, domain, Settings(random=Random(1), **options)))

    def find(self, *args: Any, **options: Any) -> list[Host]:
        return self.successResultOf(self.asking(*args, **options))

    def outcome(self, *args: Any, **options: Any) -> tuple[Result, str, str]:
        """Result, category and enhanced code of the failure."""
        problem = self.failureResultOf(self.asking(*args, **options), Unroutable).value
        assert isinstance(problem, Unroutable)
        return problem.result, problem.category, str(problem).split(" ")[0]


class Order(Case):
    def test_by_preference(self) -> None:
        found = self.find(
            [(20, "b.test"), (10, "a.test")], {"a.test": ["9.0.0.1", "9.0.0.2"], "b.test": ["9.0.0.3"]}
        )
        self.assertEqual(
            found,
            [Host("a.test", "9.0.0.1", 10), Host("a.test", "9.0.0.2", 10), Host("b.test", "9.0.0.3", 20)],
        )

    def test_ties_are_shuffled(self) -> None:
        names = [f"{letter}.test" for letter in "abcdef"]
        zone = Zone(
            {"to.test": [(10, name) for name in names] + [(5, "first.test")]},
            {name: [f"9.0.0.{number}"] for number, name in enumerate([*names, "first.test"])},
        )
        orders = set()
        for seed in range(20):
            deferred = Deferred.fromCoroutine(find(zone, "to.test", Settings(random=Random(seed))))
            found = self.successResultOf(deferred)
            self.assertEqual(found[0].name, "first.test")
            self.assertEqual({host.name for host in found[1:]}, set(names))
            orders.add(tuple(host.name for host in found))
        self.assertGreater(len(orders), 10)

    def test_families(self) -> None:
        mx = [(10, "a.test"), (20, "b.test")]
        addresses = {"a.test": ["9.0.0.1", "2a00::1"], "b.test": ["9.0.0.2", "2a00::2"]}
        for options, wanted in (
            ({}, ["9.0.0.1", "2a00::1", "9.0.0.2", "2a00::2"]),
            ({"prefer_ipv6": True}, ["2a00::1", "9.0.0.1", "2a00::2", "9.0.0.2"]),
            ({"ignore_ipv6": True}, ["9.0.0.1", "9.0.0.2"]),
            ({"ignore_ipv6": True, "prefer_ipv6": True}, ["9.0.0.1", "9.0.0.2"]),
        ):
            found = self.find(mx, addresses, **options)
            self.assertEqual([host.address for host in found], wanted, options)

    def test_each_address_once(self) -> None:
        found = self.find([(10, "a.test"), (20, "b.test")], {"a.test": ["9.0.0.1"], "b.test": ["9.0.0.1"]})
        self.assertEqual(found, [Host("a.test", "9.0.0.1", 10)])

    def test_an_address_stands_where_it_is_best(self) -> None:
        """That a worse host has it, too, makes it no worse than those between."""
        names = ("a.test", "b.test", "c.test")
        addresses = {"a.test": ["9.0.0.1"], "b.test": ["9.0.0.2"], "c.test": ["9.0.0.1", "9.0.0.3"]}
        found = self.find([(10 * number, name) for number, name in enumerate(names)], addresses)
        self.assertEqual([(host.name, host.address) for host in found],
                         [("a.test", "9.0.0.1"), ("b.test", "9.0.0.2"), ("c.test", "9.0.0.3")])

    def test_d31_bounded(self) -> None:
        """manymx, manya: so many questions and so many tries, no more."""
        names = [(number, f"{number}.test") for number in range(60)]
        found = self.find(names, {name: [f"9.0.0.{number}"] for number, name in names})
        self.assertEqual([host.preference for host in found], list(range(MAX_ADDRESSES)))
        self.assertEqual(len(self.zone.asked), 1 + MAX_ADDRESSES)
        found = self.find([(10, "a.test")], {"a.test": [f"9.0.1.{number}" for number in range(200)]})
        self.assertEqual(len(found), MAX_ADDRESSES)

    def test_no_mx_uses_the_domain(self) -> None:
        found = self.find(NoData("no MX"), {"to.test": ["9.0.0.1", "2a00::1"]})
        self.assertEqual(found, [Host("to.test", "9.0.0.1", meant=True), Host("to.test", "2a00::1", meant=True)])

    def test_literals(self) -> None:
        for domain, address in (
            ("[9.0.0.1]", "9.0.0.1"),
            ("[IPv6:2a00::1]", "2a00::1"),
            ("[ipv6:2A00:0::1]", "2a00::1"),
            ("9.0.0.1", "9.0.0.1"),
        ):
            self.assertEqual(self.find(None, domain=domain), [Host(domain, address, meant=True)])
            self.assertEqual(self.zone.asked, [])

    def test_d33_bad_hosts_are_left_out(self) -> None:
        """mx-bad-a: the others are used, whatever is wrong with one."""
        for problem in (NoSuchDomain("x"), ServerFailure("x"), TimedOut("x"), NoData("x")):
            found = self.find([(10, "a.test"), (20, "b.test")], {"a.test": problem, "b.test": ["9.0.0.1"]})
            self.assertEqual(found, [Host("b.test", "9.0.0.1", 20)])

    def test_mx_that_is_an_address(self) -> None:
        self.assertEqual(self.find([(10, "9.0.0.1")]), [Host("9.0.0.1", "9.0.0.1", 10)])


class Nowhere(Case):
    def test_d29_bounces(self) -> None:
        self.assertEqual(self.outcome(None), (Result.BOUNCED, "dns", "5.1.2"))
        self.assertEqual(self.outcome(NoData("no MX")), (Result.BOUNCED, "dns", "5.1.2"))
        self.assertEqual(
            self.outcome(NoData("no MX"), {"to.test": NoData("none")}), (Result.BOUNCED, "dns", "5.1.2")
        )
        self.assertEqual(self.outcome([(10, "a.test")]), (Result.BOUNCED, "dns", "5.1.2"))
        self.assertEqual(self.outcome(NullMX("takes no mail")), (Result.BOUNCED, "dns", "5.1.10"))

    def test_d29_null_mx_asks_no_further(self) -> None:
        self.outcome(NullMX("takes no mail"), {"to.test": ["9.0.0.1"]})
        self.assertEqual(self.zone.asked, ["MX to.test"])

    def test_d28_defers(self) -> None:
        for doubt in (ServerFailure("x"), TimedOut("x")):
            deferred = (Result.DEFERRED, "dns", "4.4.3")
            self.assertEqual(self.outcome(doubt), deferred)
            self.assertEqual(self.outcome(NoData("no MX"), {"to.test": doubt}), deferred)
            # One is certain to be nothing, about the other nobody knows.
            mx = [(10, "a.test"), (20, "b.test")]
            self.assertEqual(self.outcome(mx, {"a.test": NoSuchDomain("x"), "b.test": doubt}), deferred)

    def test_d30_no_fall_back_to_the_address(self) -> None:
        for doubt in (ServerFailure("x"), TimedOut("x")):
            self.assertEqual(self.outcome(doubt, {"to.test": ["9.0.0.1"]})[0], Result.DEFERRED)
            self.assertEqual(set(self.zone.asked), {"MX to.test"})


class Local(Case):
    """D32: mail from outside never leads inside."""

    addresses = (
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "0.0.0.0", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::1", "::127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "fec0::1",
    )  # fmt: skip

    def test_S23_refused(self) -> None:
        """However the address is found, and however it is written."""
        bounced = (Result.BOUNCED, "dns", "5.1.2")
        for address in self.addresses:
            self.assertEqual(self.outcome([(10, "a.test")], {"a.test": [address]}), bounced, address)
            self.assertEqual(self.outcome([(10, address)]), bounced, address)
            self.assertEqual(self.outcome(None, domain=f"[{address}]"), bounced, address)

    def test_left_out(self) -> None:
        found = self.find([(10, "a.test")], {"a.test": ["127.0.0.1", "9.0.0.1"]})
        self.assertEqual([host.address for host in found], ["9.0.0.1"])

    def test_allowed_when_not_blocked(self) -> None:
        for address in ("127.0.0.1", "10.0.0.1", "::1", "fc00::1"):
            found = self.find([(10, "a.test")], {"a.test": [address]}, block_local_addresses=False)
            self.assertEqual(found[0].address, address)
        for address in ("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255"):
            outcome = self.outcome([(10, "a.test")], {"a.test": [address]}, block_local_addresses=False)
            self.assertEqual(outcome[0], Result.BOUNCED, address)

    def test_ourselves(self) -> None:
        """RFC 5321 5.1: only hosts better than ourselves are left."""
        mx = [(10, "a.test"), (20, "us.test"), (20, "b.test"), (30, "c.test")]
        addresses = {
            "a.test": ["9.0.0.1"],
            "us.test": ["9.9.9.9"],
            "b.test": ["9.0.0.2"],
            "c.test": ["9.0.0.3"],
        }
        found = self.find(mx, addresses, own=frozenset({"9.9.9.9"}))
        self.assertEqual([host.name for host in found], ["a.test"])
        self.assertEqual(
            self.outcome(mx[1:], addresses, own=frozenset({"9.9.9.9"})), (Result.BOUNCED, "dns", "5.4.6")
        )


class NextHop(Case):
    def hop(self, host: str, addresses: dict[str, Any], **options: Any) -> Deferred[list[Host]]:
        self.zone = Zone({"hop.test": [(10, "other.test")]}, addresses)
        return Deferred.fromCoroutine(next_hop(self.zone, host, Settings(**options)))

    def test_address(self) -> None:
        for text, address in (("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("[10.0.0.1]", "10.0.0.1")):
            self.assertEqual(self.successResultOf(self.hop(text, {})), [Host(text, address, meant=True)])
            self.assertEqual(self.zone.asked, [])

    def test_name_without_mx(self) -> None:
        found = self.successResultOf(self.hop("hop.test", {"hop.test": ["10.0.0.1", "fc00::1"]}))
        self.assertEqual(found, [Host("hop.test", "10.0.0.1", meant=True), Host("hop.test", "fc00::1", meant=True)])
        self.assertEqual(self.zone.asked, ["46 hop.test"])

    def test_localhost(self) -> None:
        found = self.successResultOf(self.hop("localhost", {}))
        self.assertEqual([host.address for host in found], ["127.0.0.1", "::1"])

    def test_never_bounces(self) -> None:
        for problem, category in ((TimedOut("x"), "dns"), (NoSuchDomain("x"), "ours"), (NoData("x"), "ours")):
            failure = self.failureResultOf(self.hop("hop.test", {"hop.test": problem}), Unroutable)
            self.assertEqual((failure.value.result, failure.value.category), (Result.DEFERRED, category))


class Blocked(Case):
    def test_hosts_and_those_below_them(self) -> None:
        mx = [(5, "MX.bad.test."), (10, "bad.test"), (20, "notbad.test"), (30, "good.test")]
        addresses = {name.lower().rstrip("."): [f"9.0.0.{number}"] for number, name in mx}
        found = self.find(mx, addresses, blocked=frozenset({"bad.test"}))
        self.assertEqual([host.name for host in found], ["notbad.test", "good.test"])
        self.assertNotIn("46 bad.test", self.zone.asked)

    def test_all_of_them(self) -> None:
        for mx in ([(10, "mx.bad.test"), (20, "bad.test")], NoData("no MX")):
            blocked = frozenset({"bad.test", "to.test"})
            self.assertEqual(self.outcome(mx, blocked=blocked), (Result.BOUNCED, "dns", "5.4.4"))
        problem = self.failureResultOf(self.asking([(10, "mx.bad.test")], blocked=frozenset({"test"})), Unroutable)
        self.assertEqual(problem.getErrorMessage(), "5.4.4 Every host of to.test is blocked here (mx.bad.test)")


class Proof(TestCase):
    """What validated answers say of a host (RFC 7672 2.2): the whole way to it, or nothing."""

    def setUp(self) -> None:
        self.zone = Zone({"to.test": [(10, "mx.test")]}, {"mx.test": ["9.0.0.1"], "to.test": ["9.0.0.2"]})

    def proven(self) -> Proven | None:
        """Of the one host."""
        (host,) = self.successResultOf(Deferred.fromCoroutine(find(self.zone, "to.test", Settings())))
        return host.proven

    def test_all_the_way_or_not_at_all(self) -> None:
        for signed, proven in (
            ({"to.test", "mx.test"}, Proven(("mx.test",), ("to.test",))),
            ({"mx.test"}, None),
            ({"to.test"}, None),
            (set(), None),
        ):
            self.zone.signed = signed
            self.assertEqual(self.proven(), proven, signed)
        self.assertNotIn("CNAME", " ".join(self.zone.asked))

    def test_a_domain_without_mx(self) -> None:
        """It is its own host, if that there is no MX was validated."""
        for secure in (True, False):
            denial = NoData("no MX")
            denial.secure = secure
            self.zone._mx["to.test"] = denial
            self.zone.signed = {"to.test"}
            self.assertEqual(self.proven(), Proven(("to.test",), ("to.test",)) if secure else None)

    def test_a_host_that_is_an_alias(self) -> None:
        """What it stands for first, then its own name; that alone when it stands for something unsigned."""
        self.zone.aliases = {"mx.test": "real.test"}
        for signed, bases in (
            ({"to.test", "mx.test", "real.test"}, ("real.test", "mx.test")),
            ({"to.test", "mx.test"}, ("mx.test",)),
            ({"to.test", "real.test"}, None),
            ({"mx.test", "real.test"}, None),
        ):
            self.zone.signed = signed
            self.assertEqual(self.proven(), Proven(bases, ("to.test",)) if bases else None, signed)

    def test_a_domain_that_is_an_alias(self) -> None:
        self.zone.aliases = {"to.test": "elsewhere.test"}
        self.zone.signed = {"to.test", "elsewhere.test", "mx.test"}
        self.assertEqual(self.proven(), Proven(("mx.test",), ("to.test", "elsewhere.test")))

    def test_an_alias_of_which_nobody_can_tell(self) -> None:
        """The host is not used: what is taken away from us must not make it one without DANE."""
        self.zone.aliases = {"mx.test": "real.test"}
        self.zone.signed, self.zone.broken = {"to.test"}, {"mx.test"}
        found = Deferred.fromCoroutine(find(self.zone, "to.test", Settings()))
        problem = self.failureResultOf(found, Unroutable).value
        self.assertEqual(problem.result, Result.DEFERRED)

    def test_two_names_of_one_address(self) -> None:
        """The same host twice, unless each may have TLSA records of its own."""
        self.zone._mx["to.test"] = [(10, "mx.test"), (20, "two.test")]
        self.zone._addresses["two.test"] = ["9.0.0.1"]
        for signed, names in (({"to.test", "mx.test", "two.test"}, ["mx.test", "two.test"]), (set(), ["mx.test"])):
            self.zone.signed = signed
            found = self.successResultOf(Deferred.fromCoroutine(find(self.zone, "to.test", Settings())))
            self.assertEqual([host.name for host in found], names)

    def test_which_name_is_certain(self) -> None:
        """One of a validated answer, wherever it lives, and that of the domain itself (RFC 8689 4.2.1)."""
        for mx, signed, meant in (
            ("mx.test", {"to.test"}, True),
            ("mx.test", {"mx.test"}, False),
            ("To.test.", set[str](), True),
        ):
            zone = Zone({"to.test": [(10, mx)]}, {mx: ["9.0.0.1"]})
            zone.signed = signed
            (host,) = self.successResultOf(Deferred.fromCoroutine(find(zone, "to.test", Settings())))
            self.assertEqual(host.meant, meant, mx)

    def test_a_fixed_next_hop_is_never_proven(self) -> None:
        self.zone.signed = {"mx.test"}
        (host,) = self.successResultOf(Deferred.fromCoroutine(next_hop(self.zone, "mx.test", Settings())))
        self.assertIsNone(host.proven)
