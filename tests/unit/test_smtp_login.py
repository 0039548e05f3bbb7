"""The client's login within its conversation (RFC 4954)."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.access.proving import Credentials
from relay.message.values import Result
from relay.smtp.client import Conversation, Event, Tls
from relay.smtp.ending import Ending
from relay.smtp.login import Login, LoginFailed
from relay.smtp.reply import Reply
from tests.unit.test_smtp_client import pieces, split

SECRET = "tops3cret"


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class Case(SynchronousTestCase):
    def greeted(self, offered: str, tls: Tls = Tls.NEVER, secure: bool = True, **options: object) -> Conversation:
        """Up to EHLO, which is answered next."""
        choose = Credentials("bob", SECRET, **options).choose  # type: ignore[arg-type]
        self.talk = Conversation("relay.test", tls, secure, choose=choose)
        self.talk.receive(b"220 hi\r\n")
        self.talk.take()
        self.event = self.talk.receive(f"250-mx.test\r\n250-PIPELINING\r\n250 {offered}\r\n".encode())
        return self.talk

    def ending(self, event: Event | Ending | None) -> Ending:
        assert isinstance(event, Ending), event
        self.assertEqual((event.result, event.stage, event.category), (Result.DEFERRED, "auth", "auth"))
        self.assertFalse(event.reusable or event.doubtful or event.stale)
        self.assertNotIn(SECRET, event.text)
        self.assertNotIn(b64(SECRET), event.text)
        return event


class LoggingIn(Case):
    def test_plain(self) -> None:
        talk = self.greeted("AUTH PLAIN LOGIN")
        self.assertEqual(talk.take(), f"AUTH PLAIN {b64(chr(0) + 'bob' + chr(0) + SECRET)}\r\n".encode())
        self.assertEqual((self.event, talk.stage), (None, "auth"))
        self.assertIs(talk.receive(b"235 2.7.0 welcome\r\n"), Event.READY)
        order = talk.begin("a@x", "b@x", 1, False)
        assert isinstance(order, bytes)
        self.assertTrue(order.startswith(b"MAIL FROM:<a@x>\r\n"))

    @given(pieces())
    def test_login_in_any_split(self, cuts: list[int]) -> None:
        talk = self.greeted("AUTH LOGIN")
        said = [talk.take()]
        for asked in ("Username:", "Password:"):
            for piece in split(f"334 {b64(asked)}\r\n".encode(), cuts):
                self.assertIsNone(talk.receive(piece))
                said.append(talk.take())
        self.assertEqual(b"".join(said), f"AUTH LOGIN\r\n{b64('bob')}\r\n{b64(SECRET)}\r\n".encode())
        self.assertIs(talk.receive(b"235 2.7.0 welcome\r\n"), Event.READY)

    def test_after_starttls_and_not_before(self) -> None:
        """What was offered in the clear doesn't count (RFC 3207 4.2)."""
        talk = Conversation("relay.test", Tls.MAY, choose=Credentials("bob", SECRET).choose)
        talk.receive(b"220 hi\r\n")
        talk.take()
        talk.receive(b"250-mx.test\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n")
        self.assertEqual(talk.take(), b"STARTTLS\r\n")
        self.assertIs(talk.receive(b"220 go\r\n"), Event.SECURE)
        self.assertEqual(talk.secured(), b"EHLO relay.test\r\n")
        self.assertIsNone(talk.receive(b"250-mx.test\r\n250 AUTH LOGIN\r\n"))
        self.assertEqual(talk.take(), b"AUTH LOGIN\r\n")

    def test_no_password_in_the_clear(self) -> None:
        """Nor where STARTTLS was wanted and is refused."""
        self.greeted("AUTH PLAIN LOGIN", secure=False)
        self.assertIn("not told without TLS", self.ending(self.event).text)
        self.assertEqual(self.talk.take(), b"")
        self.greeted("AUTH PLAIN", secure=False, insecure=True)
        self.assertTrue(self.talk.take().startswith(b"AUTH PLAIN "))
        talk = Conversation("relay.test", Tls.MAY, choose=Credentials("bob", SECRET).choose)
        talk.receive(b"220 hi\r\n")
        talk.receive(b"250-mx.test\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n")
        talk.take()
        self.ending(talk.receive(b"454 not now\r\n"))
        self.assertEqual(talk.take(), b"")

    def test_a_long_response_waits_to_be_asked_for(self) -> None:
        login = Login(Credentials("b" * 300, SECRET * 20).choose(("PLAIN",), True))
        self.assertEqual(login.begin(), b"AUTH PLAIN\r\n")
        said = base64.b64decode(login.answer(Reply(334, ("",))))
        self.assertEqual(said.split(b"\0"), [b"", b"b" * 300, SECRET.encode() * 20])


