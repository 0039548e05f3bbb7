"""The client's conversation with several recipients, and by LMTP: each of them ends once, by its own reply."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from relay.message.envelope import Recipient
from relay.message.values import Result
from relay.smtp.client import Conversation, Event, Tls
from relay.smtp.ending import Ending
from tests.unit.test_smtp_client import IN_TURN, PIPELINING, TEXT, pieces, split

CHUNKING = b"250-mx.test\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n250 CHUNKING\r\n"
DELIVERED, DEFERRED, BOUNCED = Result.DELIVERED, Result.DEFERRED, Result.BOUNCED
TOO_MANY = ("452 4.5.3 too many recipients", "452 enough", "552 Too many recipients", "552 5.5.3 no", "450 4.5.3 no")
OWN = ("450 4.2.1 later", "550 5.1.1 who?", "452 4.2.2 mailbox full", "552 5.2.2 mailbox full", "552 full")


class Peer:
    """A conversation that is ready for mail, and what it has sent since."""

    def __init__(self, ehlo: bytes = PIPELINING, lmtp: bool = False) -> None:
        self.talk = Conversation("relay.test", lmtp=lmtp)
        self.sent: list[bytes] = []
        assert self.say("220 mx.test") is None
        assert self.talk.receive(ehlo) is Event.READY
        self.sent.clear()

    def begin(self, count: int = 3, **more: object) -> Ending | None:
        fellows = [Recipient(f"r{number}@to.test") for number in range(1, count)]
        order = self.talk.begin("a@from.test", "r0@to.test", 100, False, fellows=fellows, **more)  # type: ignore[arg-type]
        if isinstance(order, Ending):
            return order
        self.sent.append(order)
        return None

    def say(self, *replies: str, cuts: list[int] | None = None) -> Event | Ending | None:
        """What comes of these replies, in any pieces; nothing may come of any but the last piece."""
        event: Event | Ending | None = None
        for piece in split("".join(f"{one}\r\n" for one in replies).encode(), cuts or []):
            assert event is None, event
            event = self.talk.receive(piece)
            if output := self.talk.take():
                self.sent.append(output)
        return event

    def ending(self, *replies: str) -> Ending:
        event = self.say(*replies)
        assert isinstance(event, Ending), event
        return event

    def to_dot(self, *rcpts: str) -> None:
        self.begin(len(rcpts))
        assert self.say("250 ok", *rcpts, "354 go") is Event.BODY
        self.talk.end(TEXT)


def fates(ending: Ending, count: int) -> list[tuple[Result, int]]:
    return [(ending.of(place).result, ending.of(place).code) for place in range(count)]


class Several(TestCase):
    def test_all_in_one_write(self) -> None:
        peer = Peer()
        peer.begin()
        rcpts = "".join(f"RCPT TO:<r{number}@to.test>\r\n" for number in range(3))
        self.assertEqual(peer.sent, [f"MAIL FROM:<a@from.test> SIZE=100\r\n{rcpts}DATA\r\n".encode()])
        self.assertEqual(peer.talk.transactions, 1)

    def test_one_after_the_other(self) -> None:
        """D22."""
        peer = Peer(IN_TURN)
        peer.begin(2)
        for reply in ("250 ok", "550 no", "250 ok"):
            self.assertIsNone(peer.say(reply))
        rcpts = [b"RCPT TO:<r0@to.test>\r\n", b"RCPT TO:<r1@to.test>\r\n"]
        self.assertEqual(peer.sent, [b"MAIL FROM:<a@from.test>\r\n", *rcpts, b"DATA\r\n"])
        self.assertEqual(peer.talk.replies, 5)

    def test_d12_each_is_refused_alone(self) -> None:
        peer = Peer()
        peer.to_dot("250 ok", "550 no", "451 later")
        ending = peer.ending("250 queued")
        self.assertEqual(fates(ending, 3), [(DELIVERED, 250), (BOUNCED, 550), (DEFERRED, 451)])
        self.assertTrue(ending.reusable)
        self.assertEqual([ending.of(place).stage for place in range(3)], ["dot", "rcpt", "rcpt"])

    def test_one_reply_to_the_dot_is_for_all_that_were_accepted(self) -> None:
        peer = Peer()
        peer.to_dot("250 ok", "550 no", "250 ok")
        self.assertEqual(fates(peer.ending("554 spam"), 3), [(BOUNCED, 554), (BOUNCED, 550), (BOUNCED, 554)])

    def test_d13_who_is_too_many_is_postponed(self) -> None:
        for too_many in TOO_MANY:
            peer = Peer()
            peer.to_dot("250 ok", too_many, too_many)
            ending = peer.ending("250 queued")
            self.assertEqual([ending.of(place).postponed for place in range(3)], [False, True, True], too_many)
            self.assertEqual(ending.of(0).result, DELIVERED)

    def test_what_a_recipient_has_of_its_own_postpones_nothing(self) -> None:
        for own in OWN:
            peer = Peer()
            peer.to_dot("250 ok", own)
            self.assertFalse(peer.ending("250 queued").of(1).postponed, own)

    def test_too_many_for_the_first_is_a_refusal(self) -> None:
        """Or it would be tried for ever."""
        for first in ("452 4.5.3 too many recipients", "450 x"):
            peer = Peer()
            peer.to_dot(first, "452 4.5.3 too many recipients", "250 ok")
            ending = peer.ending("250 queued")
            self.assertEqual(fates(ending, 3), [(DEFERRED, int(first[:3])), (DEFERRED, 452), (DELIVERED, 250)])
            self.assertEqual([ending.of(place).postponed for place in range(3)], [False] * 3)

    def test_who_takes_none_at_all_because_there_were_too_many(self) -> None:
        """RFC 5321 4.5.3.1.10: 503 to DATA after a 452. They were welcome if they had been fewer."""
        peer = Peer()
        peer.begin(2)
        ending = peer.ending("250 ok", "250 ok", "452 4.5.3 too many recipients", "503 too many recipients")
        self.assertEqual(fates(ending, 1), [(DEFERRED, 503)])
        self.assertTrue(ending.of(1).postponed)
        peer.begin(2)
        ending = peer.ending("250 reset", "250 ok", "250 ok", "550 no", "554 no")
        self.assertEqual(fates(ending, 2), [(BOUNCED, 554), (BOUNCED, 550)])

    def test_all_refused(self) -> None:
        """No text; a lone dot where DATA was answered with leave (RFC 2920 3.1)."""
        for data, dot in (("503 no recipients", ()), ("354 go", ("554 nobody",))):
            peer = Peer()
            peer.begin(2)
            event = peer.say("250 ok", "550 a", "450 b", data)
            if dot:
                self.assertEqual((event, peer.sent[1:]), (None, [b".\r\n"]))
                event = peer.say(*dot)
            assert isinstance(event, Ending)
            self.assertEqual(fates(event, 2), [(BOUNCED, 550), (DEFERRED, 450)])
        peer = Peer(IN_TURN)
        peer.begin(2)
        for reply in ("250 ok", "550 a"):
            self.assertIsNone(peer.say(reply))
        ending = peer.ending("450 b")
        self.assertEqual((fates(ending, 2), ending.reusable), ([(BOUNCED, 550), (DEFERRED, 450)], True))
        self.assertNotIn(b"DATA\r\n", peer.sent)

    def test_what_was_refused_stays_refused_when_the_rest_is_lost(self) -> None:
        peer = Peer()
        peer.to_dot("250 ok", "550 no", "250 ok")
        ending = peer.talk.lost("gone")
        self.assertEqual(fates(ending, 3), [(DEFERRED, 0), (BOUNCED, 550), (DEFERRED, 0)])
        self.assertEqual([ending.of(place).doubtful for place in range(3)], [True, False, True])

    def test_a_kept_connection_that_has_refused_one_is_not_stale(self) -> None:
        peer = Peer()
        peer.to_dot("250 ok")
        peer.ending("250 queued")
        peer.begin(2)
        ending = peer.ending("250 ok", "550 no", "nonsense")
        self.assertFalse(ending.stale)
        self.assertEqual(fates(ending, 2), [(BOUNCED, 550), (DEFERRED, 0)])

    def test_who_can_not_be_offered_stands_apart(self) -> None:
        """S18: the others don't bounce with it."""
        long = "a" * 1000 + "@to.test"
        for bad, text in (("ö@to.test", "5.6.7 "), ("a b\r\nDATA@to.test", "5.1.3 "), (long, "5.1.3 ")):
            peer = Peer()
            order = peer.talk.begin("a@from.test", bad, 1, False, fellows=[Recipient("b@to.test", "NEVER")])
            assert isinstance(order, bytes)
            self.assertEqual(order.count(b"RCPT TO:"), 1)
            self.assertIs(peer.say("250 ok", "250 ok", "354 go"), Event.BODY)
            peer.talk.end(TEXT)
            ending = peer.ending("250 queued")
            self.assertEqual(fates(ending, 2), [(BOUNCED, 0), (DELIVERED, 250)])
            self.assertEqual(ending.of(0).text[:6], text)
            none = Peer().talk.begin("a@from.test", bad, 1, False, fellows=[Recipient(bad)])
            assert isinstance(none, Ending)
            self.assertEqual((fates(none, 2), none.reusable), ([(BOUNCED, 0), (BOUNCED, 0)], True))

    def chunked(self) -> Peer:
        """A host that has shown that it can be relied on with chunks, and a transaction whose text went along."""
        peer = Peer(CHUNKING)
        peer.talk = Conversation("relay.test", chunking=True)
        peer.say("220 mx.test")
        peer.talk.receive(CHUNKING)
        peer.begin(1)
        peer.say("250 2.1.0 ok", "250 2.1.5 ok", "354 go")
        peer.talk.end(TEXT)
        peer.ending("250 2.0.0 queued")
        peer.begin(3)
        self.assertTrue(peer.talk.hurries)
        self.assertIn(b" LAST\r\n", peer.talk.end(TEXT))
        return peer

    def test_d12_the_last_chunk_is_for_all_that_were_accepted(self) -> None:
        ending = self.chunked().ending("250 2.1.0 ok", "250 2.1.5 ok", "550 5.1.1 no", "250 2.1.5 ok", "250 2.0.0 in")
        self.assertEqual(fates(ending, 3), [(DELIVERED, 250), (BOUNCED, 550), (DELIVERED, 250)])
        ending = self.chunked().ending("250 2.1.0 ok", "550 a", "551 b", "452 4.5.3 c", "503 5.5.1 nobody")
        self.assertEqual(fates(ending, 3), [(BOUNCED, 550), (BOUNCED, 551), (DEFERRED, 452)])
        self.assertFalse(ending.of(2).postponed)
        peer = self.chunked()
        peer.say("250 2.1.0 ok", "550 no", "250 2.1.5 ok")
        ending = peer.ending("421 4.3.2 bye")
        self.assertEqual(fates(ending, 3), [(BOUNCED, 550), (DEFERRED, 421), (DEFERRED, 421)])
        self.assertEqual([ending.of(place).doubtful for place in range(3)], [False] * 3)

    def test_a_last_chunk_that_was_taken_for_commands(self) -> None:
        """Who was refused stays so, and nobody is tried twice at once."""
        ending = self.chunked().ending("250 2.1.0 ok", "250 2.1.5 ok", "550 no", "250 2.1.5 ok", "500 what?")
        self.assertEqual(fates(ending, 3), [(DEFERRED, 500), (BOUNCED, 550), (DEFERRED, 500)])
        self.assertFalse(ending.stale)

    def test_dsn_of_each(self) -> None:
        peer = Peer(b"250-mx\r\n250-DSN\r\n250 PIPELINING\r\n")
        fellows = [Recipient("c@x", "FAILURE"), Recipient("d@x", "", "rfc822;d@x")]
        order = peer.talk.begin("a@x", "b@x", 1, False, notify="NEVER", ret="HDRS", fellows=fellows)
        assert isinstance(order, bytes)
        self.assertEqual(
            order.split(b"\r\n")[:4],
            [b"MAIL FROM:<a@x> RET=HDRS", b"RCPT TO:<b@x> NOTIFY=NEVER", b"RCPT TO:<c@x> NOTIFY=FAILURE",
             b"RCPT TO:<d@x> ORCPT=rfc822;d@x"],
        )  # fmt: skip


