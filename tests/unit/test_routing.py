"""Which zone a message goes through: the first rule that names one."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Config, Domain, PoolAddress, Zone
from relay.zone.routing import Router
from relay.zone.zones import from_config
from tests.unit.journey_rig import zones_of


def fields(**values: list[str]) -> Callable[[str], list[str]]:
    return lambda name: values.get(name.lower().replace("-", "_"), [])


class RoutingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.zones = zones_of(
            default=Zone(),
            Bulk=Zone(sender_domains=("News.test",), routing_headers={"X-Class": ("Bulk", "junk")}),
            gm=Zone(recipient_domains=("Gmail.test",), routing_headers={"x-class": ("vip",)}),
            off=Zone(disabled=True, sender_domains=("off.test",), recipient_domains=("off.test",)),
        )
        self.router = Router(self.zones)

    def zone(self, asked: str = "", from_domain: str = "", sender: str = "", **values: list[str]) -> str:
        return self.router.for_message(asked, fields(**values), from_domain, sender)

    def test_asked_for(self) -> None:
        self.assertEqual(self.zone(" BULK "), "bulk")
        self.assertEqual(self.zone("bulk", x_class=["vip"], sender="news.test"), "bulk")

    def test_a_name_that_is_no_zone_is_passed_over(self) -> None:
        self.assertEqual(self.zone("none"), "")
        self.assertEqual(self.zone("none", sender="news.test"), "bulk")
        self.assertEqual(self.zone("off", sender="news.test"), "bulk")

    def test_routing_headers(self) -> None:
        self.assertEqual(self.zone(x_class=["JUNK "]), "bulk")
        self.assertEqual(self.zone(x_class=["vip"], sender="news.test"), "gm")
        self.assertEqual(self.zone(x_class=["other"]), "")

    def test_the_lowest_of_several_header_fields_counts(self) -> None:
        self.assertEqual(self.zone(x_class=["vip", "bulk"]), "bulk")
        self.assertEqual(self.zone(x_class=["vip", "other"]), "gm")

    def test_the_senders_domain(self) -> None:
        self.assertEqual(self.zone(sender="news.test"), "bulk")
        self.assertEqual(self.zone(from_domain="news.test", sender="other.test"), "bulk")
        self.assertEqual(self.zone(from_domain="other.test", sender="news.test"), "")
        self.assertEqual(self.zone(sender="off.test"), "")

    def test_the_recipients_domain_decides_last(self) -> None:
        self.assertEqual(self.router.for_recipient("", "gmail.test"), "gm")
        self.assertEqual(self.router.for_recipient("bulk", "gmail.test"), "bulk")
        self.assertEqual(self.router.for_recipient("", "other.test"), "default")
        self.assertEqual(self.router.for_recipient("", "off.test"), "default")


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
        self.assertEqual(from_config(Config()).max_connections("x.test"), 5)

    def test_next_hop(self) -> None:
        self.assertEqual(zones_of(a=Zone(host="hop.test", port=26))["a"].next_hop, "hop.test:26")
