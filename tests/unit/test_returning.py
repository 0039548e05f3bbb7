"""What an offer leaves with so that what comes back finds its delivery."""

from __future__ import annotations

from email import message_from_bytes
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.returnpath import Place, ReturnPaths, return_paths
from relay.bounce.token import Named
from relay.config.schema import Returns, Zone
from relay.delivery.returning import Returning
from relay.message.address import parse
from tests.unit.test_sender import SenderRig
from tests.unit.test_session import offer

SECRETS = (b"a secret of some length",)
SECTION = Returns(domain="back.test", keep_domains=("Kept.test",))
PATHS = return_paths(SECTION, SECRETS)
NOW = 1795319890_123
URL = "https://mail.example.com/unsubscribe/"


def place(text: str, paths: ReturnPaths = PATHS) -> Place | None:
    return paths.place(parse(text), NOW)


class ReturningTests(SynchronousTestCase):
    def of(self, rewriting: Any = "", unsubscribe: bool = False, url: str = "", **changes: Any) -> Any:
        return Returning(PATHS, rewriting, unsubscribe, url, lambda: NOW).of(offer(**changes))

    def test_senders(self) -> None:
        delivery = Named("0123456789abcdef01", 1)
        self.assertEqual(place(self.of("verp").sender), Place("bounces", delivery))
        self.assertEqual(place(self.of("srs").sender), Place("sender", sender="a@from.test"))
        for changes in ({"sender": ""}, {"sender": "a@kept.test"}, {"sender": "a@back.test"}):
            self.assertEqual(self.of("verp", **changes).sender, changes["sender"])

    def test_nothing_else_changes(self) -> None:
        before = offer(ret="FULL", envid="x", notify="NEVER", orcpt="rfc822;b@to.test")
        after = Returning(PATHS, "verp", False, "", lambda: NOW).of(before)
        for name in before.__struct_fields__:
            self.assertEqual(getattr(after, name) == getattr(before, name), name != "sender", name)

    def test_a_way_to_unsubscribe(self) -> None:
        fields = message_from_bytes(self.of(unsubscribe=True).headers)
        self.assertEqual(list(fields.keys()), ["Subject", "List-Unsubscribe"])
        text = fields["List-Unsubscribe"]
        delivery = Named("0123456789abcdef01", 1)
        self.assertEqual(place(text.removeprefix("<mailto:")[:-1]), Place("unsubscribe", delivery))

    def test_by_one_click(self) -> None:
        headers = self.of(unsubscribe=True, url=URL).headers
        fields = message_from_bytes(headers)
        click, mailto = fields["List-Unsubscribe"].split(",")
        self.assertEqual(fields["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click")
        self.assertTrue(click.startswith(f"<{URL}"), click)
        for text in (click, mailto):
            self.assertEqual(PATHS.found(text), Named("0123456789abcdef01", 1))
        self.assertTrue(all(len(line) < 100 for line in headers.split(b"\r\n")))

    def test_who_has_one(self) -> None:
        for headers in (b"list-unsubscribe: <mailto:x@y.test>\r\n", b"Subject: x\r\nList-Unsubscribe:\r\n <x:y>\r\n"):
            self.assertEqual(self.of(unsubscribe=True, url=URL, headers=headers).headers, headers)
        self.assertEqual(self.of(unsubscribe=True, sender="").headers, b"Subject: x\r\n")
        headers = b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        self.assertEqual(self.of(unsubscribe=True, url=URL, headers=headers).headers.count(b"-Post:"), 1)


class SenderTests(SenderRig):
    def test_where_the_zone_says_so(self) -> None:
        self.begin(options=Zone(return_path="verp"), returns=SECTION, return_secrets=SECRETS)
        self.hear(offer())
        [given] = self.sessions[1].offers
        self.assertEqual(place(given.sender), Place("bounces", Named("0123456789abcdef01", 1)))

    def test_where_it_doesn_t(self) -> None:
        self.hear(offer())
        self.assertEqual(self.sessions[1].offers, [offer()])
