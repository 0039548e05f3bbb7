"""The zones of a configuration: their pools, and what is said of domains."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from relay.channel.briefing import SenderBriefing, decode
from relay.config.schema import Config, Domain, PoolAddress, Zone
from relay.zone.zones import Ipv6, Zones, from_config
from tests.unit.journey_rig import zones_of
from tests.unit.test_child import a_briefing


def pool(*addresses: str) -> tuple[PoolAddress, ...]:
    return tuple(PoolAddress(address=address) for address in addresses)


class ZoneTests(SynchronousTestCase):
    def test_default_is_always_there_and_names_are_lower_case(self) -> None:
        zones = zones_of(Bulk=Zone())
        self.assertEqual(zones.names(), ["bulk", "default"])
        self.assertEqual(zones["bulk"].next_hop, "")

    def test_disabled_ones_do_not_send(self) -> None:
        zones = zones_of(off=Zone(disabled=True))
        self.assertEqual([zone.name for zone in zones.active()], ["default"])
        self.assertEqual(zones.names(), ["default", "off"])

    def test_every_address_has_a_name(self) -> None:
        given = (("192.0.2.1", ""), ("192.0.2.2", "two.test"), ("2001:db8::1", ""))
        addresses = tuple(PoolAddress(address=address, name=name) for address, name in given)
        pool = from_config(Config(hostname="relay.test", pools={"default": addresses}))["default"].pool
        self.assertEqual(pool.ipv4, (("192.0.2.1", "relay.test"), ("192.0.2.2", "two.test")))
        self.assertEqual(pool.ipv6, (("2001:db8::1", "relay.test"),))

    def test_limits_of_domains(self) -> None:
        zones = from_config(
            Config(domains={"Default": Domain(max_connections=7), "One.test": Domain(max_connections=1)})
        )
        self.assertEqual((zones.domain("one.test").max_connections, zones.domain("x.test").max_connections), (1, 7))
        self.assertEqual(from_config(Config()).domain("x.test").max_connections, 5)

    def test_next_hop(self) -> None:
        self.assertEqual(zones_of(a=Zone(host="hop.test", port=26))["a"].next_hop, "hop.test:26")

    def test_a_url_is_a_next_hop(self) -> None:
        zones = zones_of(a=Zone(url="https://me:secret@web.test/x", prefer_ipv6=True), b=Zone(url="http://web.test:81"))
        self.assertEqual([zones[name].next_hop for name in "ab"], ["web.test:443", "web.test:81"])
        self.assertEqual([zones[name].is_fixed for name in ("a", "b", "default")], [True, True, False])
        self.assertEqual([zones.tls(name, "x.test") for name in "ab"], ["verify", "none"])
        self.assertEqual(zones.ipv6("a", "x.test"), Ipv6(False, True))

    def test_ratios_and_spelling_are_kept_and_made_one(self) -> None:
        entries = (*pool("192.0.2.1", "2001:DB8:0::1"), PoolAddress(address="192.0.2.2", ratio=0.05))
        found = from_config(Config(hostname="relay.test", pools={"default": entries}))["default"].pool
        self.assertEqual([address for address, _ in found.ipv6], ["2001:db8::1"])
        self.assertEqual(len(found.slots()[0]), 20)

    def test_addresses_of_its_own(self) -> None:
        """They join those of the pool, say the host name, and put the system's choice aside, kind by kind."""
        pools = {"default": pool("0.0.0.0", "::"), "a": pool("192.0.2.1", "0.0.0.0")}
        for section, wanted in (
            (Zone(addresses=("192.0.2.8",)), ["192.0.2.8", "::"]),
            (Zone(addresses=("2001:db8::8", "192.0.2.8")), ["192.0.2.8", "2001:db8::8"]),
            (Zone(pool="a", addresses=("192.0.2.8", "192.0.2.8")), ["192.0.2.1", "192.0.2.8", "192.0.2.8"]),
            (Zone(addresses=("0.0.0.0",)), ["0.0.0.0", "0.0.0.0", "::"]),
        ):
            zones = from_config(Config(hostname="relay.test", pools=pools, zones={"z": section}))
            found = (*zones["z"].pool.ipv4, *zones["z"].pool.ipv6)
            self.assertEqual([address for address, _ in found], wanted)
            self.assertEqual({name for _, name in found}, {"relay.test"})

    def test_all_addresses(self) -> None:
        sections = {"off": Zone(disabled=True, addresses=("192.0.2.1",)), "on": Zone(addresses=("192.0.2.2",))}
        self.assertEqual(from_config(Config(zones=sections)).addresses(), {"0.0.0.0", "192.0.2.2"})

    def test_keys(self) -> None:
        zones = zones_of(default=Zone(), sticky=Zone(pool_hash="from"))
        for zone, key in (("default", "1.001"), ("sticky", "a@x.test")):
            self.assertEqual(zones[zone].key_of("1.001", "a@x.test"), key)


