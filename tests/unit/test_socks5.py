"""The client's side of SOCKS5, fed with what proxies say and with what they don't."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.config.egress import Login
from relay.net.socks5 import NotReached, Socks5, SocksError, Unreached

LOGIN = Login(b"relay", b"p\xc3\xa4ss")
ADMISSION = b"\x01\x05relay\x05p\xc3\xa4ss"
CONNECT4 = b"\x05\x01\x00\x01\xc0\x00\x02\x07\x00\x19"
CONNECT6 = b"\x05\x01\x00\x04" + bytes.fromhex("20010db8000000000000000000000007") + b"\x00\x19"
DONE4 = b"\x05\x00\x00\x01\xc6\x33\x64\x09\x12\x34"
DONE6 = b"\x05\x00\x00\x04" + bytes.fromhex("20010db8000000000000000000000009") + b"\x12\x34"
DONE_NAME = b"\x05\x00\x00\x03\x04name\x12\x34"


class Case(SynchronousTestCase):
    def asked(self, address: str = "192.0.2.7", login: Login | None = None) -> Socks5:
        """One that has said CONNECT."""
        machine = Socks5(address, 25, login)
        machine.begin()
        machine.feed(b"\x05\x00")
        return machine


class Talk(Case):
    def test_without_a_login(self) -> None:
        machine = Socks5("192.0.2.7", 25)
        self.assertEqual(machine.begin(), b"\x05\x01\x00")
        self.assertFalse(machine.asked)
        self.assertEqual(machine.feed(b"\x05\x00"), CONNECT4)
        self.assertTrue(machine.asked)
        self.assertFalse(machine.done)
        self.assertEqual(machine.feed(DONE4), b"")
        self.assertTrue(machine.done)
        self.assertEqual((machine.source, machine.rest), ("198.51.100.9", b""))

    def test_with_a_login(self) -> None:
        machine = Socks5("2001:db8::7", 25, LOGIN)
        self.assertEqual(machine.begin(), b"\x05\x02\x00\x02")
        self.assertEqual(machine.feed(b"\x05\x02"), ADMISSION)
        self.assertFalse(machine.asked)
        self.assertEqual(machine.feed(b"\x01\x00"), CONNECT6)
        self.assertEqual(machine.feed(DONE6 + b"220 hi\r\n"), b"")
        self.assertEqual((machine.source, machine.rest), ("2001:db8::9", b"220 hi\r\n"))

    def test_a_login_that_is_not_wanted(self) -> None:
        machine = Socks5("192.0.2.7", 25, LOGIN)
        machine.begin()
        self.assertEqual(machine.feed(b"\x05\x00"), CONNECT4)

    def test_a_proxy_that_does_not_say_where_it_is(self) -> None:
        for reply in (DONE_NAME, b"\x05\x00\x00\x01\0\0\0\0\0\0", b"\x05\x00\x00\x04" + bytes(18)):
            machine = self.asked()
            machine.feed(reply)
            self.assertTrue(machine.done)
            self.assertEqual(machine.source, "")

    @given(st.sampled_from((DONE4, DONE6, DONE_NAME)), st.booleans(), st.binary(max_size=20), st.data())
    def test_any_split(self, done: bytes, login: bool, rest: bytes, data: st.DataObject) -> None:
        machine = Socks5("192.0.2.7", 25, LOGIN if login else None)
        said = machine.begin()
        talk: Sequence[bytes] = (b"\x05\x02", b"\x01\x00", done) if login else (b"\x05\x00", done)
        for part in talk:
            behind = rest if part is done else b""
            whole = part + behind
            cut = data.draw(st.integers(0, len(part) - 1))
            for piece in (whole[:cut], whole[cut:]):
                said += machine.feed(piece)
        self.assertEqual((machine.done, machine.rest), (True, rest))
        greeting = b"\x05\x02\x00\x02" + ADMISSION if login else b"\x05\x01\x00"
        self.assertEqual(said, greeting + CONNECT4)


class Refusals(Case):
    def refused(self, machine: Socks5, data: bytes) -> str:
        return str(self.assertRaises(SocksError, machine.feed, data))

    def test_of_logins(self) -> None:
        for login, replies, words in (
            (None, (b"\x05\xff",), "wants a login that it takes"),
            (LOGIN, (b"\x05\xff",), "another kind of login"),
            (None, (b"\x05\x02",), "not offered"),
            (LOGIN, (b"\x05\x01",), "not offered"),
            (LOGIN, (b"\x05\x02", b"\x01\x01"), "refuses the login"),
        ):
            machine = Socks5("192.0.2.7", 25, login)
            machine.begin()
            for reply in replies[:-1]:
                machine.feed(reply)
            self.assertIn(words, self.refused(machine, replies[-1]))

    def test_whose_fault_a_reply_names(self) -> None:
        """Of four codes it is the far host's; by all others it is the proxy's."""
        for code in range(1, 256):
            machine = self.asked()
            reply = bytes((5, code))
            if code in (3, 4, 5, 6):
                self.assertEqual(self.assertRaises(NotReached, machine.feed, reply).why, Unreached(code))
            else:
                self.refused(machine, reply)
            self.assertFalse(machine.done)

    def test_what_is_no_socks(self) -> None:
        for reply in (b"HTTP/1.1 400 Bad Request\r\n", b"220 mx.test\r\n", b"\x04\x5a", b"\x00\x00"):
            machine = Socks5("192.0.2.7", 25)
            machine.begin()
            self.refused(machine, reply)

    def test_a_reply_that_makes_no_sense(self) -> None:
        for reply in (b"\x04", b"\x05\x00\x00\x02\x00", b"\x05\x00\x00\x00\x00"):
            self.refused(self.asked(), reply)

    def test_one_that_talks_too_early(self) -> None:
        """What follows a reply before the next request isn't the answer to that."""
        machine = Socks5("192.0.2.7", 25)
        machine.begin()
        self.assertIn("before it is asked", self.refused(machine, b"\x05\x00" + DONE4))
        machine = Socks5("192.0.2.7", 25, LOGIN)
        machine.begin()
        self.refused(machine, b"\x05\x02\x01\x00")

    @given(st.lists(st.binary(max_size=300), max_size=8), st.booleans())
    def test_anything(self, pieces: list[bytes], login: bool) -> None:
        """It ends, is not done but by a reply that says so, and keeps no more than one reply."""
        machine = Socks5("192.0.2.7", 25, LOGIN if login else None)
        machine.begin()
        said = b""
        try:
            for piece in pieces:
                if machine.done:
                    break
                said += machine.feed(piece)
        except SocksError as error:
            self.assertTrue(str(error).isprintable())
        except NotReached:
            pass
        self.assertLessEqual(len(said), len(ADMISSION + CONNECT4))
        if machine.done:
            self.assertTrue(said.endswith(CONNECT4))
        self.assertLessEqual(len(machine._buffer), 5 + 255 + 2 + 300)
