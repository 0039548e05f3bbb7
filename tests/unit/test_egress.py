"""The proxy of a zone as the file names it, and who is told of it and of its password."""

from __future__ import annotations

import sys
from io import StringIO
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from relay.channel.briefing import SenderBriefing, decode
from relay.cli.main import main
from relay.config import egress
from relay.config.egress import Egress
from relay.config.schema import Config, PoolAddress, Zone
from relay.service import RelayService
from relay.zone.zones import from_config
from tests.unit.test_service import port


class Reading(SynchronousTestCase):
    def test_a_proxy(self) -> None:
        for text, wanted in (
            ("socks5://10.0.0.5:1080", Egress("socks5", "10.0.0.5", 1080)),
            ("socks5://[2001:db8::5]:1080", Egress("socks5", "2001:db8::5", 1080)),
            ("haproxy://10.0.0.5:2525", Egress("haproxy", "10.0.0.5", 2525)),
            ("haproxy1://10.0.0.5:2525", Egress("haproxy1", "10.0.0.5", 2525)),
        ):
            self.assertEqual(egress.read(text), wanted)
            self.assertEqual(str(wanted), text)

    def test_what_is_none(self) -> None:
        for text, words in (
            ("10.0.0.5:1080", "begins with none of"),
            ("http://10.0.0.5:1080", "begins with none of"),
            ("socks5://proxy.test:1080", "named by its IP address"),
            ("socks5://10.0.0.5", "no port"),
            ("socks5://10.0.0.5:0", "no port"),
            ("socks5://10.0.0.5:99999", "can't be made out"),
            ("socks5://[10.0.0.5:1080", "can't be made out"),
            ("socks5://u:secret@10.0.0.5:1080", "egress_user"),
            ("socks5://10.0.0.5:1080/x", "behind the port"),
        ):
            self.assertIn(words, str(self.assertRaises(ValueError, egress.read, text)))

    @given(st.text())
    def test_anything(self, text: str) -> None:
        try:
            found = egress.read(text)
        except ValueError as error:
            self.assertTrue(str(error).isprintable())
        else:
            self.assertEqual(egress.read(str(found)), found)


class Telling(SynchronousTestCase):
    def test_children(self) -> None:
        """They are told of the password on their pipe."""
        path = self.mktemp()
        Path(path).write_text("p\u00e4ss\n")
        zone = Zone(egress="socks5://10.0.0.5:1080", egress_user="relay", egress_password_file=path)
        service = RelayService(Config(hostname="relay.test", zones={"default": zone}), MemoryReactorClock())
        ports: list[Any] = [("data channel", port("127.0.0.1", 25))]
        service.parts.ports = ports
        service.parts.briefings.read_secrets()
        told = decode(service.parts.briefings.sender("default", "x").encode(), SenderBriefing)
        self.assertEqual((told.egress_password, told.password), ("p\u00e4ss", ""))
        self.assertEqual((told.options.egress, told.options.egress_user), ("socks5://10.0.0.5:1080", "relay"))

    def test_check_config(self) -> None:
        for password, words in (
            (None, "it can't be read: No such file or directory"),
            ("s3cret" + "x" * 250, "expected a password of 255 bytes at most"),
        ):
            secret, path = self.mktemp(), self.mktemp()
            if password:
                Path(secret).write_text(password)
            Path(path).write_text(
                "hostname = 'a.example'\n[zones.a]\negress = 'socks5://10.0.0.5:1080'\negress_user = 'relay'\n"
                f"egress_password_file = '{secret}'\n"
            )
            said = StringIO()
            self.patch(sys, "stderr", said)
            self.assertEqual(main(["check-config", "--config", path], lambda *words: 0), 1)
            self.assertIn(f"zones.a.egress_password_file: {secret}: {words}", said.getvalue())
            self.assertNotIn("s3cret", said.getvalue())

    def test_the_pools_addresses_need_not_be_here(self) -> None:
        """Nobody looks for them on this machine."""
        pools = {"default": (PoolAddress(address="0.0.0.0"),), "far": (PoolAddress(address="192.0.2.1"),)}
        zones = {"far": Zone(pool="far", egress="haproxy://10.0.0.5:2525")}
        self.assertEqual(from_config(Config(hostname="a.test", pools=pools, zones=zones)).addresses(), {"0.0.0.0"})
