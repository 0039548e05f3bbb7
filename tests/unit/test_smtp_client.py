"""The client's conversation, reply by reply: what is sent, and what counts for what."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from relay.message.values import Result
from relay.smtp import client_states as steps
from relay.smtp.client import Conversation, Event, Tls
from relay.smtp.client_states import Move
from relay.smtp.ending import Ending
from relay.smtp.opening import MAX_COMMAND
from relay.smtp.reply import Reply
from relay.smtp.reply_reader import MAX_LINE, MAX_REPLY, BadReply, ReplyReader
from relay.smtp.stuffing import Stuffing

PIPELINING = b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 0\r\n250-8BITMIME\r\n250 HELP\r\n"
IN_TURN = b"250 mx.test\r\n"
TEXT = b"Subject: x\r\n\r\nhello\r\n"


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at the places `cuts` (modulo its length)."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def ending_lines(answer: bytes) -> tuple[str, ...]:
    """The texts of a reply's lines."""
    return tuple(line[4:].decode() for line in answer.splitlines())


def pieces() -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, 10_000), max_size=8)


class Peer:
    """A conversation and the record of what it sent."""

    def __init__(self, ehlo: bytes = PIPELINING, secure: bool = False) -> None:
        self.talk = Conversation("relay.test", secure=secure)
        self.sent: list[bytes] = []
        assert self.say(b"220 mx.test ESMTP\r\n") is None
        assert self.say(ehlo) is Event.READY
        self.sent.clear()

    def say(self, data: bytes) -> Event | Ending | None:
        event = self.talk.receive(data)
        if output := self.talk.take():
            self.sent.append(output)
        return event

    def begin(self, size: int = 1000, eight_bit: bool = False) -> Ending | None:
        order = self.talk.begin("a@from.test", "b@to.test", size, eight_bit)
        if isinstance(order, Ending):
            return order
        self.sent.append(order)
        return None

    def end(self, text: bytes = TEXT) -> None:
        self.sent.append(self.talk.end(text))

    def ending(self, data: bytes) -> Ending:
        event = self.say(data)
        assert isinstance(event, Ending), event
        return event

    def to_dot(self) -> None:
        self.begin()
        assert self.say(b"250 ok\r\n250 ok\r\n354 go\r\n") is Event.BODY
        self.end()


class Table(TestCase):
    """Every row, every class of reply."""

    def test_rows_are_whole(self) -> None:
        rows = [row for row in vars(steps).values() if isinstance(row, steps.Step)]
        self.assertEqual(len(rows), 17)
        for row in rows:
            self.assertEqual(len(row.moves), 6, row)
            # Preliminary and unknown classes never lead anywhere.
            self.assertEqual(row.moves[:2], (Move.BROKEN, Move.BROKEN))

    def test_only_the_reply_to_the_dot_delivers(self) -> None:
        """D06, D07: no other reply in the whole table means that a message was taken but that to the last chunk."""
        rows = [row for row in vars(steps).values() if isinstance(row, steps.Step)]
        self.assertEqual([row for row in rows if Move.TAKEN in row.moves], list(steps.ENDS))
        for row in steps.ENDS:
            self.assertEqual(row.moves.index(Move.TAKEN), 2)


class Opening(TestCase):
    def test_ehlo(self) -> None:
        talk = Conversation("relay.test")
        self.assertIsNone(talk.receive(b"220-mx.test\r\n220 hello\r\n"))
        self.assertEqual(talk.take(), b"EHLO relay.test\r\n")
        self.assertIs(talk.receive(PIPELINING), Event.READY)
        self.assertEqual(talk.extensions, {"PIPELINING": "", "SIZE": "0", "8BITMIME": "", "HELP": ""})

    def test_d09_helo_after_500(self) -> None:
        for code in (b"500", b"502", b"504", b"550"):
            talk = Conversation("relay.test")
            talk.receive(b"220 hi\r\n")
            talk.take()
            self.assertIsNone(talk.receive(code + b" what?\r\n"))
            self.assertEqual(talk.take(), b"HELO relay.test\r\n")
            self.assertIs(talk.receive(b"250 mx.test\r\n"), Event.READY)
            self.assertEqual(talk.extensions, {})

    def test_d08_d09_turned_away(self) -> None:
        for banner in (b"421 busy\r\n", b"554 no service\r\n", b"450 later\r\n"):
            ending = Conversation("x").receive(banner)
            assert isinstance(ending, Ending)
            self.assertEqual(
                (ending.result, ending.stage, ending.reusable), (Result.DEFERRED, "banner", False)
            )
            self.assertEqual(ending.text, banner[:-2].decode())

    def test_d08_421_after_ehlo(self) -> None:
        talk = Conversation("x")
        talk.receive(b"220 hi\r\n")
        ending = talk.receive(b"421 busy\r\n")
        assert isinstance(ending, Ending)
        self.assertEqual((ending.result, ending.stage, ending.code), (Result.DEFERRED, "ehlo", 421))

    def test_d16_garbage_banner(self) -> None:
        for banner in (
            b"\xff\xfe\x00garbage\r\n",
            b"SSH-2.0-x\r\n",
            b"\r\n",
            b"999 x\r\n",
            b"+20 x\r\n",
            b"22\r\n",
        ):
            ending = Conversation("x").receive(banner)
            assert isinstance(ending, Ending), banner
            self.assertEqual((ending.result, ending.category), (Result.DEFERRED, "protocol"))

    @given(cuts=pieces())
    def test_any_split(self, cuts: list[int]) -> None:
        talk = Conversation("relay.test")
        for data, wanted in ((b"220-mx\n220 hi\r\n", None), (PIPELINING, Event.READY)):
            events = [talk.receive(piece) for piece in split(data, cuts)]
            self.assertEqual(events[-1], wanted)
            self.assertEqual([event for event in events[:-1] if event], [])
        self.assertEqual(talk.take(), b"EHLO relay.test\r\n")
        self.assertIn("PIPELINING", talk.extensions)


