"""From envelope and draft to a message: what is kept, when it is due, what is refused."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Zone
from relay.intake.composing import EARLY, MAX_KEY, WAITS, Composed, Composer
from relay.intake.heed import Heed
from relay.listener.door import Refused, Terms
from relay.listener.draft import Text
from relay.message.date import date_of
from relay.message.envelope import Envelope, Recipient
from relay.message.headers import HeaderBlock
from relay.message.received import received_line
from relay.message.trail import Trail
from relay.message.values import Origin
from relay.zone.routing import Router
from tests.unit.journey_rig import zones_of
from tests.unit.suppression_rig import a_list

NOW = 1_700_000_000_123
DAY = 86_400_000
QUEUE_ID = "1a20169d1ea000beef"
ORIGIN = Origin("feeder", "192.0.2.1", "client.test")
HEADER = b"Message-ID: <1@x.test>\r\nFrom: a@x.test\r\nSubject: x\r\n"
TO = (Recipient("b@to.test"),)


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        near = Zone(client_networks=("192.0.2.0/24",))
        zones = zones_of(bulk=Zone(recipient_domains=("bulk.test",)), near=near, alices=Zone(users=("alice",)))
        self.composer = Composer(Router(zones), Trail({"relay.test"}, "beef"), "relay.test", Heed("accept", a_list()))

    def compose(self, header: bytes = HEADER, envelope: Envelope | None = None, **changes: Any) -> Composed:
        options: dict[str, Any] = {"origin": ORIGIN, "terms": Terms(), "now": NOW}
        options |= changes
        text = Text(header, 4, 0, b"x\r\n", False, b"")
        return self.composer.compose(
            QUEUE_ID, envelope or Envelope("s@x.test", TO), HeaderBlock(header), text, **options
        )

    def refused(self, header: bytes = HEADER, envelope: Envelope | None = None, **changes: Any) -> str:
        return str(self.assertRaises(Refused, self.compose, header, envelope, **changes).reply)


class KeptTests(Case):
    def test_S24_what_the_client_asked_for_is_kept(self) -> None:
        to = (Recipient("b@to.test", "SUCCESS,DELAY", "rfc822;b@other.test"), Recipient("c@to.test"))
        envelope = Envelope("s@x.test", to, smtputf8=True, require_tls=True, ret="HDRS", envid="QQ+2B1")
        message, rows, body, token, _ = self.compose(HEADER + b"X-FBL: c7\r\n", envelope)
        self.assertEqual((message.smtputf8, message.require_tls), (True, True))
        self.assertEqual((message.ret, message.envid, message.fbl), ("HDRS", "QQ+2B1", "c7"))
        kept = [Recipient(row.recipient, row.notify, row.orcpt) for row in rows]
        self.assertEqual(kept, list(to))
        self.assertEqual((body, token), (b"x\r\n", b""))

    def test_whose_it_is_and_its_labels_are_kept(self) -> None:
        envelope = Envelope("s@x.test", TO, tenant="acme", tags=("news",), metadata={"order": "1"})
        message = self.compose(HEADER + b"X-Sending-Tags: spring, news\r\n", envelope).message
        self.assertEqual((message.tenant, message.tags, message.metadata), ("acme", ("news", "spring"), {"order": "1"}))
        self.assertNotIn(b"Tags", message.headers)
        self.assertEqual(self.compose(HEADER, envelope, tenant="other").message.tenant, "other", "the user's counts")
        plain = self.compose().message
        self.assertEqual((plain.tenant, plain.tags, plain.metadata), ("", (), {}))
        self.assertIn("554 5.6.0 Error: X-Sending-Tags: a tag is", self.refused(HEADER + b"X-Sending-Tags: a b\r\n"))
        many = ",".join(map(str, range(10))).encode()
        self.assertIn("more than 10", self.refused(HEADER + b"X-Sending-Tags: " + many + b"\r\n", envelope))

    def test_what_it_asks_of_tls_is_kept(self) -> None:
        for lines, believed, required, kept in (
            (b"X-Sending-TLS: Verify\r\n", True, False, "verify"),
            (b"X-Sending-TLS: verify\r\n", False, False, ""),
            (b"X-Sending-TLS: nonsense\r\n", False, False, ""),
            (b"X-Sending-TLS: may\r\nTLS-Required: no\r\n", True, False, "no"),
            (b"TLS-Required: No\r\n", False, False, "no"),
            (b"TLS-Required: No\r\n", False, True, ""),
            (b"", True, False, ""),
        ):
            terms, envelope = Terms(routing_headers=believed), Envelope("s@x.test", TO, require_tls=required)
            message = self.compose(HEADER + lines, envelope, terms=terms).message
            self.assertEqual(message.tls, kept, lines)
            self.assertNotIn(b"X-Sending-TLS", message.headers)
        for lines in (b"X-Sending-TLS: nonsense\r\n", b"X-Sending-TLS: sts\r\nX-Sending-TLS: sts\r\n"):
            refused = self.refused(HEADER + lines, terms=Terms(routing_headers=True))
            self.assertRegex(refused, r"554 5\.6\.0 Error: X-Sending-TLS: expected one of none, may, must, verify")

    def test_where_it_came_from_is_said_of_others_only(self) -> None:
        said = [
            b"X-Originating-IP" in self.compose(origin=Origin("feeder", address), terms=terms).message.headers
            for address, terms in (
                ("192.0.2.1", Terms()),
                ("2001:db8::1", Terms()),
                ("192.0.2.1", Terms(x_originating_ip=False)),
                ("127.0.0.1", Terms()),
                ("::1", Terms()),
                ("::ffff:127.0.0.1", Terms()),
                ("", Terms()),
            )
        ]
        self.assertEqual(said, [True, True, False, False, False, False, False])

    def test_S34_forged_signatures_leave_as_they_came(self) -> None:
        domains = ("", "x", "xn--", "a" * 300, "..", "\u00e9", "a\x0bb")
        forged = "".join(f"DKIM-Signature: v=1; d={domains[n % 7]};\r\n\tb={'A' * 60}\r\n" for n in range(50))
        message = self.compose(HEADER + b"Date: Sun, 22 Nov 2026 03:58:10 +0000\r\n" + forged.encode()).message
        self.assertTrue(message.headers.endswith(forged.encode()))

    def test_the_zone_of_a_user(self) -> None:
        to = (Recipient("b@to.test"), Recipient("c@bulk.test"))
        for zone, zones in (("", ["near", "bulk"]), ("bulk", ["bulk", "bulk"])):
            rows = self.compose(envelope=Envelope("s@x.test", to), zone=zone).deliveries
            self.assertEqual([row.zone for row in rows], zones)

    def test_the_zone_of_a_client_and_of_a_user_by_name(self) -> None:
        for client, user, zone in (
            ("192.0.2.7", "alice", "near"),
            ("198.51.100.7", "alice", "alices"),
            ("", "Alice", "alices"),
            ("198.51.100.7", "", "default"),
        ):
            rows = self.compose(origin=Origin("feeder", client), user=user).deliveries
            self.assertEqual([row.zone for row in rows], [zone])

    def test_what_a_stranger_brought_goes_where_he_has_no_say(self) -> None:
        zones = zones_of(
            bulk=Zone(recipient_domains=("bulk.test",)), near=Zone(client_networks=("192.0.2.0/24",)),
            classes=Zone(routing_headers={"X-Class": ("vip",)}), news=Zone(sender_domains=("x.test",)), bounces=Zone(),
        )  # fmt: skip
        self.composer = Composer(Router(zones), Trail({"relay.test"}, "beef"), "relay.test", Heed("accept", a_list()))
        unsaid = b"Message-ID: <1@there.test>\r\n"
        for header, allowed, chosen in (
            (HEADER, False, "news"),
            (unsaid + b"X-Class: vip\r\n", False, "classes"),
            (unsaid + b"X-Sending-Zone: near\r\n", True, "near"),
            (unsaid, False, "near"),
        ):
            terms = Terms(routing_headers=allowed)

            def zone(
                to: str, own: str = "", returned: bool = True, header: bytes = header, terms: Terms = terms
            ) -> str:
                origin = Origin("back", "192.0.2.7", returned=returned)
                envelope = Envelope("", (Recipient(to),))
                return self.compose(header, envelope, origin=origin, terms=terms, zone=own).deliveries[0].zone

            self.assertEqual(zone("b@to.test", returned=False), chosen)
            self.assertEqual(zone("b@to.test"), "default")
            self.assertEqual(zone("b@bulk.test"), "bulk")
            self.assertEqual(zone("b@to.test", "bounces"), "bounces")

    def test_nor_does_he_take_a_key_of_others_or_their_tags(self) -> None:
        header = HEADER + b"X-Idempotency-Key: k\r\nX-Sending-Tags: a\r\n"
        theirs, his = self.compose(header), self.compose(header, origin=Origin("back", "192.0.2.7", returned=True))
        self.assertNotEqual(theirs.token, b"")
        self.assertEqual((theirs.message.tags, his.message.tags, his.token), (("a",), (), b""))

    def test_a_zone_is_asked_for_where_that_is_believed(self) -> None:
        for believed, own, zone in (
            (True, "", "alices"), (False, "", "near"), (True, "bulk", "bulk"), (True, "none", "alices"),
        ):  # fmt: skip
            terms = Terms(routing_headers=believed)
            rows = self.compose(HEADER + b"X-Sending-Zone: Alices\r\n", terms=terms, zone=own).deliveries
            self.assertEqual([row.zone for row in rows], [zone])

    def test_S27_one_recipient_given_a_hundred_times_in_the_header(self) -> None:
        header = HEADER + b"To: " + b", ".join([b"b@to.test", b"B@to.test"] * 50) + b"\r\n"
        rows = self.compose(header, Envelope("s@x.test")).deliveries
        self.assertEqual([row.recipient for row in rows], ["B@to.test"])


class DueTests(Case):
    def due(self, ahead: int, asked: int = 0, future: bool = True, **terms: Any) -> int:
        """How far ahead the first attempt is (ms), for a Date `ahead`."""
        header = HEADER + f"Date: {date_of(NOW + ahead)}\r\n".encode()
        envelope = Envelope("s@x.test", TO, due=asked and NOW + asked)
        (row,) = self.compose(header, envelope, terms=Terms(future_date=future, **terms)).deliveries
        message = self.compose(header, envelope, terms=Terms(future_date=future, **terms)).message
        self.assertEqual((message.later, message.since), (0 if row.due == NOW else row.due, row.due))
        later = row.due > NOW
        self.assertEqual((row.response, row.attempts), (WAITS if later else "", 0))
        self.assertTrue(row.due % 1000 == 0 if later else row.due == NOW)
        return row.due - NOW

    def test_a_date_ahead_is_waited_for(self) -> None:
        self.assertEqual(self.due(-DAY), 0)
        self.assertEqual(self.due(EARLY), 0)
        self.assertEqual(self.due(EARLY + 1000), EARLY + 1000 - NOW % 1000)
        self.assertEqual(self.due(DAY), DAY - NOW % 1000)

    def test_at_most_for_so_long(self) -> None:
        up = 1000 - NOW % 1000
        self.assertEqual(self.due(400 * DAY), 365 * DAY + up)
        self.assertEqual(self.due(400 * DAY, max_future=3600), 3_600_000 + up)
        self.assertEqual(self.due(0, 400 * DAY, max_future=3600), 3_600_000 + up)

    def test_only_where_it_is_allowed(self) -> None:
        self.assertEqual(self.due(DAY, future=False), 0)

    def test_what_the_envelope_asks_for(self) -> None:
        """RFC 4865: to the second, and whatever the Date says."""
        self.assertEqual(self.due(0, 1000, future=False), 1000 + 1000 - NOW % 1000)
        self.assertEqual(self.due(0, -1000), 0)
        self.assertEqual(self.due(DAY, 1000), DAY - NOW % 1000)

    def test_no_date_no_wait(self) -> None:
        for date in (b"", b"Date: nonsense\r\n", b"Date: Tue, 99 Nov 9999 99:99:99 +9999\r\n"):
            (row,) = self.compose(HEADER + date, terms=Terms(future_date=True)).deliveries
            self.assertEqual(row.due, NOW)


class RefusedTests(Case):
    def test_S35_too_many_hops(self) -> None:
        line = b"Received: from a by b; Sun, 22 Nov 2026 03:58:10 +0000\r\n"
        self.compose(line * 35 + HEADER)
        self.assertEqual(self.refused(line * 36 + HEADER)[:9], "554 5.4.6")
        self.assertEqual(self.refused(line * 120 + HEADER)[:9], "554 5.4.6")
        self.assertEqual(self.refused(line * 3 + HEADER, terms=Terms(max_hops=2))[:9], "554 5.4.6")

    def test_S35_a_loop_through_ourselves(self) -> None:
        line = received_line(ORIGIN, "relay.test", "Zonerelay", f"{QUEUE_ID}.001", "b@to.test", NOW)
        self.compose(line + HEADER)
        self.assertEqual(self.refused(line * 2 + HEADER)[:9], "554 5.4.6")
        self.compose(line * 2 + HEADER, Envelope("", (Recipient("other@to.test"),)))

    def test_S32_a_line_of_the_header_that_can_not_leave(self) -> None:
        self.assertEqual(self.refused(HEADER + b"X: " + b"x" * 2000 + b"\r\n")[:9], "554 5.6.0")

    def test_keys_that_are_none(self) -> None:
        for key in (b"", b"x" * (MAX_KEY + 1), b"\xc3\xa9", b"a\x07b", b"a\tb", b"a\r\nX-Idempotency-Key: b"):
            self.assertEqual(self.refused(HEADER + b"X-Idempotency-Key: " + key + b"\r\n")[:9], "554 5.6.0", key)


class TokenTests(Case):
    def token(self, key: bytes, user: str = "") -> bytes:
        composed = self.compose(HEADER + b"x-idempotency-key: " + key + b"\r\n", user=user)
        self.assertNotIn(b"idempotency", composed.message.headers)
        self.assertEqual(len(composed.token), 32)
        return composed.token

    def test_the_same_for_the_same_key_of_the_same_user(self) -> None:
        self.assertEqual(self.token(b"k"), self.token(b"  k "))
        self.assertEqual(self.token(b"k" * MAX_KEY, "u"), self.token(b"k" * MAX_KEY, "u"))
        self.assertEqual(len({self.token(key, user) for key in (b"k", b"l") for user in ("", "u", "v")}), 6)

    def test_each_part_of_a_message_that_was_split_is_taken_H26(self) -> None:
        """A relay before us may send 100 recipients in two transactions, both with the key."""
        header = HEADER + b"X-Idempotency-Key: k\r\n"

        def token(*names: str) -> bytes:
            return self.compose(header, Envelope("s@x.test", tuple(map(Recipient, names)))).token

        parts = {token("b@to.test"), token("c@to.test"), token("b@to.test", "c@to.test")}
        self.assertEqual(len(parts), 3)
        self.assertIn(token("C@to.test", "b@to.test"), parts)

    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_any_header_is_taken_or_refused(self, name: bytes, value: bytes) -> None:
        header = (name + b":" + value).replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
        try:
            self.compose(HEADER + header)
        except Refused as refused:
            self.assertIn(refused.reply.code, (550, 554))
