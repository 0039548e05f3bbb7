"""The sans-io server: events, answers, order, bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from relay.config.schema import Listener
from relay.message.address import Address
from relay.smtp import words
from relay.smtp.body import BARE_NEWLINE, HAS_NUL
from relay.smtp.events import (
    AuthBegun,
    AuthCancelled,
    AuthContinued,
    Closing,
    DataBegun,
    DataEnded,
    Event,
    MailGiven,
    RcptGiven,
    Reset,
    Text,
    TlsWanted,
    XclientGiven,
)
from relay.smtp.reply import Reply, reply
from relay.smtp.server import MAX_INPUT, MAX_OUTPUT, Server
from relay.smtp.states import COMMANDS, TABLE, VERBS, State, Verb
from tests.unit.test_smtp_body import CUTS, cut

ANSWERS = {
    MailGiven: words.ACCEPTED,
    RcptGiven: words.RECIPIENT_ACCEPTED,
    DataBegun: words.GO_AHEAD,
    XclientGiven: words.greeting("relay.example.com"),
}
QUEUED = reply(250, "2.0.0 Message queued as x")


def server(starttls: bool = False, xclient: bool = False, **limits: object) -> Server:
    """Logins by PLAIN and LOGIN when the listener has `auth`."""
    config = Listener(**limits)  # type: ignore[arg-type]
    made = Server(
        "relay.example.com",
        "127.0.0.1",
        config,
        starttls=starttls,
        mechanisms=("PLAIN", "LOGIN") if config.auth else (),
        xclient=xclient,
        now=lambda: 0,
    )
    made.greeting()
    made.output()
    return made


def converse(made: Server, *pieces: bytes) -> tuple[list[Event], bytes]:
    """Give it all pieces and a friendly answer to each question: events and replies."""
    events: list[Event] = []
    output = b""
    for piece in pieces:
        made.receive(piece)
        while True:
            event = made.next_event()
            if event is None:
                said = made.output()
                if not said:
                    break
                output += said
                continue
            events.append(event)
            if isinstance(event, DataEnded):
                made.answer(event.problem or QUEUED)
            elif isinstance(event, AuthBegun | AuthContinued):
                judge(made, event)
            elif isinstance(event, TlsWanted):
                output += made.output()
                made.secured(("PLAIN", "LOGIN"))
            elif made.waiting:
                made.answer(ANSWERS[type(event)])
    return events, output


def judge(made: Server, event: AuthBegun | AuthContinued) -> None:
    """Who says nothing is asked, who says "ok" may pass."""
    said = event.initial if isinstance(event, AuthBegun) else event.response
    if not said:
        made.challenge(b"yes?")
    else:
        made.answer(words.AUTHENTICATED if said == b"ok" else reply(535, "5.7.8 no"))


def joined(events: list[Event]) -> list[Event]:
    """Texts that follow each other as one."""
    result: list[Event] = []
    for event in events:
        if isinstance(event, Text) and result and isinstance(result[-1], Text):
            result[-1] = Text(result[-1].data + event.data)
        else:
            result.append(event)
    return result


LINES = st.sampled_from(
    [
        b"EHLO x\r\n",
        b"HELO x\r\n",
        b"EHLO\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"MAIL FROM:<a@b.example> SIZE=5 BODY=8BITMIME\r\n",
        b"MAIL FROM:<a@b\r\n",
        b"RCPT TO:<c@d.example>\r\n",
        b"RCPT TO:<C@D.example>\r\n",
        b"RCPT TO:<>\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"NOOP\n",
        b"NO\0OP\r\n",
        b"\xff\xfe\r\n",
        b"NOOP " + b"x" * 4090 + b"\r\n",
        b"NOOP " + b"x" * 5000 + b"\r\n",
        b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\n.a\r\nb\r\n.\r\n",
        b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\na\nb\r\n.\r\n",
        b"BDAT 7\r\nRSET\r\n\r",
        b"BDAT 7\r\n\n.\r\n..\r",
        b"BDAT 3 LAST\r\n\nNO",
        b"BDAT 3\r\na\0b",
        b"BDAT 0 LAST\r\n",
        b"BDAT 0\r\n",
        b"BDAT -1\r\n",
        b"AUTH PLAIN b2s=\r\n",
        b"AUTH PLAIN\r\nb2s=\r\n",
        b"AUTH LOGIN\r\n=\r\n",
        b"AUTH LOGIN\r\n\r\nbm8=\r\n",
        b"AUTH PLAIN " + b"eHh4" * 3000 + b"\r\n",
        b"AUTH PLAIN\r\n" + b"x" * 13000 + b"\r\n",
        b"AUTH PLAIN\r\n*\r\n",
        b"XCLIENT ADDR=192.0.2.1 HELO=y\r\n",
        b"MAIL FROM:<\xc3\xa9@b.example> SMTPUTF8 RET=FULL\r\n",
        b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 5\r\nhell\rBDAT 3 LAST\r\n\no\r",
    ]
)


class ConversationTests(TestCase):
    @settings(max_examples=300)
    @given(st.lists(LINES, max_size=12).map(b"".join), CUTS)
    def test_any_split_gives_the_same(self, data: bytes, at: list[int]) -> None:
        """S03, S05, S07, S08, S45, S47. (DATA only where it is allowed: see test_text_behind_refused_data.)"""
        for auth in (False, True):
            # Without a login DATA is refused.
            if not (auth and b"DATA\r\n" in data):
                self.same([data], at, auth=auth, insecure_auth=True, xclient=True)

    @settings(max_examples=100)
    @given(st.lists(st.lists(LINES, max_size=5).map(b"".join), min_size=2, max_size=3), CUTS)
    def test_any_split_gives_the_same_before_and_within_tls_S42(self, parts: list[bytes], at: list[int]) -> None:
        """What stands behind STARTTLS is sent when there is TLS; before that it ends the session."""
        # Without a login DATA is refused.
        parts = [part.replace(b"DATA\r\n", b"NOOP\r\n") for part in parts]
        starttls = [b"EHLO x\r\n" + part + b"RSET\r\nSTARTTLS\r\n" for part in parts[:-1]]
        self.same([*starttls, parts[-1]], at, starttls=True, auth=True)

    def same(self, parts: list[bytes], at: list[int], **options: bool) -> None:
        whole_events, whole_output = converse(server(**options), *parts)
        events, output = converse(server(**options), *[piece for part in parts for piece in cut(part, at)])
        self.assertEqual(output, whole_output)
        # Of a text that is refused in the end less has come out, or more.
        if not any(isinstance(event, DataEnded) and event.problem for event in events):
            self.assertEqual(joined(events), joined(whole_events))

    @given(st.binary(max_size=2000), CUTS)
    def test_any_bytes_get_only_well_formed_replies_S11(self, data: bytes, at: list[int]) -> None:
        _, output = converse(server(), *cut(data, at))
        self.assertTrue(output.isascii())
        for line in output.split(b"\r\n")[:-1]:
            self.assertRegex(line, rb"\A[2345]\d\d[ -][ -~]*\Z")
            self.assertLessEqual(len(line), 510)

    def test_events_of_a_message(self) -> None:
        sender, recipient = Address("a", "b.example"), Address("C", "d.example")
        events, output = converse(
            server(),
            b"EHLO x\r\nMAIL FROM:<a@B.example> SIZE=5 BODY=8BITMIME\r\nRCPT TO:<C@d.example>\r\nDATA\r\n",
            b"..x\r\n.\r\nQUIT\r\n",
        )
        self.assertEqual(
            events,
            [
                MailGiven(sender, 5, True),
                RcptGiven(recipient),
                DataBegun(MailGiven(sender, 5, True), (RcptGiven(recipient),)),
                Text(b".x\r\n"),
                DataEnded(None),
                Closing(),
            ],
        )
        self.assertEqual(output.count(b"\r\n"), 10 + 5)

    def test_replies_keep_the_order_while_a_check_takes_its_time(self) -> None:
        made = server()
        made.receive(b"HELO x\r\nMAIL FROM:<a@b.example>\r\nNOOP\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<>\r\n")
        self.assertIsInstance(made.next_event(), MailGiven)
        self.assertIsNone(made.next_event())
        self.assertTrue(made.output().startswith(b"250 relay.example.com"))
        self.assertIsNone(made.next_event())
        self.assertEqual(made.output(), b"")
        made.answer(words.ACCEPTED)
        self.assertIsInstance(made.next_event(), RcptGiven)
        made.answer(reply(450, "4.7.1 later"))
        self.assertIsNone(made.next_event())
        codes = [line[:3] for line in made.output().split(b"\r\n")[:-1]]
        self.assertEqual(codes, [b"250", b"250", b"450", b"501"])

    def test_a_refused_recipient_is_not_kept_S28(self) -> None:
        made = server()
        converse(made, b"HELO x\r\nMAIL FROM:<a@b.example>\r\n")
        made.receive(b"RCPT TO:<c@d.example>\r\n")
        self.assertIsInstance(made.next_event(), RcptGiven)
        made.answer(reply(550, "5.1.1 no"))
        self.assertIs(made.state, State.SENDER)
        _, output = converse(made, b"DATA\r\n")
        self.assertTrue(output.endswith(b"503 5.5.1 Error: need RCPT command\r\n"))

    def test_reset_is_told_only_of_an_open_transaction_S28(self) -> None:
        made = server()
        self.assertEqual(converse(made, b"RSET\r\nHELO x\r\nRSET\r\nHELO x\r\n")[0], [])
        events, _ = converse(made, b"MAIL FROM:<>\r\nRSET\r\nMAIL FROM:<>\r\nEHLO y\r\n")
        self.assertEqual(events, [MailGiven(None, None, False), Reset()] * 2)
        self.assertEqual((made.helo, made.extended), ("y", True))

    def test_nothing_of_a_failed_message_stays_S29(self) -> None:
        made = server()
        message = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<%s@d.example>\r\nDATA\r\n%s\r\n.\r\n"
        events, _ = converse(
            made, b"HELO x\r\n" + message % (b"one", b"bare\n") + message % (b"two", b"fine")
        )
        begun = [event for event in events if isinstance(event, DataBegun)]
        self.assertEqual([str(one.recipients[0].address.local) for one in begun], ["one", "two"])
        self.assertEqual([len(one.recipients) for one in begun], [1, 1])

    def test_text_behind_refused_data_S05(self) -> None:
        """A client that didn't wait for 354: its text must not be taken for commands."""
        made = server()
        made.receive(b"HELO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nRSET\r\n.\r\n")
        for _ in range(2):
            made.next_event()
            made.answer(words.ACCEPTED)
        self.assertIsInstance(made.next_event(), DataBegun)
        made.answer(reply(452, "4.3.1 no space"))
        self.assertIsInstance(made.next_event(), Closing)
        self.assertTrue(
            made.output().endswith(b"452 4.3.1 no space\r\n421 4.7.0 Error: text sent before 354\r\n")
        )

    def test_421_ends_the_session(self) -> None:
        made = server()
        made.receive(b"HELO x\r\nMAIL FROM:<>\r\nNOOP\r\n")
        made.next_event()
        made.answer(reply(421, "4.3.2 bye"))
        self.assertIsInstance(made.next_event(), Closing)
        self.assertIsNone(made.next_event())
        self.assertTrue(made.output().endswith(b"421 4.3.2 bye\r\n"))
        made.answer(words.OK)
        self.assertEqual(made.output(), b"")

    def test_answers_are_made_fit_to_send(self) -> None:
        """What a check says may hold what a peer said."""
        made = server()
        made.receive(b"HELO x\r\nMAIL FROM:<>\r\n")
        made.next_event()
        made.output()
        made.answer(reply(550, "5.7.1 bad\r\n250 ok \x1b é " + "x" * 1000, "second"))
        lines = made.output().split(b"\r\n")
        self.assertEqual(len(lines), 3)
        self.assertTrue(lines[0].startswith(b"550-5.7.1 bad??250 ok ? ? xxx"))
        self.assertLessEqual(len(lines[0]), 510)


