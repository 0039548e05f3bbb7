"""Which site a domain is of, by its exchangers and the configuration."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from relay.config.load import parse
from relay.config.providers import PROVIDERS
from relay.config.schema import Site
from relay.zone.sites import LONGEST, Sites, derived, is_literal

DOC = Path(__file__).parents[2] / "docs" / "shaping.md"

labels = st.text("abcdemx0123-_", min_size=1, max_size=12)
hosts = st.lists(labels, min_size=1, max_size=5).map(lambda parts: ".".join([*parts, "example"]))
sets = st.lists(hosts, min_size=1, max_size=8)


def plain(**tables: Site) -> Sites:
    return Sites(tables)


class Named(TestCase):
    """By a provider or a table."""

    def site(self, sites: Sites, *names: str) -> str:
        """Of a domain whose exchangers are these, best first."""
        return sites.site_of([(10 * place, name) for place, name in enumerate(names)], "a.example")

    def test_providers(self) -> None:
        known = plain()
        for host, site in (
            ("gmail-smtp-in.l.google.com", "gmail"),
            ("ALT2.ASPMX.L.Google.com.", "gmail"),
            ("smtp.google.com", "gmail"),
            ("www.google.com", "www.google.com"),
            ("hotmail-com.olc.protection.outlook.com", "outlook"),
            ("a-example.mail.protection.outlook.com", "office365"),
            ("a-example.k-v1.mx.microsoft", "office365"),
            ("mta5.am0.yahoodns.net", "yahoo"),
            ("mx01.mail.icloud.com", "icloud"),
            ("mx0a-00112233.pphosted.com", "proofpoint"),
            ("d1.ess.uk.barracudanetworks.com", "barracuda"),
            ("inbound-smtp.eu-west-1.amazonaws.com", "amazonses-inbound"),
            ("mx3.mail.ovh.net", "ovh"),
            ("ns1234.ovh.net", "ns1234.ovh.net"),
            ("ip-192-0-2-1.ip.secureserver.net", "ip-192-0-2-1.ip.secureserver.net"),
            ("notyahoodns.net", "notyahoodns.net"),
            ("yahoodns.net", "yahoodns.net"),
        ):
            self.assertEqual(site, self.site(known, host))

    def test_patterns_are_of_one_provider(self) -> None:
        """No host can match two, unless one of them is the closer."""
        whose: dict[str, str] = {}
        for name, provider in PROVIDERS.items():
            self.assertRegex(name, r"^[a-z0-9][a-z0-9-]{1,30}$")
            self.assertTrue(provider.title and provider.mx, name)
            for pattern in provider.mx:
                self.assertRegex(pattern, r"^(\*\.)?([a-z0-9-]+\.)+[a-z]+$")
                self.assertNotIn(pattern, whose)
                whose[pattern] = name
        for pattern, name in whose.items():
            host = pattern.replace("*", "a.b.c")
            self.assertEqual(name, self.site(plain(), host))

    def test_the_most_preferred_decides(self) -> None:
        both = ("eu-smtp-inbound-1.mimecast.com", "aspmx.l.google.com")
        self.assertEqual("mimecast", self.site(plain(), *both))
        self.assertEqual("gmail", self.site(plain(), *reversed(both)))

    def test_a_backup_of_a_provider_makes_nobody_its_site(self) -> None:
        self.assertEqual("(mx.a.example|mx1.mail.ovh.net)", self.site(plain(), "mx.a.example", "mx1.mail.ovh.net"))

    def test_equal_ones_have_to_agree(self) -> None:
        """Or whoever names a provider's host beside his own would have his among the provider's."""
        names = ["aspmx.l.google.com", "alt1.aspmx.l.google.com"]
        for each in (names, names[::-1]):
            self.assertEqual("gmail", plain().site_of([(5, name) for name in each], "a.example"))
        for other in ("mx.evil.example", "mx1.seznam.cz"):
            mixed = [(5, name) for name in (*names, other)]
            site = plain().site_of(mixed, "a.example")
            self.assertNotIn(site, ("gmail", "seznam"))
            self.assertEqual(site, plain().site_of(mixed[::-1], "b.example"))

    def test_who_speaks_for_a_site(self) -> None:
        sites = plain(big=Site(mx=("*.example.net",)))
        self.assertTrue(sites.is_of("gmail", "ALT1.aspmx.l.google.com."))
        self.assertTrue(sites.is_of("big", "mx.example.net"))
        for host in ("mx.evil.example", "mx.example.net", ""):
            self.assertFalse(sites.is_of("gmail", host))
        self.assertTrue(sites.is_of("(mx1|mx2).example.org", "mx1.example.org"))

    def test_configuration_wins(self) -> None:
        own = plain(workspace=Site(mx=("*.ASPMX.l.google.com", "aspmx.l.google.com.")), big=Site(mx=("*.example.net",)))
        self.assertEqual("workspace", self.site(own, "alt1.aspmx.l.google.com"))
        self.assertEqual("workspace", self.site(own, "aspmx.l.google.com"))
        self.assertEqual("gmail", self.site(own, "gmail-smtp-in.l.google.com"))
        self.assertEqual("big", self.site(own, "a.b.c.example.net"))
        self.assertEqual("example.net", self.site(own, "example.net"))
        equal = [(1, "aspmx.l.google.com"), (1, "mx.example.net")]
        both = plain(big=Site(mx=("*.example.net", "*.l.google.com")))
        self.assertEqual("big", both.site_of(equal, "a.example"))

    def test_the_closest_pattern(self) -> None:
        own = plain(
            wide=Site(mx=("*.example",)), near=Site(mx=("*.mx.example",)), one=Site(mx=("a.mx.example",))
        )
        self.assertEqual("one", self.site(own, "a.mx.example"))
        self.assertEqual("near", self.site(own, "b.mx.example"))
        self.assertEqual("near", self.site(own, "b.a.mx.example"))
        self.assertEqual("wide", self.site(own, "mx.example"))

    def test_a_table_of_a_providers_name(self) -> None:
        """Without patterns it is for those that are known, with them for its own only."""
        without = plain(Yahoo=Site(reuse=20))
        self.assertEqual("yahoo", self.site(without, "mta5.am0.yahoodns.net"))
        self.assertEqual(20, without.section("yahoo").reuse)
        own = plain(yahoo=Site(mx=("mx.example.net",)))
        self.assertEqual("yahoo", self.site(own, "mx.example.net"))
        self.assertEqual("mta5.am0.yahoodns.net", self.site(own, "mta5.am0.yahoodns.net"))

    def test_sections(self) -> None:
        """A table holds as it is: nothing of `default` is mixed in."""
        own = Sites({"default": Site(max_connections=3, reuse=7), "gmail": Site(reuse=50)})
        self.assertEqual(Site(reuse=50), own.section("gmail"))
        for other in ("yahoo", "mx.a.example", "default"):
            self.assertEqual((3, 7), (own.section(other).max_connections, own.section(other).reuse))
        self.assertEqual(Site(), plain().section("gmail"))


class Derived(TestCase):
    """From the exchangers."""

    def test_examples(self) -> None:
        for names, site in (
            (["mx.a.example"], "mx.a.example"),
            (["mx2.a.example", "mx1.a.example"], "(mx1|mx2).a.example"),
            (["mx1.a.example", "mx1.a.example", "MX2.A.example."], "(mx1|mx2).a.example"),
            (["a.example", "mx.a.example"], "(a.example|mx.a.example)"),
            (["a.mx.a.example", "mx.a.example"], "(a.mx|mx).a.example"),
            (["a.example", "b.test"], "(a.example|b.test)"),
            (["a", "b"], "(a|b)"),
            (["192.0.2.1"], "192.0.2.1"),
        ):
            self.assertEqual(site, plain().site_of([(0, name) for name in names], "to.test"))

    def test_without_exchangers(self) -> None:
        for domain, site in (
            ("A.Example.", "a.example"),
            ("münchen.example", "münchen.example"),
            ("[192.0.2.1]", "[192.0.2.1]"),
            ("[IPv6:2001:db8::1]", "[ipv6:2001:db8::1]"),
        ):
            self.assertEqual(site, plain().site_of([], domain))
            self.assertEqual(site, plain().site_of([(0, ".")], domain))

    def test_one_host_is_one_site(self) -> None:
        """Of a domain that has no other exchanger than itself, and of one that says so."""
        self.assertEqual(plain().site_of([], "mx.a.example"), plain().site_of([(0, "mx.a.example")], "b.example"))

    def test_too_long(self) -> None:
        many = [f"mx{number}.{'long-' * 8}name.example" for number in range(50)]
        site = derived(many)
        self.assertRegex(site, r"^\(#[0-9a-f]{32}\)\.(long-){8}name\.example$")
        self.assertNotEqual(site, derived(many[1:]))
        longest = ".".join(["a" * 60] * 4)
        for names in ([longest], [f"a.{longest}", f"b.{longest}"]):
            self.assertRegex(derived(names), r"^\(#[0-9a-f]{32}\)$")

    def test_odd_names(self) -> None:
        """What could be taken for a set, or breaks a line, is told by its hash."""
        for odd in ("a|b.x.example", r"\(a|b\).x.example", "a b", "a\nb", "(#00)"):
            self.assertRegex(derived([odd]), r"^\(#[0-9a-f]{32}\)$")
            self.assertRegex(derived([odd, "c.x.example"]), r"^\(#[0-9a-f]{32}\)$")

    def test_nobody_gets_among_the_sites_of_others(self) -> None:
        """Neither a domain nor an exchanger of a site's name does."""
        own = Sites({"default": Site(), "a.example": Site(mx=("mx.a.example",)), "big": Site(mx=("*.test",))})
        for name in ("gmail", "default", "a.example", "big", "GMAIL"):
            for site in (own.site_of([], name), own.site_of([(0, name)], "b.example")):
                self.assertEqual(f"({name.lower()})", site)
                self.assertEqual(Site(), own.section(site))

    @given(sets, st.randoms(use_true_random=False), st.lists(st.integers(0, 65535), min_size=8, max_size=8))
    def test_order_and_preferences_change_nothing(self, names: list[str], random: object, numbers: list[int]) -> None:
        before = plain().site_of([(10, name) for name in names], "a.test")
        shuffled = [name.upper() + "." for name in names]
        random.shuffle(shuffled)  # type: ignore[attr-defined]
        jittered = list(zip(numbers, shuffled, strict=False))
        self.assertEqual(before, plain().site_of(jittered + jittered[:1], "b.test"))
        self.assertLessEqual(len(before), LONGEST)

    @given(sets, sets)
    def test_sets_are_told_apart(self, one: list[str], other: list[str]) -> None:
        self.assertEqual(set(one) == set(other), derived(one) == derived(other))

    @given(st.lists(st.text(max_size=300), min_size=1, max_size=30))
    def test_any_text(self, names: list[str]) -> None:
        site = derived(names)
        self.assertLessEqual(len(site), LONGEST)
        self.assertTrue(site.isprintable())

    def test_literals(self) -> None:
        for domain in ("[192.0.2.1]", "[IPv6:2001:db8::1]", "192.0.2.1", "2001:db8::1"):
            self.assertTrue(is_literal(domain))
        for domain in ("a.example", "1.example", "192.0.2", ""):
            self.assertFalse(is_literal(domain))


class Document(TestCase):
    """docs/shaping.md says what the code does."""

    def setUp(self) -> None:
        self.text = DOC.read_text()

    def test_providers(self) -> None:
        table = self.text.partition("### Providers that are known")[2].partition("\n## ")[0]
        rows = re.findall(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
        stated = {name: (title.strip(), tuple(re.findall(r"`([^`]+)`", patterns))) for name, title, patterns in rows}
        self.assertEqual({name: tuple(provider) for name, provider in PROVIDERS.items()}, stated)

    def test_examples_can_be_used(self) -> None:
        """Those of docs/zones.md too, which belong together with these."""
        for name, least in (("shaping.md", 5), ("zones.md", 2)):
            examples = re.findall(r"^```toml\n(.*?)^```$", DOC.with_name(name).read_text(), re.MULTILINE | re.DOTALL)
            self.assertGreaterEqual(len(examples), least)
            for example in examples:
                parse(example, f"docs/{name}")