class DomainTests(SynchronousTestCase):
    def zones(self, section: Zone | None = None, **domains: Domain) -> Zones:
        tables = {name.replace("_", "."): domain for name, domain in domains.items()}
        pools = {"default": pool("192.0.2.1", "192.0.2.2", "2001:db8::1")}
        return from_config(Config(pools=pools, domains=tables, zones={"default": section or Zone()}))

    def test_their_table_or_that_of_all_others(self) -> None:
        one, rest = Domain(reuse=1), Domain(reuse=2)
        zones = self.zones(One_test=one, Default=rest)
        self.assertIs(zones.domain("one.test"), one)
        self.assertIs(zones.domain("two.test"), rest)
        self.assertEqual([zones.domain_table(name) for name in ("one.test", "two.test")], ["one.test", "default"])
        self.assertEqual(self.zones(One_test=one).domain("two.test"), Domain())

    def test_disabled_addresses(self) -> None:
        zones = self.zones(one_test=Domain(disabled_addresses=("192.0.2.1", "192.0.2.9")))
        self.assertEqual(zones.disabled("default", "one.test"), {"192.0.2.1"})
        self.assertEqual(zones.disabled("default", "two.test"), frozenset())
        self.assertEqual(self.zones().disabled("default", "one.test"), frozenset())
        zones = self.zones(default=Domain(disabled_addresses=("192.0.2.1",)), one_test=Domain())
        self.assertEqual(zones.disabled("default", "two.test"), {"192.0.2.1"})
        self.assertEqual(zones.disabled("default", "one.test"), frozenset())

    def test_disabled_addresses_that_would_leave_none_of_a_kind(self) -> None:
        both = Domain(disabled_addresses=("192.0.2.1", "192.0.2.2"))
        self.assertEqual(self.zones(one_test=both).disabled("default", "one.test"), frozenset())
        some = Domain(disabled_addresses=("2001:DB8:0::1", "192.0.2.2"))
        zones = self.zones(one_test=some)
        self.assertEqual(zones.disabled("default", "one.test"), {"192.0.2.2"})
        local = zones["default"].pool.choose("x", zones.disabled("default", "one.test"))
        self.assertEqual((local.address, local.address6), ("192.0.2.1", "2001:db8::1"))

    def test_ipv6(self) -> None:
        on, off = Domain(ignore_ipv6="on", prefer_ipv6="on"), Domain(ignore_ipv6="off", prefer_ipv6="off")
        for section in (Zone(), Zone(ignore_ipv6=True), Zone(prefer_ipv6=True)):
            zones = self.zones(section, on_test=on, off_test=off)
            self.assertEqual(zones.ipv6("default", "on.test"), (True, True))
            self.assertEqual(zones.ipv6("default", "off.test"), (False, False))
            self.assertEqual(zones.ipv6("default", "x.test"), (section.ignore_ipv6, section.prefer_ipv6))

    def test_tls(self) -> None:
        domains = {"default": Domain(tls="must"), "safe_test": Domain(tls="verify"), "as_test": Domain(tls="zone")}
        zones = self.zones(Zone(tls="none"), **domains)
        self.assertEqual([zones.tls("default", name) for name in ("x.test", "safe.test", "as.test")],
                         ["must", "verify", "none"])  # fmt: skip
        told = {"default": "must", "safe.test": "verify", "as.test": "none"}
        self.assertEqual(zones.tls_by_domain("default"), told)
        hop = self.zones(Zone(host="hop.test", tls="may"), **domains)
        self.assertEqual(hop.tls_by_domain("default"), {"default": "may"}, "a next hop is none of the domain's hosts")

    def test_sts(self) -> None:
        """Heeded unless it is switched off, or there is no use for it."""
        domains = {
            "off_test": Domain(sts="off"),
            "on_test": Domain(sts="on"),
            "clear_test": Domain(tls="none"),
            "sts_test": Domain(tls="sts"),
        }
        for zone, heeded in (
            (Zone(), {"default": True, "off.test": False, "clear.test": False}),
            (Zone(sts=False), {"default": False, "on.test": True, "sts.test": True}),
            (Zone(tls="none"), {"default": False, "sts.test": True}),
            (Zone(host="hop.test"), {"default": False}),
        ):
            self.assertEqual(self.zones(zone, **domains).sts_by_domain("default"), heeded)
    def test_dane(self) -> None:
        """A domain's own word holds; whoever asks for it by tls has it; a fixed next hop has no such records."""
        domains = {"on_test": Domain(dane="on"), "off_test": Domain(dane="off"), "must_test": Domain(tls="dane")}
        for dane in (True, False):
            zones = self.zones(Zone(dane=dane), **domains)
            told = {"x.test": dane, "on.test": True, "off.test": False, "must.test": True}
            self.assertEqual({name: zones.dane("default", name) for name in told}, told)
            others = {name: says for name, says in told.items() if says != dane}
            self.assertEqual(zones.dane_by_domain("default"), {"default": dane, **others})
        for fixed in (Zone(host="hop.test"), Zone(url="https://hop.test/")):
            self.assertEqual(self.zones(fixed, **domains).dane_by_domain("default"), {"default": False})

    def test_ipv6_of_a_fixed_next_hop(self) -> None:
        zones = self.zones(Zone(host="hop.test"), on_test=Domain(ignore_ipv6="on"))
        self.assertEqual(zones.ipv6("default", "on.test"), (False, False))
        self.assertEqual(zones.ipv6_by_domain("default"), {"default": (False, False)})

    def test_a_child_is_told_of_domains_that_are_not_like_most(self) -> None:
        domains = {
            "default": Domain(prefer_ipv6="on"),
            "off_test": Domain(prefer_ipv6="off"),
            "same_test": Domain(prefer_ipv6="on"),
        }
        told = self.zones(**domains).ipv6_by_domain("default")
        self.assertEqual(told, {"default": Ipv6(False, True), "off.test": Ipv6(False, False)})
        briefing = a_briefing()
        values = {name: getattr(briefing, name) for name in briefing.__struct_fields__} | {"ipv6": told}
        self.assertEqual(decode(SenderBriefing(**values).encode(), SenderBriefing).ipv6, told)