class Lmtp(TestCase):
    """RFC 2033."""

    def test_lhlo(self) -> None:
        talk = Conversation("relay.test", Tls.MAY, lmtp=True)
        talk.receive(b"220 hi\r\n")
        self.assertEqual(talk.take(), b"LHLO relay.test\r\n")
        self.assertIsNone(talk.receive(b"250-mx\r\n250 STARTTLS\r\n"))
        self.assertEqual(talk.take(), b"STARTTLS\r\n")
        self.assertIs(talk.receive(b"220 go\r\n"), Event.SECURE)
        self.assertEqual(talk.secured(), b"LHLO relay.test\r\n")
        self.assertIs(talk.receive(b"250-mx\r\n250 PIPELINING\r\n"), Event.READY)
        self.assertIn("PIPELINING", talk.extensions)

    def test_nothing_else_is_tried(self) -> None:
        talk = Conversation("relay.test", lmtp=True)
        talk.receive(b"220 hi\r\n")
        talk.take()
        ending = talk.receive(b"500 what?\r\n")
        assert isinstance(ending, Ending)
        self.assertEqual((ending.result, ending.stage, talk.take()), (DEFERRED, "ehlo", b""))

    def test_a_reply_for_each_that_was_accepted(self) -> None:
        peer = Peer(lmtp=True)
        peer.to_dot("250 a", "550 no", "250 c", "250 d")
        self.assertIsNone(peer.say("250 a is in"))
        self.assertEqual([(place, one.result) for place, one in peer.talk.taken().items()], [(0, DELIVERED)])
        self.assertEqual(peer.talk.taken(), {})
        self.assertTrue(peer.talk.in_dot)
        ending = peer.ending("452 4.2.2 c is full", "250 d is in")
        self.assertEqual(fates(ending, 4), [(DELIVERED, 250), (BOUNCED, 550), (DEFERRED, 452), (DELIVERED, 250)])
        self.assertTrue(ending.reusable)
        peer.begin(1)
        self.assertTrue(peer.sent[-1].startswith(b"MAIL"))

    def test_lost_in_between(self) -> None:
        for how in ("lost", "421 bye", "nonsense"):
            peer = Peer(lmtp=True)
            peer.to_dot("250 a", "250 b", "250 c")
            self.assertIsNone(peer.say("250 a is in"))
            ending = peer.talk.lost("gone") if how == "lost" else peer.ending(how)
            self.assertEqual([ending.of(place).result for place in range(3)], [DELIVERED, DEFERRED, DEFERRED])
            self.assertEqual([ending.of(place).doubtful for place in range(3)], [False, True, True])

    def test_no_chunks(self) -> None:
        talk = Conversation("relay.test", chunking=True, lmtp=True)
        talk.receive(b"220 hi\r\n")
        talk.receive(CHUNKING)
        for _ in range(2):
            order = talk.begin("a@x", "b@x", 1, False)
            assert isinstance(order, bytes)
            self.assertTrue(order.endswith(b"DATA\r\n"))
            talk.receive(b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n")
            talk.end(TEXT)
            talk.receive(b"250 2.0.0 in\r\n")

    def test_a_text_for_nobody(self) -> None:
        """There would be no reply to its end."""
        peer = Peer(lmtp=True)
        peer.begin(1)
        ending = peer.ending("250 ok", "550 no", "354 go")
        self.assertEqual((fates(ending, 1), ending.reusable), ([(BOUNCED, 550)], False))


class Script(NamedTuple):
    """What a host answers, and after how many replies it is gone (99: never)."""

    mail: str
    rcpts: list[str]
    data: str
    dots: list[str]
    gone: int


YES, NO = "250 ok", st.sampled_from(("451 4.3.0 later", "554 5.7.1 no"))
scripts = st.integers(1, 5).flatmap(
    lambda count: st.builds(
        Script,
        st.sampled_from((YES, YES, YES)) | NO,
        st.lists(st.sampled_from((YES, YES, YES, YES, *TOO_MANY, *OWN)), min_size=count, max_size=count),
        st.just("354 go") | NO,
        st.lists(st.just(YES) | NO, min_size=count, max_size=count),
        st.integers(0, 12) | st.just(99),
    )
)


def foretold(script: Script, pipelining: bool, lmtp: bool) -> list[tuple[str, str]]:
    """For each recipient how it has to end, and by which reply ("" when the host is gone)."""
    left = script.gone
    count = len(script.rcpts)

    def heard(reply: str) -> str:
        nonlocal left
        left -= 1
        return reply if left >= 0 else ""

    def by(reply: str) -> tuple[str, str]:
        return {"2": "delivered", "4": "deferred", "5": "bounced"}.get(reply[:1], "deferred"), reply

    mail = heard(script.mail)
    if mail != YES:
        return [by(mail)] * count
    found: dict[int, tuple[str, str]] = {}
    accepted: list[int] = []
    for place, rcpt in enumerate(script.rcpts):
        reply = heard(rcpt)
        if reply == YES:
            accepted.append(place)
        elif reply and accepted and reply in TOO_MANY:
            found[place] = "postponed", reply
        elif reply:
            found[place] = by(reply)
    if not accepted:
        return [found.get(place, ("deferred", "")) for place in range(count)]
    data = heard(script.data)
    cut_short = any(fate == "postponed" for fate, _ in found.values())
    rest = ("deferred", data) if cut_short and data[:1] == "5" else by(data)
    if data == "354 go":
        for index, place in enumerate(accepted):
            if lmtp or not index:
                rest = by(heard(script.dots[index]))
            found[place] = rest
    return [found.get(place, rest) for place in range(count)]


class Model(TestCase):
    @given(scripts, pieces(), st.booleans(), st.booleans())
    def test_each_recipient_ends_as_its_replies_say(
        self, script: Script, cuts: list[int], pipelining: bool, lmtp: bool
    ) -> None:
        peer, left = Peer(PIPELINING if pipelining else IN_TURN, lmtp), script.gone
        peer.begin(len(script.rcpts))
        first = [script.mail, *script.rcpts, script.data][:left]
        event: Event | Ending | None = None
        if pipelining:
            event = peer.say(*first, cuts=cuts)
            left -= len(first)
        else:
            for reply in first:
                sent = len(peer.sent)
                event = peer.say(reply, cuts=cuts)
                left -= 1
                if event is not None:
                    break
                self.assertEqual(len(peer.sent), sent + 1, "the next command")
        if event is None and peer.sent[-1] == b".\r\n" and left > 0:
            event = peer.say("554 nobody", cuts=cuts)
        dotted = event is Event.BODY
        if dotted:
            peer.talk.end(TEXT)
            count = sum(reply == YES for reply in script.rcpts) if lmtp else 1
            event = peer.say(*script.dots[:count][:left], cuts=cuts)
        ending = event if isinstance(event, Ending) else peer.talk.lost("gone")
        fates = [ending.of(place) for place in range(len(script.rcpts))]
        told = [("postponed" if one.postponed else one.result.value, one.text if one.code else "") for one in fates]
        self.assertEqual(told, foretold(script, pipelining, lmtp))
        self.assertEqual({one.doubtful for one in fates if one.code} - {False}, set())
        self.assertEqual({one.doubtful for one in fates if not one.code} - {dotted}, set())
        if event is not None:
            self.assertTrue(ending.reusable or not any(one.result is DELIVERED for one in fates))

    @given(st.binary(max_size=300), pieces(), st.booleans())
    def test_no_bytes_deliver_before_the_dot(self, data: bytes, cuts: list[int], lmtp: bool) -> None:
        peer = Peer(lmtp=lmtp)
        peer.begin(3)
        for piece in split(b"250 ok\r\n" + data, cuts):
            event = peer.talk.receive(piece)
            if event is not None:
                if isinstance(event, Ending):
                    self.assertNotIn(DELIVERED, [event.of(place).result for place in range(3)])
                break
        self.assertEqual(peer.talk.taken(), {})
