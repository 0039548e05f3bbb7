"""Addresses: what is taken, what is refused, what they become."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.address import Address, parse


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
