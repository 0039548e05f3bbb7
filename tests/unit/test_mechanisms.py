"""SASL: what a client says is either taken apart or refused, whatever it is (S47)."""

from __future__ import annotations

import base64
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.access.mechanisms import Claim, External, Failed, Login, Password, Plain, Proven, Wanted
from relay.access.scram import Keys, Scram, derive, read_keys

SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="


class PlainAndLogin(SynchronousTestCase):
    def test_plain(self) -> None:
        plain = Plain()
        self.assertEqual(plain.step(None), b"")
        self.assertEqual(plain.step(b"\0alice\0secret"), Password("alice", "secret"))
        self.assertEqual(plain.step(b"alice\0alice\0s:e c"), Password("alice", "s:e c"))

    def test_plain_refused_S47(self) -> None:
        for words in (
            b"", b"alice", b"\0alice", b"\0\0secret", b"\0alice\0", b"\0a\0b\0c", b"bob\0alice\0secret",
            b"\0\xff\0secret", b"\0al\nice\0secret", b"\0" + b"a" * 1025 + b"\0secret", b"\0alice\0" + b"x" * 1025,
        ):  # fmt: skip
            self.assertRaises(Failed, Plain().step, words)

    def test_login(self) -> None:
        login = Login()
        self.assertEqual(login.step(None), b"Username:")
        self.assertEqual(login.step(b"alice"), b"Password:")
        self.assertEqual(login.step(b"secret"), Password("alice", "secret"))

    def test_login_with_initial_response(self) -> None:
        login = Login()
        self.assertEqual(login.step(b"alice"), b"Password:")
        self.assertEqual(login.step(b"secret"), Password("alice", "secret"))

    def test_external(self) -> None:
        self.assertEqual(External().step(b""), Claim(""))
        self.assertEqual(External().step(b"alice"), Claim("alice"))
        self.assertEqual(External().step(None), b"")

    @given(
        st.lists(st.one_of(st.none(), st.binary(max_size=60)), max_size=4), st.sampled_from((Plain, Login, External))
    )
    def test_anything_S47(self, words: list[bytes | None], mechanism: Any) -> None:
        made = mechanism()
        for word in words:
            try:
                said = made.step(word)
            except Failed:
                break
            self.assertIsInstance(said, bytes | Password | Claim)


class ScramTests(SynchronousTestCase):
    """RFC 7677 3."""

    def setUp(self) -> None:
        self.keys = derive("pencil", SALT, 4096)

    def test_the_example_of_the_rfc(self) -> None:
        scram = Scram(NONCE)
        self.assertEqual(scram.step(FIRST), Wanted("user"))
        self.assertEqual(
            scram.take(self.keys),
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        )
        self.assertEqual(scram.step(FINAL), b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        self.assertEqual(scram.step(b""), Proven("user"))

    def test_without_initial_response(self) -> None:
        scram = Scram(NONCE)
        self.assertEqual(scram.step(None), b"")
        self.assertEqual(scram.step(FIRST), Wanted("user"))

    def test_wrong_proofs(self) -> None:
        for final in (
            FINAL.replace(b"p=d", b"p=e"),
            FINAL.replace(b"c=biws", b"c=eSws"),
            FINAL.replace(b"k0,", b"k1,"),
            FINAL[:-4],
            FINAL.partition(b",p=")[0],
            b"",
        ):
            scram = Scram(NONCE)
            scram.step(FIRST)
            scram.take(self.keys)
            self.assertRaises(Failed, scram.step, final)

    def test_bad_first_messages(self) -> None:
        for first in (
            b"p=tls-unique,,n=user,r=x", b"n,a=other,n=user,r=x", b"n,,m=ext,n=user,r=x", b"n,,n=,r=x",
            b"n,,n=us=er,r=x", b"n,,n=user,r=", b"n,,n=user,r=\x01", b"", b"n,,n=\xff,r=x", b"n,,n=" + b"u" * 3000,
            b"n,,n=a=3=2CD,r=x",
        ):  # fmt: skip
            self.assertRaises(Failed, Scram(NONCE).step, first)

    def test_names_are_unescaped(self) -> None:
        self.assertEqual(Scram(NONCE).step(b"n,a=a=2Cb,n=a=2Cb,r=x"), Wanted("a,b"))

    def test_passwords_are_prepared(self) -> None:
        """RFC 4013 3, and what it forbids stays as it is."""
        for given_, prepared in (("I\xadX\xaa", "IXa"), ("\u2168\u3000x", "IX x"), ("\xe9\x07", "\xe9\x07")):
            self.assertEqual(derive(given_, SALT, 1), derive(prepared, SALT, 1))
        self.assertNotEqual(derive("\xe9\x07", SALT, 1), derive("\xe9", SALT, 1))

    def test_keys_as_text(self) -> None:
        self.assertEqual(read_keys(str(self.keys)), self.keys)
        for text in ("", "SCRAM-SHA-256$", "SCRAM-SHA-256$0:AA==$AA==:AA==", "SCRAM-SHA-256$x:$:", str(self.keys)[:-9]):
            self.assertRaises(ValueError, read_keys, text)

    @given(st.lists(st.binary(max_size=80), max_size=4), st.booleans())
    def test_anything(self, words: list[bytes], begun: bool) -> None:
        scram = Scram(NONCE)
        for word in [FIRST, *words] if begun else words:
            try:
                said = scram.step(word)
            except Failed:
                return
            self.assertNotIsInstance(said, Proven)
            if isinstance(said, Wanted):
                scram.take(Keys(b"salt", 4096, b"\0" * 32, b"\1" * 32))