class BoundsTests(TestCase):
    def test_2000_noops_S06(self) -> None:
        _, output = converse(server(max_commands=2000), b"NOOP\r\n" * 2000)
        self.assertEqual(output, words.OK.encode() * 2000)

    def test_output_is_bounded_when_nobody_takes_it_S41(self) -> None:
        made = server(max_commands=8000)
        made.receive(b"EHLO x\r\n" * 8000)
        self.assertIsNone(made.next_event())
        self.assertLess(len(made.output()), MAX_OUTPUT + 1024)

    def test_input_is_full_while_an_answer_is_awaited(self) -> None:
        made = server()
        made.receive(b"HELO x\r\nMAIL FROM:<>\r\n")
        made.next_event()
        made.receive(b"N" * (MAX_INPUT - 1))
        self.assertFalse(made.full)
        made.receive(b"N")
        self.assertTrue(made.full)
        made.answer(words.ACCEPTED)
        made.next_event()
        self.assertFalse(made.full)

    def test_endless_command_line_S08(self) -> None:
        made = server()
        _, output = converse(made, *[b"x" * 65536] * 64)
        self.assertEqual(output, words.LINE_TOO_LONG.encode())
        self.assertFalse(made.full)
        self.assertEqual(converse(made, b"\r\nNOOP\r\n")[1], words.OK.encode())

    def test_many_recipients_S26(self) -> None:
        made = server(max_recipients=1000)
        converse(made, b"HELO x\r\nMAIL FROM:<>\r\n")
        _, output = converse(made, b"".join(b"RCPT TO:<u%d@d.example>\r\n" % n for n in range(1500)))
        codes = [line[:3] for line in output.split(b"\r\n")[:-1]]
        self.assertEqual(codes, [b"250"] * 1000 + [b"452"] * 500)
        events, _ = converse(made, b"DATA\r\n.\r\n")
        assert isinstance(events[0], DataBegun)
        self.assertEqual(len(events[0].recipients), 1000)


