"""The client's texts in chunks: to whom, when they leave, and what then counts for what (RFC 3030)."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.values import Result
from relay.smtp.chunked import Chunked
from relay.smtp.chunks import Chunks
from relay.smtp.client import Conversation, Event
from relay.smtp.ending import Ending
from relay.smtp.stuffing import Stuffing
from tests.unit.test_smtp_client import TEXT, pieces, split

ABLE = b"250-mx.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n"
OPENING = b"MAIL FROM:<a@from.test>\r\nRCPT TO:<b@to.test>\r\n"
TAKEN = b"250 2.1.0 sender\r\n250 2.1.5 recipient\r\n"
DONE = b"250 2.0.0 queued\r\n"


class Peer:
    """A conversation that may use chunks."""

    def __init__(self, ehlo: bytes = ABLE, chunking: bool = True) -> None:
        self.talk = Conversation("relay.test", chunking=chunking)
        self.talk.receive(b"220 mx.test\r\n")
        self.talk.take()
        assert self.talk.receive(ehlo) is Event.READY

    def begin(self) -> bytes:
        order = self.talk.begin("a@from.test", "b@to.test", 1000, False)
        assert isinstance(order, bytes), order
        return order

    def ending(self, data: bytes) -> Ending:
        event = self.talk.receive(data)
        assert isinstance(event, Ending), event
        return event

    def by_data(self, replies: bytes = TAKEN, done: bytes = DONE) -> Ending:
        """A whole transaction, which is to go by DATA."""
        order = self.begin()
        assert not self.talk.hurries
        if not order.endswith(b"DATA\r\n"):
            raise AssertionError(f"not by DATA: {order!r}")
        assert self.talk.receive(replies + b"354 go\r\n") is Event.BODY
        assert self.talk.end(TEXT) == TEXT + b".\r\n"
        return self.ending(done)


class Proven(Peer):
    """One whose host has shown what it can."""

    def __init__(self) -> None:
        super().__init__()
        self.by_data()

    def hurried(self) -> None:
        self.begin()
        assert self.talk.hurries
        self.talk.end(TEXT)

    def in_text(self) -> None:
        self.begin()
        assert self.talk.receive(TAKEN) is Event.BODY


class ToWhom(SynchronousTestCase):
    def test_the_first_message_goes_by_data_and_the_next_in_one_write(self) -> None:
        peer = Proven()
        self.assertEqual(peer.begin(), OPENING)
        self.assertTrue(peer.talk.hurries)
        self.assertEqual(peer.talk.end(TEXT), b"BDAT %d LAST\r\n%b" % (len(TEXT), TEXT))
        self.assertTrue(peer.talk.in_dot)
        ending = peer.ending(TAKEN + DONE)
        self.assertEqual(ending, Ending(Result.DELIVERED, "dot", "250 2.0.0 queued", 250, reusable=True))
        self.assertFalse(peer.talk.in_dot)
        self.assertEqual(peer.begin(), OPENING, "and so on")

    def test_not_to_hosts_that_lack_what_it_needs(self) -> None:
        for keyword in (b"PIPELINING", b"ENHANCEDSTATUSCODES", b"CHUNKING"):
            peer = Peer(ABLE.replace(keyword, b"X"))
            for _ in range(2):
                order = peer.begin()
                for reply in (b"250 2.1.0 ok\r\n", b"250 2.1.5 ok\r\n"):
                    self.assertIsNot(peer.talk.receive(reply), Event.BODY)
                    order += peer.talk.take()
                self.assertTrue(order.endswith(b"DATA\r\n"), keyword)
                self.assertIs(peer.talk.receive(b"354 go\r\n"), Event.BODY)
                peer.talk.end(TEXT)
                peer.ending(DONE)

    def test_not_where_it_is_not_wanted(self) -> None:
        peer = Peer(chunking=False)
        for _ in range(3):
            peer.by_data()

    def test_not_to_hosts_whose_codes_do_not_tell(self) -> None:
        """D06: a reply too many could not be found out there."""
        for replies, done in (
            (b"250 ok\r\n250 ok\r\n", b"250 ok\r\n"),
            (b"250 2.0.0 ok\r\n250 2.1.5 ok\r\n", DONE),
            (b"250 2.1.0 ok\r\n250 2.0.0 ok\r\n", DONE),
            (TAKEN, b"250 2.1.0 ok\r\n"),
            (b"250 2.1\r\n250 2.1.5 ok\r\n", DONE),
        ):
            peer = Peer()
            peer.by_data(replies, done)
            peer.by_data()
            peer.by_data()

    def test_nothing_else_is_said_of_the_message(self) -> None:
        """Without 8BITMIME no 8-bit text, in chunks or not (RFC 6152 3), and BINARYMIME never."""
        peer = Peer(ABLE.replace(b"8BITMIME", b"BINARYMIME"))
        peer.by_data()
        ending = peer.talk.begin("a@from.test", "b@to.test", 1000, True)
        assert isinstance(ending, Ending)
        self.assertEqual((ending.result, ending.text[:6]), (Result.BOUNCED, "5.6.3 "))
        self.assertEqual(peer.begin(), OPENING)


class Hurrying(SynchronousTestCase):
    """The text is under way before anything of it was accepted."""

    def test_refused_recipient(self) -> None:
        """Whatever the host makes of a text for nobody: nothing counts as taken."""
        for last in (b"250 2.0.0 queued\r\n", b"554 5.5.1 no recipients\r\n", b"503 5.5.1 what\r\n"):
            for code, result in ((b"550 5.1.1 no", Result.BOUNCED), (b"450 4.2.1 later", Result.DEFERRED)):
                peer = Proven()
                peer.hurried()
                self.assertIsNone(peer.talk.receive(b"250 2.1.0 ok\r\n" + code + b"\r\n"))
                self.assertFalse(peer.talk.in_dot, "what becomes of it is known")
                ending = peer.ending(last)
                self.assertEqual((ending.result, ending.stage, ending.text), (result, "rcpt", code.decode()))
                self.assertEqual((ending.reusable, ending.doubtful, ending.stale), (True, False, False))
                self.assertTrue(peer.begin().startswith(b"RSET\r\nMAIL"))
                self.assertFalse(peer.talk.hurries, "what is open is to be settled first")

    def test_refused_sender(self) -> None:
        peer = Proven()
        peer.hurried()
        self.assertIsNone(peer.talk.receive(b"451 4.3.0 later\r\n503 5.5.1 need MAIL\r\n"))
        ending = peer.ending(b"503 5.5.1 need RCPT\r\n")
        self.assertEqual((ending.result, ending.stage, ending.reusable), (Result.DEFERRED, "mail", True))

    def test_a_refusal_holds_when_the_connection_is_lost_behind_it(self) -> None:
        peer = Proven()
        peer.hurried()
        peer.talk.receive(b"250 2.1.0 ok\r\n550 5.1.1 no\r\n")
        ending = peer.talk.lost("gone")
        self.assertEqual((ending.result, ending.code, ending.doubtful), (Result.BOUNCED, 550, False))

    def test_lost_is_doubtful_from_the_first_byte(self) -> None:
        """Where nothing was heard the kept connection was dead, most likely: at once again, and the doubt is told."""
        for heard, stale in ((b"", True), (b"250 2.1.0 ok\r\n", False), (TAKEN, False), (TAKEN + b"250", False)):
            peer = Proven()
            peer.hurried()
            peer.talk.receive(heard)
            ending = peer.talk.lost("gone")
            self.assertEqual((ending.result, ending.doubtful, ending.stale), (Result.DEFERRED, True, stale), heard)

    def test_a_time_out_is_doubtful(self) -> None:
        peer = Proven()
        peer.hurried()
        ending = peer.talk.timed_out(300)
        self.assertEqual((ending.stage, ending.doubtful, ending.stale), ("mail", True, False))

    def test_421_is_no_doubt(self) -> None:
        for heard in (b"", b"250 2.1.0 ok\r\n", TAKEN):
            peer = Proven()
            peer.hurried()
            ending = peer.ending(heard + b"421 4.3.2 bye\r\n")
            self.assertEqual((ending.code, ending.doubtful, ending.stale), (421, False, not heard))

    def test_D06_a_reply_too_many_is_found_out(self) -> None:
        """There is no 354 on which it would stumble; nothing counts as taken."""
        extra = b"250 2.0.0 queued again\r\n"
        for replies in (extra + TAKEN, extra + TAKEN + DONE, TAKEN[:18] + TAKEN, b"250 2.1.0 x\r\n" + TAKEN):
            peer = Proven()
            peer.hurried()
            ending = peer.ending(replies)
            self.assertEqual((ending.result, ending.category, ending.doubtful), (Result.DEFERRED, "protocol", True))

    def test_a_host_that_does_not_know_it_after_all(self) -> None:
        """It was offered all the same. The next connection begins with DATA, so that it is tried at once."""
        for code in (b"500 5.5.1", b"501 5.5.4", b"502 5.5.1", b"503 5.5.1", b"504 5.5.4"):
            peer = Proven()
            peer.hurried()
            ending = peer.ending(TAKEN + code + b" what?\r\n")
            self.assertEqual((ending.result, ending.stale), (Result.DEFERRED, True))
            self.assertEqual((ending.reusable, ending.doubtful), (False, False))

    def test_refused_text(self) -> None:
        for code, result in ((b"554 5.7.1 spam", Result.BOUNCED), (b"451 4.3.0 later", Result.DEFERRED)):
            peer = Proven()
            peer.hurried()
            ending = peer.ending(TAKEN + code + b"\r\n")
            self.assertEqual((ending.result, ending.stage, ending.stale), (result, "dot", False))
            self.assertTrue(peer.begin().startswith(b"RSET\r\n"))

    @given(st.binary(max_size=200), pieces())
    def test_no_bytes_deliver_but_three_successes(self, data: bytes, cuts: list[int]) -> None:
        peer = Proven()
        peer.hurried()
        for piece in split(data, cuts):
            event = peer.talk.receive(piece)
            if event is not None:
                self.assertFalse(isinstance(event, Ending) and event.result is Result.DELIVERED)
                break

    @given(pieces())
    def test_any_split(self, cuts: list[int]) -> None:
        peer = Proven()
        peer.hurried()
        *before, last = [peer.talk.receive(piece) for piece in split(TAKEN + DONE, cuts)]
        self.assertEqual([event for event in before if event], [])
        assert isinstance(last, Ending)
        self.assertEqual(last.result, Result.DELIVERED)


class InChunks(SynchronousTestCase):
    def test_the_last_waits_for_the_others(self) -> None:
        peer = Proven()
        peer.in_text()
        self.assertEqual(peer.talk.text(b"ab"), b"BDAT 2\r\nab")
        self.assertEqual(peer.talk.text(b""), b"")
        self.assertEqual(peer.talk.text(b".\r\n"), b"BDAT 3\r\n.\r\n")
        self.assertEqual((peer.talk.stage, peer.talk.settled, peer.talk.in_dot), ("body", False, False))
        self.assertIsNone(peer.talk.receive(b"250 2.0.0 2 octets\r\n"))
        self.assertIs(peer.talk.receive(b"250 2.0.0 3 octets\r\n"), Event.SETTLED)
        self.assertTrue(peer.talk.settled)
        self.assertEqual(peer.talk.end(b""), b"BDAT 0 LAST\r\n")
        self.assertTrue(peer.talk.in_dot)
        self.assertEqual(peer.ending(DONE).result, Result.DELIVERED)

    def test_refused_in_the_midst(self) -> None:
        """What was sent of it has been read as text, so the connection is as good as before."""
        for behind in (b"", b"250 2.0.0 ok\r\n", b"503 5.5.1 RSET first\r\n"):
            peer = Proven()
            peer.in_text()
            peer.talk.text(b"a")
            if behind:
                peer.talk.text(b"b")
                self.assertFalse(peer.talk.refused)
                self.assertIsNone(peer.talk.receive(b"552 5.3.4 too big\r\n"))
                self.assertTrue(peer.talk.refused)
                ending = peer.ending(behind)
            else:
                ending = peer.ending(b"552 5.3.4 too big\r\n")
            self.assertEqual((ending.result, ending.stage, ending.code), (Result.BOUNCED, "body", 552))
            self.assertEqual((ending.reusable, ending.doubtful), (True, False))
            self.assertEqual(peer.begin(), b"RSET\r\n" + OPENING)
            self.assertIs(peer.talk.receive(b"250 2.0.0 reset\r\n" + TAKEN), Event.BODY)

    def test_lost_in_the_midst(self) -> None:
        peer = Proven()
        peer.in_text()
        peer.talk.text(b"a")
        for ending in (peer.talk.lost("gone"), peer.talk.timed_out(180)):
            self.assertEqual((ending.stage, ending.doubtful, ending.stale), ("body", False, False))

    def test_421_in_the_midst(self) -> None:
        peer = Proven()
        peer.in_text()
        peer.talk.text(b"a")
        ending = peer.ending(b"421 4.3.2 bye\r\n")
        self.assertEqual((ending.stage, ending.code, ending.doubtful), ("body", 421, False))

    def test_D06_D07_replies_nobody_asked_for(self) -> None:
        for data in (b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n", b"250 2.1.5 late\r\n", b"354 go\r\n"):
            peer = Proven()
            peer.in_text()
            peer.talk.text(b"a")
            ending = peer.ending(data)
            self.assertEqual((ending.result, ending.category, ending.doubtful), (Result.DEFERRED, "protocol", False))
        peer = Proven()
        peer.in_text()
        self.assertEqual(peer.ending(b"250 2.0.0 early\r\n").category, "protocol")


class Wire(SynchronousTestCase):
    """What a receiver makes of it."""

    @given(st.lists(st.sampled_from((b".", b"\r\n", b"a", b"BDAT 1\r\n", b"\xff"))), pieces())
    def test_any_split_is_the_same_text(self, parts: list[bytes], cuts: list[int]) -> None:
        data = b"".join(parts)
        chunked = Chunked()
        *first, last = split(data, cuts) or [b""]
        wire = b"".join([*map(chunked.piece, first), chunked.end(last)])
        reader, text = Chunks(), b""
        while wire:
            line, _, wire = wire.partition(b"\r\n")
            _, size, *rest = line.split(b" ")
            reader.begin(int(size), rest == [b"LAST"])
            text += reader.feed(wire[: int(size)])
            wire = wire[int(size) :]
        self.assertTrue(reader.last)
        text += reader.end()
        stuffed = Stuffing().end(data)[:-3]
        self.assertEqual(text, (b"\r\n" + stuffed).replace(b"\r\n.", b"\r\n")[2:], "the same as by DATA")

    def test_pieces_of_a_line_end(self) -> None:
        for data in (b"", b"a\r\n", b"a", b"a\r", b"\r\n", b"\n"):
            wanted = data if data.endswith(b"\r\n") or not data else data + b"\r\n"
            for cut in range(len(data) + 1):
                chunked = Chunked()
                wire = chunked.piece(data[:cut]) + chunked.end(data[cut:])
                sizes = re.findall(rb"BDAT (\d+)", wire)
                self.assertEqual(sum(map(int, sizes)), len(wanted), (data, cut))


class Rounds(SynchronousTestCase):
    def test_every_message_behind_the_first_takes_one(self) -> None:
        peer = Proven()
        for number in itertools.count(1):
            peer.hurried()
            self.assertTrue(peer.ending(TAKEN + DONE).reusable)
            if number == 5:
                break
        self.assertEqual(peer.talk.transactions, 6)
