"""The minutes of a call: what is kept of it, and what never is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.access.proving import Credentials
from relay.message.dialogue import MAX_LINE, MAX_TEXT, Dialogue, Spoken, shown
from relay.smtp.client import Conversation, Event
from relay.smtp.minutes import Minutes
from relay.smtp.reply import Reply

REPLIES = st.builds(
    lambda code, lines: Reply(code, tuple(lines)),
    st.integers(200, 599),
    st.lists(st.text(max_size=500), min_size=1, max_size=30),
)


class Talks(SynchronousTestCase):
    """A conversation with minutes, on a clock."""

    def greeted(self, ehlo: bytes = b"250-mx\r\n250 PIPELINING\r\n", **more: object) -> Conversation:
        self.clock = Clock()
        self.clock.advance(1000)
        self.minutes = Minutes(self.clock.seconds)
        talk = Conversation("relay.test", minutes=self.minutes, **more)  # type: ignore[arg-type]
        self.clock.advance(0.25)
        talk.receive(b"220 mx ESMTP\r\n")
        talk.take()
        talk.receive(ehlo)
        return talk

    def lines(self, ending: str = "") -> list[str]:
        return self.minutes.told(ending).split("\n")


GREETING = ["0.250 < 220 mx ESMTP", "0.250 > EHLO relay.test", "0.250 < 250-mx", "0.250 < 250 PIPELINING"]
OPENING = ["1.250 > MAIL FROM:<a@x>", "1.250 > RCPT TO:<b@x>", "1.250 > DATA"]


class ConversationTests(Talks):
    def test_a_refusal(self) -> None:
        talk = self.greeted()
        self.clock.advance(1)
        talk.begin("a@x", "b@x", 1, False)
        self.clock.advance(2)
        talk.receive(b"250 ok\r\n550-5.1.1 no\r\n550 5.1.1 such\r\n503 first\r\n")
        self.assertEqual(
            self.lines(),
            [
                *GREETING,
                *OPENING,
                "3.250 < 250 ok",
                "3.250 < 550-5.1.1 no",
                "3.250 < 550 5.1.1 such",
                "3.250 < 503 first",
            ],
        )

    def test_of_transactions_the_last_alone(self) -> None:
        talk = self.greeted()
        talk.begin("secret@x", "b@x", 1, False)
        talk.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
        talk.end(b"the text\r\n")
        talk.receive(b"250 taken\r\n")
        self.clock.advance(1)
        talk.begin("a@x", "b@x", 1, False)
        talk.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
        talk.end(b"the text\r\n")
        self.clock.advance(30)
        told = ["1.250 < 250 ok", "1.250 < 250 ok", "1.250 < 354 go", "1.250 - [text]", "31.250 - No reply"]
        self.assertEqual(self.lines("No reply"), [*GREETING, "1.250 - [...]", *OPENING, *told])

    def test_a_message_that_is_not_offered_tells_nothing_of_the_one_before(self) -> None:
        talk = self.greeted(b"250-mx\r\n250 SIZE 10\r\n")
        talk.begin("secret@x", "b@x", 1, False)
        talk.receive(b"450 no\r\n")
        talk.begin("a@x", "b@x", 100, False)
        self.assertNotIn("secret", self.minutes.told("too big"))
        self.assertEqual(self.lines("too big")[-1], "0.250 - too big")

    def test_step_by_step_where_the_host_does_not_pipeline(self) -> None:
        talk = self.greeted(b"250 mx\r\n")
        talk.begin("a@x", "b@x", 1, False)
        talk.receive(b"250 ok\r\n")
        self.assertEqual(
            self.lines()[-3:], ["0.250 > MAIL FROM:<a@x>", "0.250 < 250 ok", "0.250 > RCPT TO:<b@x>"]
        )

    def test_what_breaks_the_conversation_is_told(self) -> None:
        talk = self.greeted()
        talk.begin("a@x", "b@x", 1, False)
        talk.receive(b"250 ok\r\n250 ok\r\n354 go\r\n")
        talk.receive(b"250 early\r\n")
        self.assertEqual(self.lines()[-1], "0.250 < 250 early")

    def test_nothing_of_a_login_is_told(self) -> None:
        for offered, answers in (
            ("AUTH PLAIN", []),
            ("AUTH LOGIN", [b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n"]),
            ("AUTH CRAM-MD5", [b"334 PDEyMzQ1QG14PgAA\r\n"]),
        ):
            ehlo, choose = f"250-mx\r\n250 {offered}\r\n".encode(), Credentials("bob", "pw1").choose
            talk = self.greeted(ehlo, choose=choose, secure=True)
            said = [talk.take()]
            for answer in answers:
                talk.receive(answer)
                said.append(talk.take())
            self.assertIs(talk.receive(b"235 welcome bob\r\n"), Event.READY)
            told = self.minutes.told()
            self.assertIn(f"> {offered} ...", told)
            self.assertEqual(self.lines()[-1], "0.250 < 235 ...")
            for line in said:
                for word in line.split()[2:] if line.startswith(b"AUTH") else line.split():
                    self.assertNotIn(word.decode(), told)
            self.assertNotIn("PDEy", told)

    def test_a_host_that_repeats_a_login_is_not_quoted(self) -> None:
        talk = self.greeted(b"250-mx\r\n250 AUTH PLAIN\r\n", choose=Credentials("bob", "pw1").choose, secure=True)
        secret = talk.take().split()[2]
        talk.receive(b"535 5.7.8 not with " + secret + b"\r\n")
        self.assertNotIn(secret.decode(), self.minutes.told())
        self.assertIn("< 535 5.7.8 ", self.minutes.told())


class MinutesTests(SynchronousTestCase):
    def test_nothing_said_is_nothing_told(self) -> None:
        self.assertEqual(Minutes().told("No connection"), "")

    @given(st.lists(st.one_of(st.binary(max_size=700), REPLIES), min_size=1, max_size=40), st.text(max_size=600))
    def test_it_is_bounded_and_can_be_read_whatever_is_said(self, said: list[bytes | Reply], ending: str) -> None:
        clock = Clock()
        minutes = Minutes(clock.seconds)
        for number, what in enumerate(said):
            if number % 7 == 3:
                minutes.began()
            minutes.note(what)
            clock.advance(0.5)
        told = minutes.told(ending)
        self.assertLessEqual(len(told), MAX_TEXT)
        lines = told.split("\n") if told else []
        self.assertTrue(all(line.isprintable() and len(line) <= MAX_LINE for line in lines))
        self.assertEqual(len(Dialogue(0, told).lines()), len(lines))
        if lines and ending.strip():
            self.assertEqual(lines[-1].split(" ", 1)[0], f"{clock.seconds():.3f}")

    def test_head_and_tail_of_much(self) -> None:
        minutes = Minutes(lambda: 0.0)
        for number in range(10_000):
            minutes.note(f"RCPT TO:<{number}@x>".encode())
        told = minutes.told()
        self.assertTrue(told.startswith("0.000 > RCPT TO:<0@x>\n"))
        self.assertTrue(told.endswith("\n0.000 > RCPT TO:<9999@x>"))
        self.assertIn("\n0.000 - [...]\n", told)
        self.assertLess(len(minutes._entries), 500)


class DialogueTests(SynchronousTestCase):
    def test_the_last_line_is_of_the_failure(self) -> None:
        dialogue = Dialogue(100_000, "0.500 < 220 hi\n1.500 > EHLO a b\n61.500 - No reply within 60 s")
        self.assertEqual(
            dialogue.lines(),
            [
                Spoken(39_000, "<", "220 hi"),
                Spoken(40_000, ">", "EHLO a b"),
                Spoken(100_000, "-", "No reply within 60 s"),
            ],
        )
        self.assertEqual(shown(dialogue)[0], {"time": 39_000, "who": "host", "text": "220 hi"})
        self.assertEqual([one["who"] for one in shown(dialogue)], ["host", "relay", ""])

    def test_what_is_no_line_is_left_out(self) -> None:
        self.assertEqual(Dialogue(5, "x\n\nnan < a\n1e999 > b\n0.1 ? c\n0.1 < d").lines(), [Spoken(5, "<", "d")])
        self.assertEqual(shown(None), [])
