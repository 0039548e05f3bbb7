"""How we prove who we are: each mechanism against the words of its RFC, and against our own listener's side of it."""

from __future__ import annotations

import base64
import hashlib
import hmac

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.access import mechanisms, scram
from relay.access.proving import STRENGTH, CramMd5, Credentials, Login, Plain, Scram
from relay.smtp.login import LoginFailed

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=30)


class Choosing(SynchronousTestCase):
    def chosen(self, offered: str, secure: bool = True, **options: object) -> str:
        return Credentials("u", "p", **options).choose(offered.split(), secure).name  # type: ignore[arg-type]

    def test_the_strongest_of_those_offered(self) -> None:
        for number, name in enumerate(STRENGTH):
            self.assertEqual(self.chosen("XOAUTH2 " + " ".join(reversed(STRENGTH[number:])).lower()), name)

    def test_no_more_than_is_allowed(self) -> None:
        self.assertEqual(self.chosen("SCRAM-SHA-256 LOGIN PLAIN", mechanisms=("LOGIN",)), "LOGIN")
        with self.assertRaisesRegex(LoginFailed, "no way to log in that may be used here, but SCRAM-SHA-256$"):
            self.chosen("SCRAM-SHA-256", mechanisms=("LOGIN",))
        self.assertRaises(LoginFailed, self.chosen, "")

    def test_no_password_without_tls(self) -> None:
        for offered in ("PLAIN", "LOGIN PLAIN"):
            with self.assertRaisesRegex(LoginFailed, "not told without TLS"):
                self.chosen(offered, secure=False)
        self.assertEqual(self.chosen("PLAIN LOGIN", secure=False, insecure=True), "PLAIN")
        self.assertEqual(self.chosen("PLAIN CRAM-MD5", secure=False), "CRAM-MD5")

    def test_what_shows_no_password(self) -> None:
        self.assertEqual(repr(Credentials("bob", "hidden")), "Credentials('bob')")


