from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import TestCase

from relay.message.internet import is_public, meant

OURS = (
    "127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255",
    "::", "::1", "fe80::1", "fc00::1", "fec0::1", "ff0e::1", "2001:db8::1",
    "::ffff:127.0.0.1", "::127.0.0.1", "::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808", "2002:7f00:1::", "2001:0:7f00:1::",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1")


class Internet(TestCase):
    def test_S23_what_is_public(self) -> None:
        """Also where one of our own is written as another kind of address."""
        self.assertEqual([], [text for text in OURS if is_public(ip_address(text))])
        self.assertEqual(list(PUBLIC), [text for text in PUBLIC if is_public(ip_address(text))])

    def test_what_is_meant(self) -> None:
        for text in ("::8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "8.8.8.8"):
            self.assertEqual(ip_address("8.8.8.8"), meant(ip_address(text)), text)
        self.assertEqual(ip_address("2a00::1"), meant(ip_address("2a00::1")))