class ChunkTests(TestCase):
    def begun(self, **limits: object) -> Server:
        made = server(**limits)  # type: ignore[arg-type]
        converse(made, b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n")
        return made

    def test_the_first_chunk_asks_and_its_yes_is_not_said(self) -> None:
        made = self.begun()
        made.receive(b"BDAT 4 LAST\r\na.\r\n")
        self.assertIsInstance(made.next_event(), DataBegun)
        self.assertIsNone(made.next_event())
        made.answer(words.GO_AHEAD)
        self.assertEqual(made.next_event(), Text(b"a.\r\n"))
        self.assertEqual(made.next_event(), DataEnded(None))
        self.assertEqual(made.output(), b"")
        made.answer(QUEUED)
        self.assertEqual(made.output(), QUEUED.encode())
        self.assertIs(made.state, State.READY)

    def test_a_first_chunk_that_is_not_wanted_S45(self) -> None:
        for last, state in ((b"", State.SPOILED), (b" LAST", State.READY)):
            made = self.begun()
            made.receive(b"BDAT 6" + last + b"\r\nRSE")
            made.next_event()
            made.answer(reply(452, "4.3.1 no space"))
            self.assertEqual(converse(made, b"T\r\nNOOP\r\n"), ([], b"452 4.3.1 no space\r\n250 2.0.0 OK\r\n"))
            self.assertIs(made.state, state)

    def test_a_spoiled_message_is_told_at_once(self) -> None:
        made = self.begun()
        events, _ = converse(made, b"BDAT 3\r\na\0bBDAT 3 LAST\r\nabcRSET\r\n")
        self.assertEqual(events[1:], [DataEnded(HAS_NUL), Reset()])

    @given(st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a", b"\r\n.\r\n"]), max_size=12), CUTS)
    def test_any_chunks_give_the_same_text(self, pieces: list[bytes], at: list[int]) -> None:
        """Wherever the chunks are cut: the text as it came, normalised, or the same refusal."""
        data = b"\r\n" + b"".join(pieces)  # without a header, in which nothing is normalised
        normal = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
        for mode, expected in (("reject", data if data == normal else None), ("normalize", normal)):
            made = self.begun(bare_newlines=mode)
            chunks = [*cut(data, at), b""]
            sent = b"".join(
                b"BDAT %d%s\r\n%s" % (len(chunk), b" LAST" if n == len(chunks) else b"", chunk)
                for n, chunk in enumerate(chunks, 1)
            )
            events, _ = converse(made, sent)
            ended = [event for event in events if isinstance(event, DataEnded)]
            if expected is None:
                self.assertEqual(ended, [DataEnded(BARE_NEWLINE)])
            else:
                self.assertEqual(ended, [DataEnded(None)])
                self.assertEqual(b"".join(event.data for event in events if isinstance(event, Text)), expected)


class LoginTests(TestCase):
    def test_steps(self) -> None:
        made = server(auth=True, insecure_auth=True)
        events, output = converse(made, b"EHLO x\r\nAUTH LOGIN\r\n", b"=\r\n", b"\r\n", b"b2s=\r\n")
        self.assertEqual(events, [AuthBegun("LOGIN", None), AuthCancelled()])
        events, output = converse(made, b"AUTH LOGIN =\r\n", b"\r\n", b"b2s=\r\n")
        self.assertEqual(events, [AuthBegun("LOGIN", b""), AuthContinued(b""), AuthContinued(b"ok")])
        self.assertEqual(output, b"334 eWVzPw==\r\n" * 2 + words.AUTHENTICATED.encode())
        self.assertTrue(made.authenticated)

    def test_a_long_challenge_is_sent_whole(self) -> None:
        made = server(auth=True, insecure_auth=True)
        made.receive(b"EHLO x\r\nAUTH LOGIN\r\n")
        self.assertIsInstance(made.next_event(), AuthBegun)
        made.output()
        made.challenge(b"\xff" * 3000)
        self.assertEqual(made.output(), b"334 " + b"////" * 1000 + b"\r\n")

    def test_what_was_said_before_tls_is_forgotten_S42(self) -> None:
        made = server(starttls=True, auth=True, insecure_auth=True)
        events, _ = converse(made, b"EHLO x\r\nAUTH PLAIN b2s=\r\nSTARTTLS\r\n")
        self.assertEqual(events, [AuthBegun("PLAIN", b"ok"), TlsWanted()])
        self.assertEqual(
            (made.state, made.helo, made.extended, made.authenticated), (State.NEW, "", False, False)
        )
        _, output = converse(made, b"EHLO y\r\nMAIL FROM:<>\r\n")
        self.assertTrue(output.endswith(words.LOGIN_WANTED.encode()))

    def test_nothing_is_read_between_220_and_tls_S42(self) -> None:
        made = server(starttls=True)
        made.receive(b"EHLO x\r\nSTARTTLS\r\n")
        self.assertEqual(made.next_event(), TlsWanted())
        made.output()
        made.receive(b"MAIL FROM:<evil@b.example>\r\n")
        self.assertIsNone(made.next_event())
        made.secured(())
        self.assertIsNone(made.next_event())
        self.assertEqual(made.output(), b"")


class TableTests(TestCase):
    def test_every_command_has_a_cell_in_every_state(self) -> None:
        for state in COMMANDS:
            self.assertEqual(set(TABLE[state]), set(VERBS.values()), state)
        self.assertEqual(set(State) - COMMANDS, {State.LOGIN, State.HANDSHAKE, State.TEXT, State.CHUNK, State.CLOSED})
        self.assertEqual(set(TABLE), set(State))

    def test_refusals_are_permanent(self) -> None:
        for row in TABLE.values():
            for cell in row.values():
                self.assertTrue(isinstance(cell, State) or cell.code == 503)

    def test_the_server_does_what_the_table_says(self) -> None:
        """Each command in each state: refused with the cell's reply, or led to the cell's state."""
        recipients = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n"
        prefix = {
            State.NEW: b"",
            State.READY: b"EHLO x\r\n",
            State.SENDER: b"EHLO x\r\nMAIL FROM:<>\r\n",
            State.RECIPIENTS: recipients,
            State.CHUNKS: recipients + b"BDAT 1\r\na",
            State.SPOILED: recipients + b"BDAT 1\r\n\0",
        }
        self.assertEqual(set(prefix), COMMANDS)
        arguments = {
            Verb.HELO: " x",
            Verb.EHLO: " x",
            Verb.MAIL: " FROM:<>",
            Verb.RCPT: " TO:<c@d.example>",
            Verb.BDAT: " 1",
            Verb.AUTH: " PLAIN",
            Verb.XCLIENT: " HELO=y",
        }
        for state, before in prefix.items():
            for verb, cell in TABLE[state].items():
                made = server(starttls=True, xclient=True, auth=True, insecure_auth=True)
                made._identified(verb is not Verb.AUTH)
                made._tally.anonymous = False
                converse(made, before)
                self.assertIs(made.state, state)
                made.receive(f"{verb}{arguments.get(verb, '')}\r\n".encode())
                event = made.next_event()
                if isinstance(event, AuthBegun):
                    made.challenge(b"")
                elif made.waiting:
                    made.answer(ANSWERS[type(event)])
                output = made.output()
                if isinstance(cell, Reply):
                    self.assertEqual(output, cell.encode())
                    self.assertIs(made.state, state, (state, verb))
                else:
                    self.assertLess(output[:1], b"4", (state, verb))
                    self.assertIs(made.state, cell, (state, verb))