class Transaction(TestCase):
    def test_pipelined(self) -> None:
        peer = Peer()
        self.assertIsNone(peer.begin(1234))
        self.assertEqual(peer.sent, [b"MAIL FROM:<a@from.test> SIZE=1234\r\nRCPT TO:<b@to.test>\r\nDATA\r\n"])
        self.assertIs(peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n"), Event.BODY)
        self.assertEqual(peer.talk.stage, "body")
        self.assertFalse(peer.talk.in_dot)
        peer.end()
        self.assertEqual(peer.sent[1:], [TEXT + b".\r\n"])
        self.assertTrue(peer.talk.in_dot)
        ending = peer.ending(b"250 2.0.0 queued as 1\r\n")
        self.assertEqual(ending, Ending(Result.DELIVERED, "dot", "250 2.0.0 queued as 1", 250, reusable=True))
        self.assertFalse(peer.talk.in_dot)

    def test_in_turn(self) -> None:
        """D22: nothing that wasn't offered, no two commands at once."""
        peer = Peer(IN_TURN)
        peer.begin()
        for reply in (b"250 ok\r\n", b"250 ok\r\n"):
            self.assertIsNone(peer.say(reply))
        self.assertEqual(peer.sent, [b"MAIL FROM:<a@from.test>\r\n", b"RCPT TO:<b@to.test>\r\n", b"DATA\r\n"])
        self.assertIs(peer.say(b"354 go\r\n"), Event.BODY)
        peer.end()
        self.assertEqual(peer.ending(b"250 ok\r\n").result, Result.DELIVERED)

    def test_kept_connection_goes_on_without_rset(self) -> None:
        peer = Peer()
        for _ in range(3):
            peer.sent.clear()
            peer.to_dot()
            self.assertTrue(peer.sent[0].startswith(b"MAIL"))
            self.assertTrue(peer.ending(b"250 ok\r\n").reusable)
        self.assertEqual(peer.talk.transactions, 3)

    @given(cuts=pieces(), ehlo=st.sampled_from((PIPELINING, IN_TURN)))
    def test_any_split(self, cuts: list[int], ehlo: bytes) -> None:
        peer = Peer(ehlo)
        peer.begin()
        replies = [b"250-a\r\n250 ok\r\n", b"250 ok\n", b"354 go\r\n"]
        events: list[Event | Ending | None] = []
        # Replies of a host that doesn't pipeline come one by one, in whatever pieces.
        for data in [b"".join(replies)] if ehlo is PIPELINING else replies:
            events += [peer.say(piece) for piece in split(data, cuts)]
        self.assertEqual([event for event in events if event], [Event.BODY])
        peer.end()
        events = [peer.say(piece) for piece in split(b"250-2.0.0\r\n250 queued\r\n", cuts)]
        self.assertEqual([event for event in events if event], [events[-1]])
        assert isinstance(events[-1], Ending)
        self.assertEqual(events[-1].result, Result.DELIVERED)

    def test_body_8bitmime(self) -> None:
        peer = Peer()
        peer.begin(eight_bit=True)
        self.assertIn(b" BODY=8BITMIME\r\n", peer.sent[0])

    def test_d21_eight_bit_not_offered(self) -> None:
        peer = Peer(b"250-mx\r\n250 PIPELINING\r\n")
        ending = peer.begin(eight_bit=True)
        assert ending is not None
        self.assertEqual((ending.result, ending.category), (Result.BOUNCED, "message"))
        self.assertTrue(ending.text.startswith("5.6.3 "))
        self.assertEqual(peer.sent, [])
        self.assertIsNone(peer.begin())

    def test_d20_too_big_for_size(self) -> None:
        peer = Peer(b"250-mx\r\n250 SIZE 999\r\n")
        ending = peer.begin(1000)
        assert ending is not None
        self.assertEqual((ending.result, ending.category, ending.reusable), (Result.BOUNCED, "message", True))
        self.assertTrue(ending.text.startswith("5.3.4 "))
        self.assertEqual(peer.sent, [])
        self.assertIsNone(peer.begin(999))

    def test_odd_sizes_are_no_limit(self) -> None:
        for size in (b"SIZE", b"SIZE 0", b"SIZE x", b"SIZE " + b"9" * 40, b"SIZE -1"):
            self.assertIsNone(Peer(b"250-mx\r\n250 " + size + b"\r\n").begin(10**9))

    def test_address_can_not_break_out(self) -> None:
        for bad in ("a\r\nDATA@x", "a\0@x", "a" * MAX_COMMAND + "@x", "\u00e4@x"):
            for sender, recipient in ((bad, "b@x"), ("b@x", bad)):
                order = Peer().talk.begin(sender, recipient, 1, False)
                assert isinstance(order, Ending)
                self.assertEqual((order.result, order.category), (Result.BOUNCED, "message"))

    def test_S18_smtputf8(self) -> None:
        """RFC 6531 3.4: said where it is needed and offered, and nothing is sent mangled."""
        able = b"250-mx\r\n250-8BITMIME\r\n250-PIPELINING\r\n250 SMTPUTF8\r\n"
        for sender, recipient, header in (
            ("d\u00f6@x.test", "b@x.test", False),
            ("a@x.test", "d\u00f6@x.test", False),
            ("a@x.test", "b@x.test", True),
        ):
            order = Peer(able).talk.begin(sender, recipient, 1, header, utf8_header=header)
            assert isinstance(order, bytes)
            mail, rcpt = order.decode().split("\r\n")[:2]
            body = " BODY=8BITMIME" if header else ""
            self.assertEqual((mail, rcpt), (f"MAIL FROM:<{sender}>{body} SMTPUTF8", f"RCPT TO:<{recipient}>"))
            for unable in (IN_TURN, PIPELINING, b"250-mx\r\n250 SMTPUTF8\r\n"):
                peer = Peer(unable)
                ending = peer.talk.begin(sender, recipient, 1, False, utf8_header=header)
                assert isinstance(ending, Ending)
                self.assertEqual((ending.result, ending.category), (Result.BOUNCED, "message"))
                self.assertEqual((ending.text[:6], ending.reusable), ("5.6.9 " if header else "5.6.7 ", True))
                self.assertIsNone(peer.begin())
        order = Peer(able).talk.begin("a@x.test", "b@x.test", 1, True)
        assert isinstance(order, bytes)
        self.assertNotIn(b"SMTPUTF8", order)

    def test_S18_an_international_address_can_not_break_out(self) -> None:
        able = b"250-mx\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
        for bad in ("\u00f6\r\nDATA@x", "\u00f6\u2028@x", "\u00f6\x85@x", "\ud800@x", "\u00f6" * 500 + "@x"):
            for sender, recipient in ((bad, "b@x"), ("b@x", bad)):
                order = Peer(able).talk.begin(sender, recipient, 1, False)
                assert isinstance(order, Ending)
                self.assertEqual(order.text[:6], "5.1.3 ")

    def test_S24_what_dsn_asks_for_is_passed_on_where_it_is_known(self) -> None:
        asked = {"ret": "HDRS", "envid": "QQ+2B1", "notify": "SUCCESS,DELAY", "orcpt": "rfc822;b@x"}
        able = Peer(b"250-mx\r\n250-DSN\r\n250 PIPELINING\r\n").talk.begin("a@x", "b@x", 1, False, **asked)
        self.assertEqual(
            able,
            b"MAIL FROM:<a@x> RET=HDRS ENVID=QQ+2B1\r\n"
            b"RCPT TO:<b@x> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@x\r\nDATA\r\n",
        )
        unable = Peer(b"250-mx\r\n250 PIPELINING\r\n").talk.begin("a@x", "b@x", 1, False, **asked)
        self.assertEqual(unable, b"MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n")
        for bad in ("a\r\nDATA", "\u00e9"):
            for name in asked:
                order = Peer(b"250-mx\r\n250 DSN\r\n").talk.begin("a@x", "b@x", 1, False, **{name: bad})
                assert isinstance(order, Ending)

    def test_requiretls_is_never_sent_in_the_clear(self) -> None:
        """RFC 8689 4.2, whatever the host offers."""
        peer = Peer(b"250-mx\r\n250-REQUIRETLS\r\n250 PIPELINING\r\n")
        ending = peer.talk.begin("a@x", "b@x", 1, False, require_tls=True)
        assert isinstance(ending, Ending)
        self.assertEqual((ending.result, ending.text[:7], ending.reusable), (Result.BOUNCED, "5.7.10 ", True))
        self.assertEqual(peer.sent, [])

    def test_requiretls_goes_where_it_is_understood(self) -> None:
        peer = Peer(b"250-mx\r\n250-REQUIRETLS\r\n250 PIPELINING\r\n", secure=True)
        order = peer.talk.begin("a@x", "b@x", 1, False, require_tls=True)
        self.assertEqual(order, b"MAIL FROM:<a@x> REQUIRETLS\r\nRCPT TO:<b@x>\r\nDATA\r\n")
        ending = Peer(secure=True).talk.begin("a@x", "b@x", 1, False, require_tls=True)
        assert isinstance(ending, Ending)
        self.assertIn("does not offer REQUIRETLS", ending.text)

    def test_null_sender(self) -> None:
        order = Peer().talk.begin("", "b@x", 1, False)
        assert isinstance(order, bytes)
        self.assertTrue(order.startswith(b"MAIL FROM:<> "))


class Securing(TestCase):
    OFFER = b"250-mx.test\r\n250-STARTTLS\r\n250-PIPELINING\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n"

    def greeted(self, tls: Tls, ehlo: bytes = OFFER) -> tuple[Conversation, Event | Ending | None]:
        talk = Conversation("relay.test", tls)
        talk.receive(b"220 hi\r\n")
        talk.take()
        return talk, talk.receive(ehlo)

    def test_ehlo_is_said_again_and_what_was_offered_in_the_clear_is_forgotten(self) -> None:
        """RFC 3207 4.2."""
        talk, event = self.greeted(Tls.MAY)
        self.assertEqual((event, talk.take(), talk.stage), (None, b"STARTTLS\r\n", "tls"))
        self.assertIs(talk.receive(b"220 go ahead\r\n"), Event.SECURE)
        self.assertFalse(talk.secure)
        self.assertEqual(talk.secured(), b"EHLO relay.test\r\n")
        self.assertEqual((talk.secure, talk.stage), (True, "ehlo"))
        self.assertIs(talk.receive(b"250 mx.test\r\n"), Event.READY)
        self.assertEqual(talk.extensions, {})
        self.assertEqual(talk.begin("a@x", "b@x", 1, False), b"MAIL FROM:<a@x>\r\n", "no pipelining, no size")
        eight = talk.begin("a@x", "b@x", 1, True)
        assert isinstance(eight, Ending)

    def test_a_host_that_offers_none_or_refuses(self) -> None:
        for ehlo, reply in ((b"250 mx.test\r\n", b""), (self.OFFER, b"454 not now\r\n"), (self.OFFER, b"500 no\r\n")):
            for tls in (Tls.MAY, Tls.MUST):
                talk, event = self.greeted(tls, ehlo)
                if reply:
                    self.assertIsNone(event)
                    event = talk.receive(reply)
                if tls is Tls.MAY:
                    self.assertIs(event, Event.READY)
                    continue
                assert isinstance(event, Ending)
                self.assertEqual((event.result, event.stage), (Result.DEFERRED, "tls"))
                self.assertEqual(event.category, "reply" if reply else "tls")

    def test_it_is_not_said_where_it_is_not_wanted(self) -> None:
        talk, event = self.greeted(Tls.NEVER)
        self.assertEqual((event, talk.take()), (Event.READY, b""))

    def test_D24_what_was_slipped_in_before_the_handshake_costs_the_connection(self) -> None:
        """It came in the clear: anybody may have written it."""
        for tls in (Tls.MAY, Tls.MUST):
            talk, _ = self.greeted(tls)
            event = talk.receive(b"220 go ahead\r\n250 mx.test\r\n")
            assert isinstance(event, Ending)
            self.assertEqual((event.result, event.category, event.reusable), (Result.DEFERRED, "protocol", False))
            self.assertEqual(event.stage, "tls")

    def test_a_host_that_leaves_instead(self) -> None:
        talk, _ = self.greeted(Tls.MAY)
        event = talk.receive(b"421 later\r\n")
        assert isinstance(event, Ending)
        self.assertEqual((event.stage, event.code), ("tls", 421))

    def test_helo_after_tls_has_no_extensions(self) -> None:
        talk, _ = self.greeted(Tls.MAY)
        talk.receive(b"220 go ahead\r\n")
        talk.secured()
        talk.receive(b"502 what?\r\n")
        self.assertEqual(talk.take(), b"HELO relay.test\r\n")
        self.assertIs(talk.receive(b"250 mx.test\r\n"), Event.READY)
        self.assertEqual(talk.extensions, {})


class Refusals(TestCase):
    """D10, D11, D12: who refuses what, when."""

    def test_in_turn(self) -> None:
        for code, result in ((b"451 4.3.0 later", Result.DEFERRED), (b"550 5.7.1 no", Result.BOUNCED)):
            for before, stage in enumerate(("mail", "rcpt", "data")):
                peer = Peer(IN_TURN)
                peer.begin()
                for _ in range(before):
                    self.assertIsNone(peer.say(b"250 ok\r\n"))
                ending = peer.ending(code + b"\r\n")
                self.assertEqual((ending.result, ending.stage, ending.category), (result, stage, "reply"))
                self.assertEqual((ending.code, ending.text), (int(code[:3]), code.decode()))
                self.assertTrue(ending.reusable)
                self.assertFalse(ending.doubtful)

    def test_after_the_dot(self) -> None:
        for code, result in ((b"451 later", Result.DEFERRED), (b"554 no", Result.BOUNCED)):
            peer = Peer()
            peer.to_dot()
            ending = peer.ending(code + b"\r\n")
            self.assertEqual((ending.result, ending.stage, ending.doubtful), (result, "dot", False))

    def test_mail_refused_pipelined(self) -> None:
        """The replies to what was sent along are read and mean nothing."""
        peer = Peer()
        peer.begin()
        self.assertIsNone(peer.say(b"451 4.3.0 later\r\n503 need MAIL\r\n"))
        ending = peer.ending(b"503 need RCPT\r\n")
        self.assertEqual(
            (ending.result, ending.stage, ending.text), (Result.DEFERRED, "mail", "451 4.3.0 later")
        )
        self.assertTrue(ending.reusable)

    def test_d12_rcpt_refused_and_354(self) -> None:
        """RFC 2920 3.1: a text is expected for nobody. A lone dot, and its 250 delivers nothing."""
        for answer in (b"250 queued as 1\r\n", b"554 no valid recipients\r\n"):
            peer = Peer()
            peer.begin()
            peer.sent.clear()
            self.assertIsNone(peer.say(b"250 ok\r\n550 5.1.1 nobody\r\n354 go\r\n"))
            self.assertEqual(peer.sent, [b".\r\n"])
            self.assertFalse(peer.talk.in_dot)
            ending = peer.ending(answer)
            self.assertEqual((ending.result, ending.stage, ending.code), (Result.BOUNCED, "rcpt", 550))
            self.assertTrue(ending.reusable)

    def test_refusal_stands_when_the_rest_never_comes(self) -> None:
        for cut in ("lost", "timed_out", "garbage", "421"):
            peer = Peer()
            peer.begin()
            self.assertIsNone(peer.say(b"250 ok\r\n550 5.1.1 nobody\r\n"))
            match cut:
                case "lost":
                    ending = peer.talk.lost("gone")
                case "timed_out":
                    ending = peer.talk.timed_out(1)
                case "garbage":
                    ending = peer.ending(b"hm\r\n")
                case _:
                    ending = peer.ending(b"421 bye\r\n")
            self.assertEqual((ending.result, ending.text), (Result.BOUNCED, "550 5.1.1 nobody"))
            self.assertFalse(ending.reusable)
            self.assertFalse(ending.doubtful)

    def test_d19_rset_before_reuse(self) -> None:
        peer = Peer()
        peer.begin()
        peer.ending(b"250 ok\r\n550 no\r\n554 no\r\n")
        peer.sent.clear()
        peer.talk.begin("c@from.test", "d@to.test", 10, False)
        self.assertIs(peer.say(b"250 reset\r\n250 ok\r\n250 ok\r\n354 go\r\n"), Event.BODY)

    def test_d19_rset_is_sent_along(self) -> None:
        peer = Peer()
        peer.begin()
        peer.ending(b"451 no\r\n503 no\r\n503 no\r\n")
        peer.sent.clear()
        peer.begin()
        self.assertTrue(peer.sent[0].startswith(b"RSET\r\nMAIL FROM:<a@from.test>"))
        self.assertTrue(peer.sent[0].endswith(b"DATA\r\n"))
        peer = Peer(IN_TURN)
        peer.begin()
        peer.ending(b"451 no\r\n")
        peer.sent.clear()
        peer.begin()
        self.assertIsNone(peer.say(b"250 reset\r\n"))
        self.assertEqual(peer.sent, [b"RSET\r\n", b"MAIL FROM:<a@from.test>\r\n"])

    def test_d18_rset_fails(self) -> None:
        """Nothing is said about the message: it may be tried at once elsewhere."""
        for answer in (b"421 4.3.0 rset failed\r\n", b"500 what\r\n", b"junk\r\n"):
            peer = Peer()
            peer.begin()
            peer.ending(b"451 no\r\n503 no\r\n503 no\r\n")
            peer.begin()
            ending = peer.ending(answer)
            self.assertTrue(ending.stale)
            self.assertFalse(ending.reusable)


class Breaks(TestCase):
    """Time-outs, drops, garbage: deferred, and doubtful exactly when the dot was sent."""

    def test_d08_421_everywhere(self) -> None:
        for before, stage in ((0, "mail"), (1, "rcpt"), (2, "data")):
            peer = Peer()
            peer.begin()
            ending = peer.ending(b"250 ok\r\n" * before + b"421 4.3.2 bye\r\n")
            self.assertEqual((ending.result, ending.stage, ending.code), (Result.DEFERRED, stage, 421))
            self.assertEqual((ending.category, ending.reusable, ending.doubtful), ("reply", False, False))
        peer = Peer()
        peer.to_dot()
        ending = peer.ending(b"421 4.3.2 bye\r\n")
        self.assertEqual((ending.result, ending.stage, ending.doubtful), (Result.DEFERRED, "dot", False))

    def test_d08_421_in_the_text(self) -> None:
        peer = Peer()
        peer.begin()
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.talk.text(b"a")
        ending = peer.ending(b"421 out of space\r\n")
        self.assertEqual((ending.result, ending.stage, ending.code), (Result.DEFERRED, "body", 421))
        self.assertFalse(ending.doubtful)

    @given(
        st.sampled_from((b"552 5.3.4 too big\r\n", b"451-a\r\n451 4.3.0 b\r\n", b"599\n")), pieces(), st.booleans()
    )
    def test_refused_in_the_text(self, answer: bytes, cuts: list[int], new: bool) -> None:
        """It counts as it was said; what the host makes of the rest of the text nobody knows."""
        peer = Peer()
        if not new:
            peer.to_dot()
            peer.ending(b"250 ok\r\n")
        peer.begin()
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        peer.talk.text(b"a")
        *first, last = (piece for piece in split(answer, cuts) if piece)
        for piece in first:
            self.assertIsNone(peer.say(piece))
            peer.talk.text(b"a")
        ending = peer.ending(last)
        result = Result.DEFERRED if answer.startswith(b"4") else Result.BOUNCED
        self.assertEqual((ending.result, ending.code, ending.stage), (result, int(answer[:3]), "body"))
        self.assertEqual((ending.category, ending.text), ("reply", str(Reply(ending.code, ending_lines(answer)))))
        self.assertEqual((ending.reusable, ending.stale, ending.doubtful), (False, False, False))

    def test_refused_in_the_text_and_said_to_the_end_after_the_dot(self) -> None:
        """That the dot will have a reply of its own is no reason to wait for it."""
        for begun in (b"5", b"552-too\r\n"):
            peer = Peer()
            peer.begin()
            peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
            self.assertIsNone(peer.say(begun))
            peer.end()
            ending = peer.ending(b"52 big\r\n" if begun == b"5" else b"552 big\r\n")
            self.assertEqual((ending.result, ending.code), (Result.BOUNCED, 552))
            self.assertFalse(ending.reusable)

    def test_anything_else_in_the_text(self) -> None:
        """D07: no refusal, whole or not, and no leave to believe what comes after the dot."""
        for early in (b"250 ok\r\n", b"354 go\r\n", b"2", b"250-ok\r\n", b"3", b"hm", b"5x0 no\r\n", b"\r\n"):
            peer = Peer()
            peer.begin()
            peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
            peer.talk.text(b"a")
            ending = peer.ending(early)
            self.assertEqual((ending.result, ending.stage, ending.category), (Result.DEFERRED, "body", "protocol"))

    def test_d03_d04_lost_after_the_dot(self) -> None:
        peer = Peer()
        peer.to_dot()
        ending = peer.talk.lost("gone")
        self.assertEqual((ending.result, ending.stage, ending.category), (Result.DEFERRED, "dot", "network"))
        self.assertTrue(ending.doubtful)
        self.assertFalse(ending.stale)

    def test_d05_half_a_reply(self) -> None:
        for half in (b"25", b"250", b"250 queued", b"250-queued\r\n"):
            peer = Peer()
            peer.to_dot()
            self.assertIsNone(peer.say(half))
            ending = peer.talk.lost("gone")
            self.assertEqual((ending.result, ending.doubtful), (Result.DEFERRED, True))

    def test_d05_garbage_after_the_dot(self) -> None:
        for garbage in (
            b"\x00\xff garbage\r\n",
            b"25\r\n",
            b"354 go\r\n",
            b"250-a\r\n251 b\r\n",
            b"250 \0\r\n",
        ):
            peer = Peer()
            peer.to_dot()
            ending = peer.ending(garbage)
            self.assertEqual((ending.result, ending.category), (Result.DEFERRED, "protocol"))
            self.assertTrue(ending.doubtful)

    def test_d17_lost_before_the_dot(self) -> None:
        for replies, stage in ((b"", "mail"), (b"250 ok\r\n", "rcpt"), (b"250 ok\r\n" * 2, "data")):
            peer = Peer()
            peer.begin()
            peer.say(replies)
            ending = peer.talk.lost("gone")
            self.assertEqual((ending.result, ending.stage), (Result.DEFERRED, stage))
            self.assertEqual((ending.category, ending.doubtful, ending.stale), ("network", False, False))

    def test_time_out_names_the_wait(self) -> None:
        peer = Peer()
        peer.begin()
        ending = peer.talk.timed_out(300.0)
        self.assertEqual((ending.stage, ending.text), ("mail", "No reply within 300 s"))

    def test_d18_kept_connection_is_dead(self) -> None:
        for ehlo in (PIPELINING, IN_TURN):
            peer = Peer(ehlo)
            peer.begin()
            for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
                peer.say(reply)
            peer.end()
            peer.ending(b"250 ok\r\n")
            peer.begin()
            self.assertTrue(peer.talk.lost("gone").stale)
            # Once MAIL is answered it is no longer a dead connection but a failed attempt.
            peer.say(b"250 ok\r\n")
            self.assertFalse(peer.talk.lost("gone").stale)

    def test_a_new_connection_is_never_stale(self) -> None:
        peer = Peer()
        peer.begin()
        self.assertFalse(peer.talk.lost("gone").stale)

    def test_positive_reply_to_data_is_no_leave(self) -> None:
        for odd in (b"250 ok\r\n250 ok\r\n250 ok\r\n", b"250 ok\r\n354 go\r\n", b"354 go\r\n"):
            peer = Peer()
            peer.begin()
            ending = peer.ending(odd)
            self.assertEqual((ending.result, ending.category), (Result.DEFERRED, "protocol"))


class OutOfTurn(TestCase):
    """Replies nobody asked for never count for anything."""

    def test_d06_second_250_along_with_the_first(self) -> None:
        for extra in (b"250 queued again\r\n", b"2", b"\r\n"):
            peer = Peer()
            peer.to_dot()
            ending = peer.ending(b"250 queued\r\n" + extra)
            self.assertEqual((ending.result, ending.reusable), (Result.DELIVERED, False))

    def test_d06_second_250_in_between(self) -> None:
        peer = Peer()
        peer.to_dot()
        self.assertTrue(peer.ending(b"250 queued\r\n").reusable)
        self.assertEqual(peer.ending(b"250 queued again\r\n").result, Result.DEFERRED)

    def test_d06_second_250_after_the_next_mail(self) -> None:
        """All replies are then one too early; the text is never sent, nothing is delivered."""
        peer = Peer()
        peer.to_dot()
        peer.ending(b"250 queued\r\n")
        peer.begin()
        ending = peer.ending(b"250 queued again\r\n250 sender\r\n250 recipient\r\n354 go\r\n")
        self.assertEqual((ending.result, ending.stale), (Result.DEFERRED, True))
        peer = Peer(IN_TURN)
        peer.begin()
        for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
            peer.say(reply)
        peer.end()
        peer.ending(b"250 queued\r\n")
        peer.begin()
        events = [peer.say(b"250 queued again\r\n"), peer.say(b"250 sender\r\n")]
        self.assertEqual(events, [None, None])
        self.assertNotIn(Event.BODY, [peer.say(b"250 recipient\r\n")])

    def test_d07_early_talker(self) -> None:
        everything = b"220 x\r\n250 x\r\n250 sender\r\n250 rcpt\r\n354 go\r\n250 queued\r\n"
        talk = Conversation("x")
        ending = talk.receive(everything)
        assert isinstance(ending, Ending)
        self.assertEqual((ending.result, ending.category), (Result.DEFERRED, "protocol"))
        self.assertEqual(talk.take(), b"")

    def test_d07_early_at_every_step(self) -> None:
        peer = Peer(IN_TURN)
        peer.begin()
        self.assertEqual(peer.ending(b"250 ok\r\n250 ok\r\n").category, "protocol")
        peer = Peer()
        peer.begin()
        self.assertEqual(peer.ending(b"250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n").category, "protocol")
        peer = Peer()
        peer.begin()
        peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
        ending = peer.ending(b"250 queued\r\n")
        self.assertEqual((ending.result, ending.stage, ending.doubtful), (Result.DEFERRED, "body", False))

    def test_d07_early_before_mail(self) -> None:
        self.assertEqual(Peer().ending(b"250 ok\r\n").result, Result.DEFERRED)

    @given(st.binary(max_size=400), pieces())
    def test_no_bytes_deliver_before_the_dot(self, data: bytes, cuts: list[int]) -> None:
        peer = Peer()
        peer.begin()
        for piece in split(data, cuts):
            event = peer.say(piece)
            if event is not None:
                self.assertFalse(isinstance(event, Ending) and event.result is Result.DELIVERED)
                break


class Replies(TestCase):
    """D15, D16: replies out of bytes."""

    def read(self, data: bytes, cuts: list[int]) -> list[Reply | str]:
        reader = ReplyReader()
        found: list[Reply | str] = []
        for piece in split(data, cuts):
            reader.feed(piece)
            try:
                while (reply := reader.next()) is not None:
                    found.append(reply)
            except BadReply as error:
                return [*found, str(error)]
        return found

    @given(
        st.lists(
            st.tuples(
                st.integers(200, 599),
                st.lists(
                    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=40),
                    min_size=1,
                ),
            )
        ),
        pieces(),
        st.booleans(),
    )
    def test_any_split(self, said: list[tuple[int, list[str]]], cuts: list[int], bare: bool) -> None:
        replies = [Reply(code, tuple(lines)) for code, lines in said]
        data = b"".join(reply.encode() for reply in replies)
        if bare:
            data = data.replace(b"\r\n", b"\n")
        self.assertEqual(self.read(data, cuts), replies)

    @given(st.binary(max_size=300), pieces())
    def test_any_split_of_anything(self, data: bytes, cuts: list[int]) -> None:
        self.assertEqual(self.read(data, cuts), self.read(data, []))

    def test_code_alone(self) -> None:
        self.assertEqual(self.read(b"250\r\n", []), [Reply(250, ("",))])

    def test_d16_no_replies(self) -> None:
        for bad in (b"250x\r\n", b"2 0 x\r\n", b"199 x\r\n", b"600 x\r\n", b"\xb2\xb50 x\r\n",
                    b"250-a\r\n251 b\r\n", b"250 a\0\r\n", b"\n"):  # fmt: skip
            (only,) = self.read(bad, [])
            self.assertIsInstance(only, str, bad)

    def test_d15_long_line(self) -> None:
        fits = b"250 " + b"a" * (MAX_LINE - 4)
        self.assertIsInstance(self.read(fits + b"\r\n", [])[0], Reply)
        self.assertEqual(self.read(fits + b"a\r\n", []), ["reply line too long"])
        reader = ReplyReader()
        reader.feed(b"250 " + b"a" * MAX_LINE)
        self.assertRaises(BadReply, reader.next)

    def test_d15_endless_reply(self) -> None:
        """Memory stays bounded: it is over at the limit, however it comes."""
        reader = ReplyReader()
        fed = 0
        with self.assertRaises(BadReply):
            while fed < 10 * MAX_REPLY:
                fed += 64
                reader.feed(b"250-" + b"a" * 58 + b"\r\n")
                self.assertIsNone(reader.next())
        self.assertLessEqual(fed, MAX_REPLY + 64)

    def test_d15_many_short_lines(self) -> None:
        self.assertEqual(self.read(b"250-\r\n" * 1000 + b"250 \r\n", []), ["reply too long"])


