"""Addresses: what is taken, what is refused, what they become."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.address import Address, parse
from relay.message.user import User, may_send_as


class ParseTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        for text, local, domain in (
            ("user@example.com", "user", "example.com"),
            ("User.Name+tag@EXAMPLE.Com", "User.Name+tag", "example.com"),
            ("u@localhost", "u", "localhost"),
            ("u@1.2.3.4", "u", "1.2.3.4"),
            ("a%b.example@relay.example", "a%b.example", "relay.example"),
            ("host!user@relay.example", "host!user", "relay.example"),
            ('"a b"@example.com', '"a b"', "example.com"),
            ('"a@b"@example.com', '"a@b"', "example.com"),
            (r'"a\"b\\"@example.com', r'"a\"b\\"', "example.com"),
            ('""@example.com', '""', "example.com"),
            ("u@[192.0.2.1]", "u", "[192.0.2.1]"),
            ("u@[ipv6:2001:DB8:0::1]", "u", "[IPv6:2001:db8::1]"),
            ("safe@jõgeva.ee", "safe", "xn--jgeva-dua.ee"),
            ("u@BÜCHER.example", "u", "xn--bcher-kva.example"),
            ("u@日本語。jp", "u", "xn--wgv71a119e.jp"),
            ("u@" + "a" * 63 + ".example", "u", "a" * 63 + ".example"),
            ("a" * 64 + "@example.com", "a" * 64, "example.com"),
        ):
            self.assertEqual(parse(text), Address(local, domain), text)
            self.assertEqual(parse(text).text, f"{local}@{domain}")

    def test_refused(self) -> None:
        for text in (
            "", "@", "user", "user@", "@example.com", "a@@b", "a@b@c", "a b@example.com",
            " a@example.com", "a@example.com ", "a@exa mple.com", "<a@example.com>", "a@example.com\n",
            "a@example.com\r\nRCPT TO:<x@y>", "a\0@example.com", "a@exam\0ple.com", "a\t@example.com",
            '"a\r\nb"@example.com', '"a"b"@example.com', '"a\\"@example.com', '"a@example.com',
            '"é"@example.com', "é@example.com", "a..b@example.com", ".a@example.com", "a.@example.com",
            "a@.example.com", "a@example..com", "a@example.com.", "a@-example.com", "a@example-.com",
            "a@exa_mple.com", "a@" + "a" * 64 + ".example", "a" * 65 + "@example.com",
            "a@" + "a." * 127 + "aa", "a@[1.2.3]", "a@[1.2.3.4", "a@1.2.3.4]", "a@[]", "a@[256.1.1.1]",
            "a@[01.2.3.4]", "a@[IPv6:]", "a@[IPv6:1.2.3.4]", "a@[2001:db8::1]", "a@[IPv6:fe80::1%eth0]",
            "a@[x-tag:foo]", "a@[1.2.3.٤]", "@a,@b:c@d", "a@\udc80.example", "a@b＠c", "a@é" + "x" * 300,
            "a@\u202eexample.com", "a@ex\u00a0ample.com", "Name <a@example.com>", "a@example.com,b@example.com",
        ):
            with self.assertRaises(ValueError, msg=repr(text)) as caught:
                parse(text)
            self.assertLess(len(str(caught.exception)), 40)

    @given(st.text(max_size=400) | st.text("ab.@\"\\[]:<>- \r\n\0é%!", max_size=40))
    def test_whatever_comes_is_an_address_or_a_value_error(self, text: str) -> None:
        try:
            address = parse(text)
        except ValueError:
            return
        self.assertTrue(address.text.isascii())
        self.assertTrue(address.text.isprintable())
        self.assertLessEqual(len(address.local), 64)
        self.assertLessEqual(len(address.domain), 255)
        self.assertEqual(parse(address.text), address)

    @given(st.emails())
    def test_ordinary_addresses_pass(self, text: str) -> None:
        local, _, domain = text.rpartition("@")
        self.assertEqual(parse(text), Address(local, domain.lower()))


class InternationalTests(SynchronousTestCase):
    def test_accepted(self) -> None:
        for text, local, domain in (
            ("дима@example.com", "дима", "example.com"),
            ("user.дима+ü@BÜCHER.example", "user.дима+ü", "xn--bcher-kva.example"),
            ('"é b"@[192.0.2.1]', '"é b"', "[192.0.2.1]"),
            ("用户@例子.example", "用户", "xn--fsqu00a.example"),
            ("д" * 32 + "@example.com", "д" * 32, "example.com"),
        ):
            self.assertEqual(parse(text, True), Address(local, domain))
            self.assertRaises(ValueError, parse, text)

    def test_refused_S17(self) -> None:
        for text in (
            "\ufffd@example.com", "a\u0085@example.com", "a\u202e@example.com", "a\u00a0b@example.com",
            "e\u0301@example.com", "\udc80@example.com", "д" * 33 + "@example.com",
            "é..a@example.com", ".é@example.com", 'é"a"@example.com',
            "\u212a@example.com", "é@", "é", "é@a@example.com", "é a@example.com", "é@exa mple.com", "é@[é]",
        ):  # fmt: skip
            self.assertRaises(ValueError, parse, text, True)

    @given(st.text(max_size=400) | st.text("ab.@\"\\[]:<>- \r\n\0éß\u0301\u200d\ufffd", max_size=40))
    def test_whatever_comes_is_an_address_or_a_value_error(self, text: str) -> None:
        try:
            address = parse(text, True)
        except ValueError:
            return
        self.assertTrue(address.domain.isascii())
        self.assertTrue(address.text.isprintable())
        self.assertLessEqual(len(address.local.encode()), 64)
        self.assertEqual(parse(address.text, True), address)

    @given(st.characters(min_codepoint=128))
    def test_no_letter_becomes_an_ascii_one_S27(self, letter: str) -> None:
        try:
            address = parse(f"{letter}@example.com", True)
        except ValueError:
            return
        self.assertFalse(address.key.isascii())


class SenderTests(SynchronousTestCase):
    def test_whom_a_user_may_be_S50(self) -> None:
        user = User("a", ("a@example.com", "@Example.org"))
        for text, allowed in (
            ("a@example.com", True),
            ("A@EXAMPLE.COM", True),
            ("b@example.com", False),
            ("b@example.org", True),
            ("b@sub.example.org", False),
            ("b@notexample.org", False),
            ('"a@example.com"@example.net', False),
        ):
            self.assertIs(may_send_as(user, parse(text)), allowed, text)
        self.assertTrue(may_send_as(user, None))
        self.assertTrue(may_send_as(User("b"), parse("x@example.net")))
