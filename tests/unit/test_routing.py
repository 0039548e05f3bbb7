"""Which zone a message goes through, and by which rule: the first that names one."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Zone
from relay.zone.routing import Mail, Router
from tests.unit.journey_rig import zones_of


def fields(**values: list[str]) -> Callable[[str], list[str]]:
    return lambda name: values.get(name.lower().replace("-", "_"), [])


class RoutingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.zones = zones_of(
            default=Zone(),
            Bulk=Zone(sender_domains=("News.test",), routing_headers={"X-Class": ("Bulk", "junk")}),
            gm=Zone(recipient_domains=("Gmail.test",), routing_headers={"x-class": ("vip",)}),
            near=Zone(client_networks=("10.0.0.0/8", "2001:db8::/32")),
            nearer=Zone(client_networks=("10.1.0.0/16", "10.1.2.3")),
            alices=Zone(users=("Alice@users.test",)),
            off=Zone(
                disabled=True, sender_domains=("off.test",), recipient_domains=("off.test",),
                client_networks=("10.1.2.3",), users=("off",),
            ),
        )  # fmt: skip
        self.router = Router(self.zones)

    def route(self, to: str = "to.test", values: dict[str, list[str]] | None = None, **mail: str) -> tuple[str, str]:
        """Zone and rule."""
        return self.router.routes(Mail(fields(**values or {}), **mail)).to(to)[:2]

    def test_the_order(self) -> None:
        """Each rule goes before all that come after it."""
        rules: list[tuple[str, dict[str, str], tuple[str, str]]] = [
            ("", {"own": "gm", "user": "alice@users.test"}, ("gm", "user's zone")),
            ("", {"asked": "near"}, ("near", "X-Sending-Zone")),
            ("x_class", {}, ("gm", "routing_headers")),
            ("", {"from_domain": "news.test"}, ("bulk", "sender_domains")),
            ("to", {}, ("gm", "recipient_domains")),
            ("", {"client": "10.9.9.9"}, ("near", "client_networks")),
            ("", {"user": "alice@users.test"}, ("alices", "users")),
            ("", {}, ("default", "default")),
        ]
        for first in range(len(rules)):
            values, to, mail = {}, "to.test", {}
            for word, traits, _ in reversed(rules[first:]):
                mail |= traits
                if word == "to":
                    to = "gmail.test"
                elif word:
                    values[word] = ["vip"]
            self.assertEqual(self.route(to, values, **mail), rules[first][2])

    def test_asked_for(self) -> None:
        self.assertEqual(self.route(asked=" BULK "), ("bulk", "X-Sending-Zone"))

    def test_a_name_that_is_no_zone_is_passed_over(self) -> None:
        for name in ("none", "off"):
            self.assertEqual(self.route(asked=name)[0], "default")
            self.assertEqual(self.route(asked=name, sender_domain="news.test")[0], "bulk")
            self.assertEqual(self.route(own=name, asked="near"), ("near", "X-Sending-Zone"))

    def test_routing_headers(self) -> None:
        self.assertEqual(self.route(values={"x_class": ["JUNK "]}), ("bulk", "routing_headers"))
        self.assertEqual(self.route(values={"x_class": ["other"]})[0], "default")

    def test_the_lowest_of_several_header_fields_counts(self) -> None:
        self.assertEqual(self.route(values={"x_class": ["vip", "bulk"]})[0], "bulk")
        self.assertEqual(self.route(values={"x_class": ["vip", "other"]})[0], "gm")

    def test_the_senders_domain(self) -> None:
        self.assertEqual(self.route(sender_domain="news.test")[0], "bulk")
        self.assertEqual(self.route(from_domain="news.test", sender_domain="other.test")[0], "bulk")
        self.assertEqual(self.route(from_domain="other.test", sender_domain="news.test")[0], "default")

    def test_clients(self) -> None:
        """The smallest network counts; a disabled zone has none."""
        for client, zone in (
            ("10.2.0.1", "near"), ("10.1.2.3", "nearer"), ("10.1.9.9", "nearer"), ("::ffff:10.2.0.1", "near"),
            ("2001:db8::9", "near"), ("192.0.2.1", "default"), ("", "default"), ("somebody", "default"),
        ):  # fmt: skip
            for _ in range(2):  # asked anew, and remembered
                self.assertEqual(self.route(client=client)[0], zone, client)

    @given(st.lists(st.integers(0, 2**32 - 1), max_size=40))
    def test_what_is_remembered_changes_nothing(self, numbers: list[int]) -> None:
        router = Router(self.zones)
        for number in numbers * 2:
            client = f"10.{number % 3}.{number // 3 % 256}.{number % 256}"
            wanted = "nearer" if client.startswith("10.1.") else "near"
            self.assertEqual(router.routes(Mail(fields(), client=client)).to("x").zone, wanted)

    def test_clients_that_are_remembered_are_bounded(self) -> None:
        for number in range(10_000):
            self.route(client=f"10.3.{number // 256}.{number % 256}")
        self.assertLess(len(self.router._clients), 5_000)

    def test_users(self) -> None:
        self.assertEqual(self.route(user="ALICE@users.test"), ("alices", "users"))
        self.assertEqual(self.route(user="off")[0], "default")

    def test_disabled_zones_claim_nothing(self) -> None:
        self.assertEqual(self.route(sender_domain="off.test")[0], "default")
        self.assertEqual(self.route("off.test")[0], "default")

    def test_the_first_claim_in_the_file_counts(self) -> None:
        claim = Zone(sender_domains=("x.test",), recipient_domains=("y.test",), users=("u",), client_networks=("::1",))
        router = Router(zones_of(zz=claim, aa=claim))
        for mail, to in (
            (Mail(fields(), sender_domain="x.test"), ""), (Mail(fields()), "y.test"),
            (Mail(fields(), user="u"), ""), (Mail(fields(), client="::1"), ""),
        ):  # fmt: skip
            self.assertEqual(router.routes(mail).to(to).zone, "zz")

    def test_why(self) -> None:
        for mail, to, why in (
            (Mail(fields(), own="bulk", user="bob"), "", "the zone of the user bob in the users' file"),
            (Mail(fields(), asked="bulk"), "", "the header X-Sending-Zone: bulk"),
            (Mail(fields(x_class=["JUNK"])), "", "zones.bulk.routing_headers has x-class: junk"),
            (Mail(fields(), sender_domain="news.test"), "", "zones.bulk.sender_domains has News.test"),
            (Mail(fields(), client="10.1.7.7"), "", "zones.nearer.client_networks has 10.1.0.0/16"),
            (Mail(fields()), "", "no rule names another zone"),
        ):
            self.assertEqual(str(self.router.routes(mail).to(to)), why)
