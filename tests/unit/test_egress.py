"""The proxy of a zone as the file names it, its login, and who is told of both."""

from __future__ import annotations

import os
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
from relay.config.egress import Egress, Login
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
            ("socks5://u:secret@10.0.0.5:1080", "a login stands in the file"),
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


class Logins(SynchronousTestCase):
    def file(self, data: bytes) -> str:
        path = self.mktemp()
        Path(path).write_bytes(data)
        return path

    def test_from_a_file(self) -> None:
        for data in (b"relay:a:b", b"relay:a:b\n", b"relay:a:b\r\nmore\n"):
            self.assertEqual(egress.login(self.file(data)), Login(b"relay", b"a:b"))

    def test_from_the_environment(self) -> None:
        self.patch(os, "environb", {b"SOCKS": b"relay:p\xc3\xa4ss"})
        self.assertEqual(egress.login("env:SOCKS"), Login(b"relay", b"p\xc3\xa4ss"))
        self.assertIn("no such environment", str(self.assertRaises(ValueError, egress.login, "env:OTHER")))

    def test_what_is_none(self) -> None:
        for path, words in (
            (self.mktemp(), "can't be read: No such file"),
            ("/", "can't be read: Is a directory"),
            (self.file(b"s3cret\n"), "no line name:password"),
            (self.file(b":s3cret\n"), "1 to 255 bytes"),
            (self.file(b"s3cret:\n"), "1 to 255 bytes"),
            (self.file(b"s3cret:" + b"x" * 256), "1 to 255 bytes"),
        ):
            text = str(self.assertRaises(ValueError, egress.login, path))
            self.assertIn(words, text)
            self.assertNotIn("s3cret", text)


class Telling(SynchronousTestCase):
    def test_children(self) -> None:
        """They are told of it on their pipe, and each new one of what the file has by then."""
        path = self.mktemp()
        zone = Zone(egress="socks5://10.0.0.5:1080", egress_login=path)
        service = RelayService(Config(hostname="relay.test", zones={"default": zone}), MemoryReactorClock())
        ports: list[Any] = [("data channel", port("127.0.0.1", 25))]
        service._ports = ports
        for said in ("relay:one", "relay:two"):
            Path(path).write_text(said)
            told = decode(service._briefings.sender("default", "x").encode(), SenderBriefing)
            self.assertEqual(told.login, Login(*said.encode().split(b":")))
            self.assertEqual(told.options.egress, "socks5://10.0.0.5:1080")
        Path(path).unlink()
        self.assertIsNone(service._briefings.sender("default", "x").login)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_check_config(self) -> None:
        path = self.mktemp()
        Path(path).write_text(
            "hostname = 'a.example'\n[zones.a]\negress = 'socks5://10.0.0.5:1080'\negress_login = '/nowhere'\n"
        )
        said = StringIO()
        self.patch(__import__("sys"), "stderr", said)
        self.assertEqual(main(["check-config", "--config", path], lambda *words: 0), 1)
        self.assertIn("zones.a.egress_login: /nowhere: it can't be read: No such file or directory", said.getvalue())

    def test_the_pools_addresses_need_not_be_here(self) -> None:
        """Nobody looks for them on this machine."""
        pools = {"default": (PoolAddress(address="0.0.0.0"),), "far": (PoolAddress(address="192.0.2.1"),)}
        zones = {"far": Zone(pool="far", egress="haproxy://10.0.0.5:2525")}
        self.assertEqual(from_config(Config(hostname="a.test", pools=pools, zones=zones)).addresses(), {"0.0.0.0"})
