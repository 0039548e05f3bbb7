"""The sans-io server: events, answers, order, bounds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from relay.config.schema import Listener
from relay.message.address import Address
from relay.smtp import words
from relay.smtp.events import Closing, DataBegun, DataEnded, Event, MailGiven, RcptGiven, Reset, Text
from relay.smtp.reply import Reply, reply
from relay.smtp.server import MAX_INPUT, MAX_OUTPUT, Server
from relay.smtp.states import TABLE, VERBS, State, Verb
from tests.unit.test_smtp_body import CUTS, cut

ANSWERS = {MailGiven: words.ACCEPTED, RcptGiven: words.RECIPIENT_ACCEPTED, DataBegun: words.GO_AHEAD}
QUEUED = reply(250, "2.0.0 Message queued as x")


def server(**limits: object) -> Server:
    made = Server("relay.example.com", "127.0.0.1", Listener(**limits))  # type: ignore[arg-type]
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
            elif made.waiting:
                made.answer(ANSWERS[type(event)])
    return events, output


def joined(events: list[Event]) -> list[Event]:
    """Texts that follow each other as one."""
    result: list[Event] = []
    for event in events:
        if isinstance(event, Text) and result and isinstance(result[-1], Text):
            result[-1] = Text(result[-1].data + event.data)
        else:
            result.append(event)
    return result


COMMANDS = st.sampled_from(
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
    ]
)


class ConversationTests(TestCase):
    @settings(max_examples=300)
    @given(st.lists(COMMANDS, max_size=12).map(b"".join), CUTS)
    def test_any_split_gives_the_same(self, data: bytes, at: list[int]) -> None:
        """S03, S05, S07, S08. (DATA only where it is allowed: see test_text_behind_refused_data.)"""
        whole_events, whole_output = converse(server(), data)
        events, output = converse(server(), *cut(data, at))
        self.assertEqual(output, whole_output)
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
        self.assertEqual(output.count(b"\r\n"), 5 + 5)

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
        _, output = converse(server(), b"NOOP\r\n" * 2000)
        self.assertEqual(output, words.OK.encode() * 2000)

    def test_output_is_bounded_when_nobody_takes_it_S41(self) -> None:
        made = server()
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


class TableTests(TestCase):
    def test_every_command_has_a_cell_in_every_state(self) -> None:
        for state in State:
            if state in (State.TEXT, State.CLOSED):
                continue
            self.assertEqual(set(TABLE[state]), set(VERBS.values()), state)
        self.assertEqual(set(TABLE[State.TEXT]), {Verb.DOT})
        self.assertEqual(TABLE[State.CLOSED], {})

    def test_refusals_are_permanent(self) -> None:
        for row in TABLE.values():
            for cell in row.values():
                self.assertTrue(isinstance(cell, State) or cell.code == 503)

    def test_the_server_does_what_the_table_says(self) -> None:
        """Each command in each state: refused with the cell's reply, or led to the cell's state."""
        prefix = {
            State.NEW: b"",
            State.READY: b"HELO x\r\n",
            State.SENDER: b"HELO x\r\nMAIL FROM:<>\r\n",
            State.RECIPIENTS: b"HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\n",
        }
        arguments = {Verb.HELO: " x", Verb.EHLO: " x", Verb.MAIL: " FROM:<>", Verb.RCPT: " TO:<c@d.example>"}
        for state, before in prefix.items():
            for verb, cell in TABLE[state].items():
                made = server()
                converse(made, before)
                self.assertIs(made.state, state)
                _, output = converse(made, f"{verb}{arguments.get(verb, '')}\r\n".encode())
                if isinstance(cell, Reply):
                    self.assertEqual(output, cell.encode())
                    self.assertIs(made.state, state, (state, verb))
                else:
                    self.assertLess(output[:1], b"4", (state, verb))
                    self.assertIs(made.state, cell, (state, verb))