class Failing(Case):
    def test_refused(self) -> None:
        for code in (b"535 5.7.8", b"534 5.7.9", b"454 4.7.0", b"432 4.7.12", b"538 5.7.11", b"500 5.5.1"):
            talk = self.greeted("AUTH PLAIN")
            ending = self.ending(talk.receive(code + b" no\r\n"))
            self.assertEqual((ending.text, ending.code), (f"Login by PLAIN failed: {code.decode()} no", int(code[:3])))

    def test_no_way_in_common(self) -> None:
        for offered in ("AUTH GSSAPI XOAUTH2", "AUTH", "SIZE 1", "AUTH=PLAIN"):
            self.greeted(offered)
            self.assertEqual(self.ending(self.event).code, 0)
            self.assertEqual(self.talk.take(), b"")

    def test_words_that_repeat_ours_are_not_told(self) -> None:
        whole = b64(chr(0) + "bob" + chr(0) + SECRET)
        for repeated in (whole, SECRET, b64(SECRET), f"<{whole}>"):
            talk = self.greeted("AUTH PLAIN")
            ending = self.ending(talk.receive(f"535-what is\r\n535 {repeated}?\r\n".encode()))
            self.assertIn("535 (", ending.text)
            self.assertNotIn(whole, ending.text)
        talk = self.greeted("AUTH LOGIN")
        talk.receive(b"334 \r\n")
        talk.receive(b"334 \r\n")
        self.ending(talk.receive(f"500 unknown command {b64(SECRET)}\r\n".encode()))

    def test_nor_where_they_end_the_conversation(self) -> None:
        """A host that leaves, and one that merely repeats what it hears."""
        long = "x" * 100 + SECRET
        whole = b64(chr(0) + "bob" + chr(0) + SECRET)
        for told in (f"421 4.7.0 too much of {whole}\r\n", f"AUTH PLAIN {whole}\r\n", f"what is {SECRET}\r\n"):
            event = self.greeted("AUTH PLAIN").receive(told.encode())
            assert isinstance(event, Ending)
            self.assertEqual((event.result, event.stage), (Result.DEFERRED, "auth"))
            self.assertNotIn(whole, event.text)
            self.assertNotIn(SECRET, event.text)
        talk = Conversation("relay.test", secure=True, choose=Credentials("bob", long).choose)
        talk.receive(b"220 hi\r\n")
        talk.receive(b"250-mx.test\r\n250 AUTH PLAIN\r\n")
        event = talk.receive(talk.take())
        assert isinstance(event, Ending)
        self.assertNotIn(b64("x" * 30), event.text, "nor a part of it")

    def test_nor_when_it_is_over(self) -> None:
        """Whatever a host says after a login, of the message or of nothing; but a fair word is told as it is."""
        for secret in (SECRET, b64(SECRET), b64(chr(0) + "bob" + chr(0) + SECRET)):
            for replies, result in (
                (f"550 5.7.1 {secret}\r\n503 no\r\n503 no\r\n", Result.BOUNCED),
                (f"250 ok\r\n250 ok\r\n354 {secret}\r\n", Result.DELIVERED),
                (f"250 ok\r\n450-4.7.1 wait\r\n450 4.7.1 {secret}\r\n503 no\r\n", Result.DEFERRED),
                (f"421 4.7.0 {secret}\r\n", Result.DEFERRED),
                (f"no reply {secret}\r\n", Result.DEFERRED),
                (f"350 {secret}\r\n", Result.DEFERRED),
            ):
                talk = self.greeted("AUTH PLAIN")
                self.assertIs(talk.receive(f"235 2.7.0 {secret}\r\n".encode()), Event.READY)
                talk.take()
                talk.begin("a@x", "b@x", 1, False)
                event = talk.receive(replies.encode())
                if event is Event.BODY:
                    talk.end(b"x\r\n")
                    event = talk.receive(f"250 2.0.0 {secret}\r\n".encode())
                assert isinstance(event, Ending), (event, replies)
                self.assertEqual(event.result, result, replies)
                self.assertNotIn(secret, repr(event))
        talk = self.greeted("AUTH PLAIN")
        talk.receive(b"235 ok\r\n")
        talk.begin("a@x", "b@x", 1, False)
        event = talk.receive(b"550 5.1.1 no such user\r\n503 no\r\n503 no\r\n")
        assert isinstance(event, Ending), event
        self.assertEqual(event.text, "550 5.1.1 no such user")

    def test_challenges_that_are_none(self) -> None:
        for reply in (b"334 %\r\n", b"334-a\r\n334 b\r\n", b"354 go\r\n", b"334 " + b"\xff" * 8 + b"\r\n"):
            self.ending(self.greeted("AUTH LOGIN").receive(reply))
        talk = self.greeted("AUTH LOGIN")
        talk.receive(b"334 \r\n")
        talk.receive(b"334 \r\n")
        self.ending(talk.receive(b"334 \r\n"))

    def test_success_without_proof(self) -> None:
        """A host that lets us in without having shown that it knows the password is another one, for all we know."""
        talk = self.greeted("AUTH SCRAM-SHA-256 PLAIN")
        self.assertTrue(talk.take().startswith(b"AUTH SCRAM-SHA-256 "))
        ending = self.ending(talk.receive(b"235 2.7.0 welcome\r\n"))
        self.assertIn("has not proven", ending.text)

    def test_lost_421_and_out_of_turn(self) -> None:
        talk = self.greeted("AUTH LOGIN")
        ending = talk.lost("gone")
        self.assertEqual((ending.stage, ending.category), ("auth", "network"))
        ending_ = self.greeted("AUTH LOGIN").receive(b"421 4.3.2 bye\r\n")
        assert isinstance(ending_, Ending)
        self.assertEqual((ending_.stage, ending_.category, ending_.code), ("auth", "reply", 421))
        early = self.greeted("AUTH PLAIN").receive(b"235 ok\r\n250 ok\r\n")
        assert isinstance(early, Ending)
        self.assertEqual(early.category, "protocol")

    @given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from((b"334 \r\n", b"235 ok\r\n", b"334 YQ==\r\n")))))
    def test_anything(self, said: Sequence[bytes]) -> None:
        """Ends, or is let in by a 235 alone."""
        talk = self.greeted("AUTH LOGIN")
        for data in said:
            event = talk.receive(data)
            talk.take()
            if event is Event.READY:
                self.assertIn(b"235", b"".join(said))
                break
            if isinstance(event, Ending):
                self.assertIs(event.result, Result.DEFERRED)
                break

    def test_too_many_questions(self) -> None:
        class Endless:
            name, secret = "X", SECRET

            def first(self) -> None:
                return None

            def step(self, challenge: bytes) -> bytes:
                return b"yes"

            def finish(self) -> None:
                raise LoginFailed("never")

        login = Login(Endless())
        login.begin()
        for _ in range(4):
            login.answer(Reply(334, ("",)))
        self.assertRaises(LoginFailed, login.answer, Reply(334, ("",)))