class Vectors(SynchronousTestCase):
    def test_plain(self) -> None:
        """RFC 4616."""
        self.assertEqual(Plain("tim", "tanstaaftanstaaf").first(), b"\0tim\0tanstaaftanstaaf")
        self.assertRaises(LoginFailed, Plain("tim", "x").step, b"")

    def test_login(self) -> None:
        login = Login("tim", "secret")
        self.assertIsNone(login.first())
        self.assertRaises(LoginFailed, login.finish)
        self.assertEqual([login.step(b"Username:"), login.step(b"")], [b"tim", b"secret"])
        login.finish()
        self.assertRaises(LoginFailed, login.step, b"again?")

    def test_cram_md5(self) -> None:
        """RFC 2195 2."""
        cram = CramMd5("tim", "tanstaaftanstaaf")
        self.assertRaises(LoginFailed, cram.finish)
        said = cram.step(b"<1896.697170952@postoffice.reston.mci.net>")
        self.assertEqual(said, b"tim b913a602c7eda7a495b4e6e7334d3890")
        cram.finish()
        self.assertRaises(LoginFailed, cram.step, b"<again>")
        self.assertRaises(LoginFailed, CramMd5("tim", "x").step, b"")

    def test_scram(self) -> None:
        """RFC 5802 5, RFC 7677 3."""
        for name, nonce, challenge, final, signature in (
            (
                "SCRAM-SHA-1",
                "fyko+d2lbbFgONRv9qkxdawL",
                b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                "SCRAM-SHA-256",
                "rOprNGfwEbeRWgbNEkqO",
                b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ):
            ours = Scram("user", "pencil", name, nonce)
            self.assertEqual(ours.first(), b"n,,n=user,r=" + nonce.encode())
            self.assertEqual(ours.step(challenge), final)
            self.assertRaises(LoginFailed, ours.finish)
            self.assertEqual(ours.step(signature), b"")
            ours.finish()
            self.assertRaises(LoginFailed, ours.step, signature)


class AgainstUs(SynchronousTestCase):
    """The listener's side takes what this side says."""

    @settings(max_examples=20, deadline=None)
    @given(NAMES, NAMES, st.booleans())
    def test_scram(self, user: str, password: str, right: bool) -> None:
        host = scram.Scram("server")
        ours = Scram(user, password if right else password + "x", "SCRAM-SHA-256", "client")
        wanted = host.step(ours.first())
        assert isinstance(wanted, mechanisms.Wanted)
        self.assertEqual(wanted.name, scram.prepared(user))
        final = ours.step(host.take(scram.derive(password, b"salt", 4096)))
        if not right:
            self.assertRaises(mechanisms.Failed, host.step, final)
            return
        signature = host.step(final)
        assert isinstance(signature, bytes)
        self.assertEqual(host.step(ours.step(signature)), mechanisms.Proven(wanted.name))
        ours.finish()

    @given(NAMES, NAMES)
    def test_plain_and_login(self, user: str, password: str) -> None:
        self.assertEqual(mechanisms.Plain().step(Plain(user, password).first()), (user, password))
        host, ours = mechanisms.Login(), Login(user, password)
        asked = host.step(None)
        while isinstance(asked, bytes):
            asked = host.step(ours.step(asked))
        self.assertEqual(asked, (user, password))


class Hostile(SynchronousTestCase):
    """A host that would be let in without knowing the password, or makes us work."""

    def scram(self) -> Scram:
        return Scram("user", "pencil", "SCRAM-SHA-256", "mine")

    def challenge(self, nonce: bytes = b"minetheirs", salt: bytes = b"c2FsdA==", rounds: bytes = b"4096") -> bytes:
        return b"r=%b,s=%b,i=%b" % (nonce, salt, rounds)

    def test_who_does_not_know_the_password(self) -> None:
        wrong = base64.b64encode(hmac.digest(b"guess", b"said", hashlib.sha256))
        for said in (b"v=" + wrong, b"v=", b"v=AAAA", b"", b"w=" + wrong, b"v=\xff", b"e=other-error", b"c=biws"):
            ours = self.scram()
            ours.step(self.challenge())
            self.assertRaises(LoginFailed, ours.step, said)
            self.assertRaises(LoginFailed, ours.finish)

    def test_success_out_of_turn(self) -> None:
        ours = self.scram()
        self.assertRaises(LoginFailed, ours.finish)
        ours.step(self.challenge())
        self.assertRaises(LoginFailed, ours.finish)

    def test_challenges_that_are_none(self) -> None:
        for challenge in (
            self.challenge(nonce=b"mine"),
            self.challenge(nonce=b"theirs"),
            self.challenge(salt=b""),
            self.challenge(salt=b"\xff"),
            self.challenge(rounds=b"4095"),
            self.challenge(rounds=b"1"),
            self.challenge(rounds=b"600001"),
            self.challenge(rounds=b"9" * 5000),
            self.challenge(rounds=b"-4096"),
            self.challenge(rounds=b"\xd9\xa3"),
            b"m=ext," + self.challenge(),
            b"s=c2FsdA==,r=minetheirs,i=4096",
            b"",
            b",,,",
        ):
            self.assertRaises(LoginFailed, self.scram().step, challenge)

    @settings(max_examples=200, deadline=None)
    @given(st.sampled_from(STRENGTH), st.lists(st.binary(max_size=60), max_size=4))
    def test_anything_is_answered_or_fails(self, name: str, challenges: list[bytes]) -> None:
        ours = Credentials("user", "pencil", (name,)).choose((name,), True)
        self.assertNotIn(b"pencil", b"" if name in ("PLAIN", "LOGIN") else ours.first() or b"")
        try:
            for challenge in challenges:
                said = ours.step(challenge)
                if name != "LOGIN":
                    self.assertNotIn(b"pencil", said)
            if name.startswith("SCRAM"):
                self.assertRaises(LoginFailed, ours.finish)
        except LoginFailed as error:
            self.assertTrue(str(error).isprintable())
            self.assertNotIn("pencil", str(error))
