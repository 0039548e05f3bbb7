"""Loops: by count, and by the lines this relay left (S35)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.headers import HeaderBlock
from relay.message.received import received_line
from relay.message.trail import MOST_PASSES, MOST_UNNAMED, Trail, hops
from relay.message.values import Origin

ORIGIN = Origin("feeder", "192.0.2.1", "client.test", "ESMTPS", tls="TLSv1.3 AES")
OURS = Trail({"relay.test", "Mail-1.test"}, "beef")


def line(by: str = "relay.test", node: str = "beef", to: str = "b@to.test", product: str = "Zonerelay") -> bytes:
    return received_line(ORIGIN, by, product, f"1a20169d1ea000{node}.001", to, 1795319890_123)


class HopsTests(SynchronousTestCase):
    def test_how_many(self) -> None:
        for raw, count in (
            (b"", 0),
            (b"Subject: Received: x\r\n received: y\r\n", 0),
            (b"Received: a\r\nRECEIVED : b\r\nReceived-SPF: pass\r\nreceived:\r\n", 3),
            (line() * 120, 120),
        ):
            self.assertEqual(hops(HeaderBlock(raw)), count, raw[:40])


class TrailTests(SynchronousTestCase):
    def loops(self, raw: bytes, *to: str) -> bool:
        return OURS.loops(HeaderBlock(b"Subject: x\r\n" + raw), to or ("b@to.test",))

    def test_back_once_is_let_pass_and_then_no_more(self) -> None:
        self.assertFalse(self.loops(b""))
        self.assertFalse(self.loops(line() * MOST_PASSES))
        self.assertTrue(self.loops(line() * (MOST_PASSES + 1)))
        self.assertTrue(self.loops(line() * 20, "x@y.test", "B@To.Test"))

    def test_lines_that_name_nobody_count_for_everybody(self) -> None:
        for origin in (ORIGIN, Origin("feeder", "192.0.2.1", "client.test")):
            unnamed = received_line(origin, "relay.test", "Zonerelay", "1a20169d1ea000beef.001", "", 1795319890_123)
            self.assertFalse(self.loops(unnamed * MOST_UNNAMED + line() * MOST_PASSES))
            self.assertTrue(self.loops(unnamed * (MOST_UNNAMED + 1)))

    def test_names_and_addresses_are_ours(self) -> None:
        for by in ("relay.test", "mail-1.test", "192.0.2.7", "2001:db8::7"):
            self.assertTrue(self.loops(line(by) * 3), by)

    def test_another_relay_process_or_recipient_is_no_loop(self) -> None:
        for other in (line("other.test"), line(node="cafe"), line(to="list@to.test"), line("relayxtest")):
            self.assertFalse(self.loops(other * 30), other)

    def test_folded_otherwise_on_the_way(self) -> None:
        other = line().replace(b"\r\n ", b"\r\n\t  ").replace(b"for", b"\r\n for")
        self.assertTrue(self.loops(other + line()))

    def test_recipients_as_the_line_shows_them(self) -> None:
        for to in ("é@to.test", '"a  b"@to.test', "x" * 600 + "@to.test"):
            self.assertTrue(self.loops(line(to=to) * 2, to), to)

    def test_two_relays_that_point_at_each_other(self) -> None:
        """Far below 60 hops, whichever of them the message came to first."""
        other = Trail({"other.test"}, "cafe")
        raw, passed = b"Subject: x\r\n", 0
        while passed < 60:
            relay, mark = (OURS, ("relay.test", "beef")) if passed % 2 == 0 else (other, ("other.test", "cafe"))
            if relay.loops(HeaderBlock(raw), ["b@to.test"]):
                break
            raw = line(*mark) + raw
            passed += 1
        self.assertEqual(passed, 2 * (MOST_PASSES + 1))

    def test_a_hostile_header_takes_no_time(self) -> None:
        """Each line of it looks like one of ours for as long as it can."""
        raw = b"".join(b"Received: beef." + b" by 1 (" * 350 + b"\r\n" for _ in range(35))
        raw += b"Received: " + b" by 1 (" + b"a" * 2000 + b"\r\n"
        self.assertFalse(self.loops(raw))

    @given(st.text("ab+ é;(\\\"", max_size=60))
    def test_any_recipient_is_found_again(self, local: str) -> None:
        to = f'"{local}"@to.test'
        self.assertTrue(self.loops(line(to=to) * 2, to))