class Dots(TestCase):
    """Dot-stuffing: RFC 5321 4.5.2."""

    def encode(self, data: bytes, cuts: list[int]) -> bytes:
        stuffing = Stuffing()
        *first, last = split(data, cuts) or [b""]
        return b"".join([*map(stuffing.piece, first), stuffing.end(last)])

    def test_known(self) -> None:
        for data, wanted in (
            (b"", b".\r\n"),
            (b"a", b"a\r\n.\r\n"),
            (b"a\r\n", b"a\r\n.\r\n"),
            (b".", b"..\r\n.\r\n"),
            (b"..\r\n.\r\n", b"...\r\n..\r\n.\r\n"),
            (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n.\r\n"),
            (b"a\r", b"a\r\r\n.\r\n"),
            (b"a\n.b", b"a\n.b\r\n.\r\n"),
        ):
            self.assertEqual(self.encode(data, []), wanted)

    @given(st.lists(st.sampled_from((b".", b"\r\n", b"\r", b"\n", b"a"))), pieces())
    def test_any_split(self, parts: list[bytes], cuts: list[int]) -> None:
        data = b"".join(parts)
        wire = self.encode(data, cuts)
        self.assertEqual(wire, self.encode(data, []))
        # What a receiver makes of it: the end is at the end, and nowhere before.
        self.assertEqual((b"\r\n" + wire).find(b"\r\n.\r\n"), len(wire) - 3)
        text = (b"\r\n" + wire[:-3]).replace(b"\r\n.", b"\r\n")[2:]
        self.assertIn(text, (data, data + b"\r\n"))
