"""A session whose host takes texts in chunks, and one whose host counts transactions."""

from __future__ import annotations

from functools import partial

from twisted.internet import error

from relay.delivery.call import HURRIED, Call
from relay.delivery.manner import Manner
from relay.message.values import Result
from tests.unit.test_session import STAGES, Case, Peer, offer

ABLE = b"250-mx.test\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n"
TAKEN = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n"
DONE = b"250 2.0.0 queued\r\n"


class Chunks(Case):
    def setUp(self) -> None:
        super().setUp()
        self.session = self.make(contact=partial(Call, manner=Manner(chunking=True)), reuse=10)

    def proven(self) -> Peer:
        """A kept connection on which one message went by DATA."""
        peer = self.open(ABLE)
        self.session.go()
        self.assertTrue(peer.line.read().endswith(b"DATA\r\n"))
        peer.say(TAKEN + b"354 go\r\n")
        peer.say(DONE)
        self.assertEqual(self.book.kept, [True])
        self.book.told.clear()
        self.book.outcomes.clear()
        self.book.kept.clear()
        return peer

    def test_the_second_message_goes_in_one_write(self) -> None:
        peer = self.proven()
        self.session.deliver(offer())
        sent = peer.line.read()
        opening, _, text = sent.partition(b" LAST\r\n")
        self.assertTrue(opening.startswith(b"MAIL FROM:<a@from.test>\r\nRCPT TO:<b@to.test>\r\nBDAT "), opening)
        self.assertEqual(int(opening.rpartition(b" ")[2]), len(text))
        self.assertTrue(text.startswith(b"Received: from "))
        self.assertTrue(text.endswith(b"\r\nSubject: x\r\n\r\nhello\r\n.dot\r\n"))
        self.assertTrue(self.session.in_dot, "the host may have it")
        peer.say(TAKEN)
        self.assertTrue(self.session.in_dot)
        self.assertEqual(self.book.told, [])
        peer.say(DONE)
        self.assertEqual(self.book.told, ["accepted", "done"])
        self.assertEqual((self.outcome.result, self.outcome.doubtful), (Result.DELIVERED, False))

    def test_it_is_not_ended_without_leave(self) -> None:
        """The last chunk is the final dot: it waits for the lease, and MAIL and RCPT don't."""
        peer = self.proven()
        self.book.allow = False
        self.session.deliver(offer())
        self.assertTrue(peer.line.read().endswith(b"RCPT TO:<b@to.test>\r\n"))
        self.assertFalse(self.session.in_dot)
        self.assertEqual(peer.say(TAKEN), b"")
        self.assertFalse(self.session.in_dot)
        self.book.allow = True
        self.session.resume()
        self.assertIn(b" LAST\r\n", peer.line.read())
        self.assertTrue(self.session.in_dot)
        peer.say(DONE)
        self.check(Result.DELIVERED, "dot", "")

    def test_a_text_that_is_not_as_long_as_it_should_be(self) -> None:
        peer = self.proven()
        self.session.deliver(offer(body_size=999))
        self.assertTrue(peer.line.read().endswith(b"RCPT TO:<b@to.test>\r\n"))
        self.assertEqual(peer.say(TAKEN), b"")
        self.check(Result.DEFERRED, "body", "ours")

    def test_a_big_text_waits_for_its_recipient(self) -> None:
        peer = self.proven()
        body = b"a" * HURRIED
        self.session.deliver(offer(body=body, body_size=len(body)))
        self.assertTrue(peer.line.read().endswith(b"RCPT TO:<b@to.test>\r\n"))
        self.assertEqual(peer.say(b"250 2.1.0 ok\r\n550 5.1.1 no\r\n"), b"", "and nothing of it is sent in vain")
        self.check(Result.BOUNCED, "rcpt", "reply")

    def in_text(self) -> Peer:
        """A text that comes in three pieces, the first of which is sent."""
        peer = self.proven()
        self.session.deliver(offer(body=None, body_size=6, chunks=3))
        peer.line.read()
        self.assertTrue(peer.say(TAKEN).startswith(b"BDAT "), "the head is a chunk")
        self.chunk(peer, b"aa")
        self.assertEqual(peer.line.read(), b"BDAT 2\r\naa")
        return peer

    def chunk(self, peer: Peer, data: bytes) -> None:
        peer.line.producer.resumeProducing()
        self.book.asked.pop()[1].callback(data)

    def test_a_text_in_pieces(self) -> None:
        peer = self.in_text()
        self.chunk(peer, b"bb")
        self.assertEqual(peer.line.read(), b"BDAT 2\r\nbb", "without waiting for replies")
        self.chunk(peer, b"cc")
        self.assertEqual(peer.line.read(), b"", "but the end waits for them")
        self.assertFalse(self.session.in_dot)
        self.assertEqual(peer.say(b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n"), b"")
        self.assertEqual(peer.say(b"250 2.0.0 ok\r\n"), b"BDAT 4 LAST\r\ncc\r\n")
        self.assertTrue(self.session.in_dot)
        self.assertIsNone(peer.line.producer)
        peer.say(DONE)
        self.check(Result.DELIVERED, "dot", "")
        self.assertEqual(self.book.kept, [True])

    def test_both_leaves_are_needed(self) -> None:
        peer = self.in_text()
        self.chunk(peer, b"bb")
        self.book.allow = False
        self.chunk(peer, b"cc")
        peer.line.read()
        self.session.resume()
        self.assertEqual(peer.line.read(), b"")
        self.assertEqual(peer.say(b"250 2.0.0 ok\r\n" * 3), b"")
        self.book.allow = True
        self.session.resume()
        self.assertEqual(peer.line.read(), b"BDAT 4 LAST\r\ncc\r\n")

    def test_a_long_text_takes_as_long_as_its_host_goes_on_taking_it(self) -> None:
        """All its chunks together have no time, other than all RCPT."""
        peer = self.proven()
        self.session.deliver(offer(body=None, body_size=60, chunks=30))
        peer.say(TAKEN)
        for _ in range(28):
            self.chunk(peer, b"bb")
            self.pass_time(STAGES.body / 2)
            peer.say(b"250 2.0.0 ok\r\n")
            self.pass_time(STAGES.body / 2 - 5)
        self.assertEqual(self.book.outcomes, [])
        self.pass_time(STAGES.body + 1)
        self.check(Result.DEFERRED, "body", "network")

    def test_refused_in_the_midst(self) -> None:
        """The rest isn't fetched, and the connection is kept."""
        peer = self.in_text()
        peer.say(b"250 2.0.0 ok\r\n552 5.3.4 too big\r\n")
        self.check(Result.BOUNCED, "body", "reply")
        self.assertEqual(self.book.kept, [True])
        self.assertIsNone(peer.line.producer)
        self.assertEqual(self.book.asked, [])
        self.session.deliver(offer())
        self.assertTrue(peer.line.read().startswith(b"RSET\r\nMAIL FROM"))

    def test_refused_while_a_piece_is_fetched(self) -> None:
        peer = self.in_text()
        peer.line.producer.resumeProducing()
        _, asked = self.book.asked.pop()
        peer.say(b"250 2.0.0 ok\r\n452 4.3.1 full\r\n")
        self.check(Result.DEFERRED, "body", "reply")
        asked.callback(b"bb")
        self.assertEqual(peer.line.read(), b"")

    def test_refused_while_others_are_on_their_way(self) -> None:
        """The first refusal counts, whatever is said to the rest; nothing more of the text is fetched or sent."""
        for behind in (b"250 2.0.0 ok\r\n", b"503 5.5.1 RSET first\r\n", b"554 5.5.1 no\r\n"):
            self.setUp()
            peer = self.in_text()
            peer.line.producer.resumeProducing()
            _, asked = self.book.asked.pop()
            self.assertEqual(peer.say(b"452 4.3.1 full\r\n"), b"", "the reply to one chunk is still to come")
            asked.callback(b"bb")
            self.assertEqual(peer.line.read(), b"")
            peer.say(behind)
            self.check(Result.DEFERRED, "body", "reply")
            self.assertEqual((self.outcome.code, self.book.kept, self.book.asked), (452, [True], []))
            self.assertIsNone(peer.line.producer)

    def test_a_host_that_does_not_answer_a_chunk(self) -> None:
        peer = self.in_text()
        self.chunk(peer, b"bb")
        self.chunk(peer, b"cc")
        self.pass_time(STAGES.body - 1)
        self.assertEqual(self.book.outcomes, [])
        self.pass_time(1)
        self.check(Result.DEFERRED, "body", "network")
        self.assertIn("No reply within", self.outcome.response)

    def test_a_dead_connection_is_left_and_the_doubt_is_told(self) -> None:
        """Nothing was heard of the host, yet it had the whole text: at once again, maybe a second copy."""
        peer = self.proven()
        self.session.deliver(offer())
        peer.close(error.ConnectionDone())
        again = self.peer()
        again.connect()
        again.say(b"220 hi\r\n")
        again.say(ABLE)
        self.session.go()
        self.assertTrue(again.line.read().endswith(b"DATA\r\n"))
        again.say(TAKEN + b"354 go\r\n")
        again.say(DONE)
        self.check(Result.DELIVERED, "dot", "", doubtful=True)
        self.session.deliver(offer())
        again.say(TAKEN + DONE)
        self.assertFalse(self.book.outcomes[-1].doubtful, "of the next message there is none")

    def test_lost_behind_a_reply_is_doubtful(self) -> None:
        peer = self.proven()
        self.session.deliver(offer())
        peer.say(b"250 2.1.0 ok\r\n")
        peer.close(error.ConnectionDone())
        self.check(Result.DEFERRED, "rcpt", "network", doubtful=True)

    def test_whose_bdat_is_unknown_gets_data_on_another_connection(self) -> None:
        peer = self.proven()
        self.session.deliver(offer())
        peer.say(TAKEN + b"502 5.5.1 what?\r\n")
        self.assertTrue(peer.line.aborted)
        again = self.peer()
        again.connect()
        again.say(b"220 hi\r\n")
        again.say(ABLE)
        self.session.go()
        self.assertTrue(again.line.read().endswith(b"DATA\r\n"))
        again.say(TAKEN + b"354 go\r\n")
        again.say(DONE)
        self.check(Result.DELIVERED, "dot", "")

    def test_the_end_of_the_channel_waits_for_the_reply(self) -> None:
        peer = self.proven()
        self.session.deliver(offer())
        self.session.abort()
        self.assertEqual(self.book.told, [])
        peer.say(TAKEN + DONE)
        self.assertEqual(self.book.told, ["accepted", "closed"])


class Limited(Case):
    def test_a_connection_on_which_no_more_is_taken_is_left(self) -> None:
        peer = self.open(b"250-mx.test\r\n250-PIPELINING\r\n250 LIMITS MAILMAX=2\r\n")
        self.session.go()
        for kept in (True, False):
            peer.line.read()
            peer.say(b"250 ok\r\n250 ok\r\n354 go\r\n")
            last = peer.say(b"250 queued\r\n")
            self.assertEqual((self.book.kept[-1], last), (kept, b"" if kept else b"QUIT\r\n"))
            if kept:
                self.session.deliver(offer())
