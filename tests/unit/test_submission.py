"""A message on its way in: any split of its text gives the same, and nothing half stays."""

from __future__ import annotations

from typing import Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from relay.access.quota import Quotas
from relay.channel.frames import CHUNK, MAX_HEADER
from relay.config.schema import Zone
from relay.dkim.canon import RelaxedBody
from relay.intake import submission as module
from relay.intake.heed import Heed
from relay.intake.repeats import Repeats
from relay.intake.submission import Intake, Submission
from relay.listener.door import Refused, Settled, Terms
from relay.logs.maillog import MailLog
from relay.message.date import date_of
from relay.message.envelope import Envelope, Recipient
from relay.message.mark import Mark, Taken
from relay.message.user import User
from relay.message.values import Delivery, Message
from relay.queue.schedule import Schedule
from relay.queue.store import LaneKey, StoreError, Unreadable, ZoneCount
from relay.zone.routing import Router
from tests.unit.journey_rig import ORIGIN, LateStore, Tally, a_clock, a_retry, milliseconds, zones_of
from tests.unit.suppression_rig import a_list

HEADER = (
    b"Message-ID: <1@x.test>\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
    b"From: A <a@signed.test>\r\nTo: b@to.test, C@to.test\r\nCc: b@to.test\r\nSubject: x\r\n"
)
LINES = (b"x" * 62 + b"\r\n") * (CHUNK // 64)
BODY = b"hello\r\n\r\nworld \r\n"


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def envelope(sender: str | None, to: list[str] | None) -> Envelope:
    return Envelope(sender, None if to is None else tuple(map(Recipient, to)))


class FakeKeys:
    some = True

    def any(self) -> bool:
        return self.some

    def may_sign(self, domain: str) -> bool:
        return domain == "signed.test"


class Rig:
    def __init__(self, late: bool = False, at_submission: Literal["accept", "refuse", "drop"] = "accept") -> None:
        self.clock = a_clock()
        self.now = milliseconds(self.clock)
        self.store = LateStore()
        self.store.late = late
        self.tally = Tally()
        self.log = MailLog(self.clock, self.now)
        self.schedule = Schedule(self.store, a_retry(), self.clock, self.now, 1 << 24)
        zones = zones_of(bulk=Zone(recipient_domains=("bulk.test",)))
        keys: Any = FakeKeys()
        self.suppressions = a_list(clock=self.clock)
        self.heed = Heed(at_submission, self.suppressions)
        self.intake = Intake(
            store=self.store,
            schedule=self.schedule,
            router=Router(zones),
            keys=keys,
            hostname="relay.test",
            log=self.log,
            counts=self.tally,
            now=self.now,
            heed=self.heed,
            seconds=self.clock.seconds,
        )

    def open(self, routing: bool = False, max_header: int = 10_000) -> Submission:
        return self.intake.open(
            ORIGIN, Terms(routing_headers=routing, max_header=max_header, x_originating_ip=False)
        )

    def body(self, message: Message) -> bytes:
        return b"".join(self.store.chunk(message.id, number) for number in range(message.chunks))


class SubmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rig = Rig()

    def submit(
        self,
        *pieces: bytes,
        sender: str | None = "s@from.test",
        to: list[str] | None = None,
        rig: Rig | None = None,
        **options: Any,
    ) -> Message:
        submission = (rig or self.rig).open(**options)
        for piece in pieces:
            submission.write(piece)
        done = submission.finish(envelope(sender, ["b@to.test"] if to is None else to))
        (rig or self.rig).store.let_go()
        return self.successResultOf(done)

    def refused(self, *pieces: bytes, sender: str | None = "s@from.test", to: Any = ("b@to.test",)) -> int:
        submission = self.rig.open()
        for piece in pieces:
            submission.write(piece)
        failure = self.failureResultOf(submission.finish(envelope(sender, to)), Refused)
        self.assertEqual((self.rig.store.rows, self.rig.store.chunks), ({}, {}))
        return failure.value.reply.code

    # -- who sends it

    def by(self, user: User, text: bytes, quotas: Quotas | None = None) -> Any:
        charge = quotas.charge(user, 1, 0.0) if quotas is not None else None
        submission = self.rig.intake.open(ORIGIN, Terms(), user, charge)
        submission.write(text)
        done = submission.finish(envelope("s@from.test", ["b@to.test"]))
        self.rig.store.let_go()
        return done

    def test_as_whom_a_user_may_send(self) -> None:
        """Where nobody has said MAIL."""
        for senders, good in ((("@from.test",), True), (("s@from.test",), True), (("@other.test",), False), ((), True)):
            done = self.by(User("shop", senders, tenant="acme"), b"Subject: x\r\n\r\n")
            if good:
                self.assertEqual(self.successResultOf(done).tenant, "acme")
            else:
                self.assertEqual(self.failureResultOf(done, Refused).value.reply.text[:5], "5.7.1")

    def test_S50_whom_a_user_may_name_in_from(self) -> None:
        user = User("alice", from_domains=("own.test",))
        for author in (
            b"From: a@own.test",
            b"From: \"x@other.test\" <a@OWN.test>",
            b"From: a@own.test, b@own.test",
            b"Subject: nobody",
        ):
            self.successResultOf(self.by(user, author + b"\r\n\r\n"))
        for author in (
            b"From: a@other.test",
            b"From: \"a@own.test\" <a@other.test>",
            b"From: a@own.test, b@other.test",
            b"From: a@own.test\r\nFrom: b@other.test",
            b"From: a@own.test\r\nfrom :b@other.test",
            b"From: a@sub.own.test",
            b"From: <<a@own.test",
            b"From: (a@own.test",
            b"From: a@own.test" + b"\r\n ,,," * 20_000,
        ):
            reply = self.failureResultOf(self.by(user, author + b"\r\n\r\n"), Refused).value.reply
            self.assertIn("550 5.7.1", str(reply), author)

    def test_a_users_zone_is_that_of_all_their_mail(self) -> None:
        message = self.successResultOf(self.by(User("alice", zone="Bulk"), HEADER + b"\r\n"))
        self.assertEqual(self.zones(message), ["bulk"])

    def test_what_is_not_taken_counts_for_nobody(self) -> None:
        user, quotas = User("alice", from_domains=("own.test",), messages=((1, 60.0),)), Quotas([], [])
        self.failureResultOf(self.by(user, b"From: a@other.test\r\n\r\n", quotas), Refused)
        self.rig.intake.open(ORIGIN, Terms(), user, quotas.charge(user, 1, 0.0)).abandon()
        self.successResultOf(self.by(user, b"From: a@own.test\r\n\r\n", quotas))
        self.assertRaises(Refused, quotas.charge, user, 1, 0.0)

    def test_what_was_taken_stays_counted(self) -> None:
        user, quotas = User("alice", messages=((1, 60.0),)), Quotas([], [])
        submission = self.rig.intake.open(ORIGIN, Terms(), user, quotas.charge(user, 1, 0.0))
        submission.write(HEADER + b"\r\n")
        submission.finish(envelope("s@from.test", ["b@to.test"]))
        self.rig.store.let_go()
        submission.abandon()
        self.assertRaises(Refused, quotas.charge, user, 1, 0.0)

    # -- what is kept

    def test_what_is_stored(self) -> None:
        message = self.submit(HEADER + b"\r\n" + BODY)
        self.assertEqual((message.headers, self.rig.body(message)), (HEADER, BODY))
        self.assertEqual((message.body_size, message.chunks, message.recipients), (len(BODY), 1, 1))
        self.assertEqual((message.message_id, message.eight_bit), ("<1@x.test>", False))
        self.assertEqual(message.size, len(HEADER) + 2 + len(BODY))
        row = Delivery(message.id, 1, "default", "to.test", "b@to.test", self.rig.now())
        self.assertEqual(self.rig.store.rows, {(message.id, 1): row})
        self.assertEqual(self.rig.tally.pushes, [True])
        lane = self.rig.schedule.known(LaneKey("default", "to.test"))
        assert lane is not None
        self.assertEqual(lane.ready[0].held.body, BODY)

    def same_in_any_split(self, text: bytes, cuts: list[int]) -> None:
        """But for the id, which the order gives."""
        found = []
        for pieces in ([text], split(text, cuts)):
            rig = Rig()
            message = self.submit(*pieces, rig=rig, to=["b@to.test", "c@bulk.test"])
            found.append((message, rig.body(message), [row[1] for row in sorted(rig.store.rows.items())]))
        (one, body, rows), (other, other_body, other_rows) = found
        for name in Message.__struct_fields__:
            if name not in ("id", "message_id", "headers"):
                self.assertEqual(getattr(one, name), getattr(other, name), name)
        self.assertEqual(body, other_body)
        self.assertEqual([row.zone for row in rows], [row.zone for row in other_rows])
        if b"Message-ID" in text:
            self.assertEqual((one.headers, one.message_id), (other.headers, other.message_id))

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.sampled_from([b"a b", b"\t ", b".", b"\xe4\xf6", b"\r\n", b" ", b"-" * 70]), max_size=20),
        st.booleans(),
        st.lists(st.integers(0, 5000), max_size=10),
    )
    def test_any_split_gives_the_same(self, body: list[bytes], header: bool, cuts: list[int]) -> None:
        text = b"".join(body) + b"\r\n"
        self.same_in_any_split(HEADER + b"\r\n" + text if header else text, cuts)

    def test_byte_by_byte(self) -> None:
        text = HEADER + b"\r\n" + BODY
        self.same_in_any_split(text, list(range(len(text))))

    def test_Q17_a_large_body_is_cut_into_chunks_wherever_it_was_split(self) -> None:
        for extra in (-1, 0, 1):
            size = 2 * CHUNK + extra
            text = HEADER + b"\r\n" + (b"0123456789abcde\n" * (size // 16 + 1))[:size]
            shapes = []
            for step in (len(text), 65_536, 100_000, 999):
                rig = Rig()
                message = self.submit(*(text[at : at + step] for at in range(0, len(text), step)), rig=rig)
                chunks = [len(rig.store.chunk(message.id, number)) for number in range(message.chunks)]
                shapes.append((chunks, message.body_size, message.body_hash))
                self.assertEqual(rig.body(message), text[len(HEADER) + 2 :])
            self.assertEqual(len(set(map(str, shapes))), 1)
            self.assertTrue(all(chunk == CHUNK for chunk in shapes[0][0][:-1]))
            self.assertTrue(0 < shapes[0][0][-1] <= CHUNK)

    def test_no_body_no_chunk(self) -> None:
        for text in (HEADER, HEADER + b"\r\n"):
            message = self.submit(text)
            self.assertEqual((message.chunks, message.body_size, message.headers), (0, 0, HEADER))

    def test_the_body_hash_is_made_where_a_key_may_sign(self) -> None:
        expected = RelaxedBody()
        expected.update(BODY)
        self.assertEqual(self.submit(HEADER + b"\r\n" + BODY).body_hash, expected.digest())
        other = HEADER.replace(b"signed.test", b"other.test")
        self.assertEqual(self.submit(other + b"\r\n" + BODY).body_hash, b"")

    def test_without_a_domain_in_from_any_key_is_reason_enough(self) -> None:
        """The sender's domain signs then; it may be known only when the body is through."""
        for line, hashed in (
            (b"", True),
            (b"From:\r\n", True),
            (b"From: nobody\r\n", True),
            (b"From: signed.test\r\n", True),
            (b"From: <@>\r\n", True),
            (b"From: a@b.test (A. B.)\r\n", True),
            (b"From: A <a@b-c.test>\r\n", False),
            (b"From: a@b.test\r\n", False),
        ):
            for some in (True, False):
                self.patch(FakeKeys, "some", some)
                message = self.submit(b"Subject: x\r\n" + line + b"\r\n" + BODY)
                self.assertEqual(bool(message.body_hash), hashed and some, line)

    def test_eight_bit(self) -> None:
        self.assertTrue(self.submit(HEADER + b"\r\n\xe4\r\n").eight_bit)
        self.assertTrue(self.submit(HEADER + b"X: \xe4\r\n\r\nx\r\n").eight_bit)
        self.assertFalse(self.submit(HEADER + b"\r\nx\r\n").eight_bit)

    def test_the_header_is_made_complete(self) -> None:
        message = self.submit(b"From: a@b.test\r\nBcc: secret@b.test\r\nX-Sending-Zone: bulk\r\n\r\nx\r\n")
        self.assertIn(b"Message-ID: " + message.message_id.encode() + b"\r\n", message.headers)
        self.assertIn(b"@from.test>", message.message_id.encode())
        self.assertIn(b"Date: ", message.headers)
        self.assertNotIn(b"Bcc", message.headers)
        self.assertNotIn(b"X-Sending-Zone", message.headers)

    # -- envelope and zone

    def test_the_envelope_from_the_header(self) -> None:
        self.rig.open()
        submission = self.rig.open()
        submission.write(HEADER + b"\r\n" + BODY)
        message = self.successResultOf(submission.finish(Envelope()))
        self.assertEqual(message.sender, "a@signed.test")
        self.assertEqual(self.rig.store.recipients(message.id), ["b@to.test", "C@to.test"])

    def test_no_sender_or_recipient_to_be_found(self) -> None:
        self.assertEqual(self.refused(b"To: b@to.test\r\n\r\nx\r\n", sender=None), 550)
        self.assertEqual(self.refused(b"From: a@b.test\r\n\r\nx\r\n", to=None), 550)
        self.assertEqual(self.refused(b"From: a@b.test\r\nTo: nonsense\r\n\r\nx\r\n", to=None), 550)
        self.assertEqual(self.refused(HEADER + b"\r\n" + BODY, to=[]), 550)
        self.assertEqual(self.rig.tally.pushes, [False] * 4)
        self.assertEqual((self.rig.tally.drops, self.rig.tally.accepts), (4, []))

    def test_the_null_sender(self) -> None:
        message = self.submit(b"Subject: x\r\n\r\nx\r\n", sender="")
        self.assertEqual(message.sender, "")
        self.assertIn("@relay.test>", message.message_id)

    def zones(self, message: Message) -> list[str]:
        return [row.zone for _, row in sorted(self.rig.store.rows.items()) if row.id == message.id]

    def test_routing(self) -> None:
        asking = b"X-Sending-Zone: Bulk\r\n" + HEADER + b"\r\n" + BODY
        self.assertEqual(self.zones(self.submit(asking)), ["default"])
        self.assertEqual(self.zones(self.submit(asking, routing=True)), ["bulk"])
        both = ["b@to.test", "c@bulk.test"]
        self.assertEqual(self.zones(self.submit(HEADER + b"\r\n", to=both)), ["default", "bulk"])

    def test_ten_thousand_recipients(self) -> None:
        to = [f"r{number}@d{number % 100}.test" for number in range(10_000)]
        message = self.submit(HEADER + b"\r\n" + BODY, to=to)
        self.assertEqual((message.recipients, len(self.rig.store.rows)), (10_000, 10_000))
        self.assertEqual(self.rig.store.rows[message.id, 10_000].name, f"{message.id}.2710")

    def test_S23_no_door_leads_into_our_own_network(self) -> None:
        for recipient in ("u@localhost", "u@[127.0.0.1]", "u@[IPv6:::1]", "u@10.0.0.1"):
            self.submission = self.rig.open()
            self.submission.write(HEADER)
            done = self.submission.finish(envelope("s@a.test", ["ok@b.test", recipient]))
            failure = self.failureResultOf(done, Refused)
            self.assertEqual(failure.value.reply.code, 550)
        self.assertEqual(self.rig.store.rows, {})

    def test_a_way_in_limits_the_recipients_of_a_header(self) -> None:
        self.submission = self.rig.open()
        self.submission.write(b"From: s@a.test\r\nTo: a@b.test, b@b.test, c@b.test\r\n\r\n")
        failure = self.failureResultOf(self.submission.finish(Envelope(most=2)), Refused)
        self.assertIn("too many", failure.value.reply.text)

    def test_ids_grow(self) -> None:
        ids = [self.submit(HEADER).id for _ in range(20)]
        self.assertEqual(ids, sorted(set(ids)))

    # -- refusals

    def test_Q03_a_store_without_room_refuses_before_the_text(self) -> None:
        self.rig.store.broken = True
        refused = self.assertRaises(Refused, self.rig.open)
        self.assertEqual(refused.reply.code, 452)

    def test_Q03_and_at_its_end(self) -> None:
        submission = self.rig.open()
        submission.write(HEADER + b"\r\n" + BODY)
        self.rig.store.broken = True
        failure = self.failureResultOf(submission.finish(envelope("s@from.test", ["b@to.test"])), Refused)
        self.assertEqual((failure.value.reply.code, self.rig.tally.pushes), (452, [False]))
        self.assertEqual(self.rig.schedule.lanes(), [])

    def test_a_header_that_is_too_long(self) -> None:
        self.assertEqual(self.refused(b"X: " + b"y" * 20_000 + b"\r\n\r\nx\r\n"), 552)
        self.assertEqual(self.refused(*[b"X: yyyyyyyyyyyyyyyyyyyyyyyyyy\r\n"] * 1000), 552)

    def test_no_header_is_longer_than_an_offer_can_carry(self) -> None:
        submission = self.rig.open(max_header=1 << 30)
        for _ in range(MAX_HEADER // 65_536 + 1):
            submission.write(b"X: " + b"y" * 65_531 + b"\r\n")
        failure = self.failureResultOf(submission.finish(envelope("", ["b@to.test"])), Refused)
        self.assertEqual(failure.value.reply.code, 552)


class KeyTests(SynchronousTestCase):
    """X-Idempotency-Key: accepted once."""

    def setUp(self) -> None:
        self.rig = Rig(late=True)

    def finish(self, key: str = "k", user: User | None = None, body: bytes = BODY) -> Any:
        submission = self.rig.intake.open(ORIGIN, Terms(), user)
        submission.write(f"X-Idempotency-Key: {key}\r\n".encode() + HEADER + b"\r\n" + body)
        return submission.finish(envelope("s@from.test", ["b@to.test"]))

    def taken(self, **options: Any) -> str:
        done = self.finish(**options)
        self.rig.store.let_go()
        message = self.successResultOf(done)
        self.assertNotIn(b"Idempotency", message.headers)
        self.assertEqual(message.sender, "s@from.test")
        return str(message.id)

    def test_the_second_hears_of_the_first(self) -> None:
        first = self.taken()
        self.assertEqual(self.taken(), first)
        self.assertEqual(list(self.rig.store.rows), [(first, 1)])
        self.assertEqual(self.rig.tally.pushes, [True])
        self.assertNotEqual(self.taken(key="l"), first)

    def test_even_when_the_first_has_been_delivered(self) -> None:
        first = self.taken()
        message = self.rig.store.message(first)
        assert message is not None
        self.rig.store.finish(message, self.rig.store.rows[first, 1])
        self.assertEqual(self.taken(), first)
        self.assertEqual(self.rig.store.rows, {})

    def test_each_user_has_keys_of_its_own(self) -> None:
        ids = [self.taken(user=user) for user in (None, User("a"), User("b"), None, User("a"), User("b"))]
        self.assertEqual(ids[:3], ids[3:])
        self.assertEqual(len(set(ids)), 3)

    def test_a_key_is_forgotten_in_the_end(self) -> None:
        first = self.taken()
        self.rig.clock.advance(86_399)
        self.assertEqual(self.taken(), first)
        self.rig.clock.advance(2)
        self.assertNotEqual(self.taken(), first)

    def test_nothing_is_remembered_where_that_is_off(self) -> None:
        self.rig.intake.repeats = Repeats(self.rig.store, self.rig.now, 0)
        self.assertNotEqual(self.taken(), self.taken())
        self.assertEqual(self.rig.store._taken, {})

    def test_those_that_come_meanwhile_wait_for_the_verdict(self) -> None:
        done = [self.finish() for _ in range(3)]
        for one in done:
            self.assertNoResult(one)
        self.assertEqual(len(self.rig.store.rows), 1)
        self.rig.store.let_go()
        self.assertEqual(len({self.successResultOf(one).id for one in done}), 1)
        self.assertEqual(len(self.rig.store.rows), 1)
        self.assertEqual(self.rig.intake.repeats._under_way, {})

    def test_when_the_first_fails_the_next_is_taken(self) -> None:
        told: Any = Deferred()
        good = self.rig.store.append
        self.patch(self.rig.store, "append", lambda *_: told)
        first, second, third = (self.finish() for _ in range(3))
        self.patch(self.rig.store, "append", good)
        told.errback(StoreError("no"))
        self.assertEqual(self.failureResultOf(first, Refused).value.reply.code, 452)
        self.assertNoResult(third)
        self.rig.store.let_go()
        self.assertEqual(self.successResultOf(second).id, self.successResultOf(third).id)
        self.assertEqual(len(self.rig.store.rows), 1)
        self.assertEqual(self.rig.tally.pushes, [False, True])

    def test_the_chunks_of_a_repeated_message_go(self) -> None:
        first = self.taken(body=LINES * 3)
        self.assertEqual(self.taken(body=LINES * 3), first)
        self.assertEqual({queue_id for queue_id, _ in self.rig.store.chunks}, {first})

    def test_a_chunk_that_was_lost_in_the_waiting_refuses_the_message(self) -> None:
        told: Any = Deferred()
        good = self.rig.store.append
        self.patch(self.rig.store, "append", lambda *_: told)
        self.finish().addErrback(lambda failure: failure.trap(Refused))
        second = self.finish(body=LINES * 3)
        self.patch(self.rig.store, "append", good)
        self.rig.store.die()
        told.errback(StoreError("no"))
        self.assertEqual(self.failureResultOf(second, Refused).value.reply.code, 452)
        self.assertEqual(self.rig.store.rows, {})

    def test_a_store_that_can_not_tell_refuses(self) -> None:
        def recall(token: bytes, since: int) -> Taken | None:
            raise Unreadable("bad checksum")

        self.patch(self.rig.store, "recall", recall)
        refused = self.failureResultOf(self.finish(body=LINES * 3), Refused)
        self.assertEqual(refused.value.reply.code, 452)
        self.assertEqual((self.rig.store.rows, self.rig.store.chunks), ({}, {}))


class TogetherTests(SynchronousTestCase):
    """The messages of one request."""

    def setUp(self) -> None:
        self.rig = Rig(late=True)
        self.consignment = self.rig.intake.consignment()

    def settle(self, to: str = "b@to.test", header: bytes = HEADER, body: bytes = BODY) -> Settled:
        self.consignment.open(ORIGIN, Terms()).write(header + b"\r\n" + body)
        return self.consignment.settle(envelope("s@from.test", [to]))

    def check_refused(self, kept: Deferred[Any], count: int) -> None:
        told = self.successResultOf(kept)
        self.assertEqual([one.reply.code for one in told], [452] * count)

    def test_all_of_them_in_one_write(self) -> None:
        settled = [self.settle(f"b{number}@to.test") for number in range(3)]
        self.assertEqual(self.rig.store.rows, {})
        mark = Mark(b"t" * 32, Taken(settled[0].message.id, self.rig.now(), b"d", b"a"))
        kept = self.consignment.keep(mark)
        self.assertEqual(self.rig.store.untold, 1)
        self.consignment.abandon()  # too late
        self.assertNoResult(kept)
        self.rig.store.let_go()
        self.assertEqual(self.successResultOf(kept), [one.message for one in settled])
        self.assertEqual(self.rig.store.recall(b"t" * 32, 0), mark.taken)
        self.assertEqual(self.rig.tally.pushes, [True] * 3)
        self.assertEqual([work.delivery.recipient for lane in self.rig.schedule.lanes() for work in lane.ready],
                         [one.recipients[0] for one in settled])  # fmt: skip

    def test_or_none(self) -> None:
        for number in range(2):
            self.settle(f"b{number}@to.test", body=LINES * 3)
        self.rig.store.broken = True
        kept = self.consignment.keep()
        self.rig.store.let_go()
        self.check_refused(kept, 2)
        self.assertEqual((self.rig.store.rows, self.rig.tally.pushes), ({}, [False] * 2))
        self.rig.store.let_go()
        self.assertEqual(self.rig.store.chunks, {})

    def test_a_lost_chunk_costs_them_all(self) -> None:
        self.settle("a@to.test")
        self.settle("b@to.test", body=LINES * 3)
        self.rig.store.die()
        self.check_refused(self.consignment.keep(), 2)
        self.assertEqual(self.rig.store.rows, {})

    def test_one_that_is_refused_leaves_the_others(self) -> None:
        self.settle("a@to.test")
        self.assertRaises(Refused, self.settle, "b@localhost")
        kept = self.consignment.keep()
        self.rig.store.let_go()
        self.assertEqual(len(self.successResultOf(kept)), 1)
        self.assertEqual(len(self.rig.store.rows), 1)

    def test_keys_of_their_own(self) -> None:
        ids = []
        for _ in range(2):
            for number in range(2):
                self.settle(f"b{number}@to.test", b"X-Idempotency-Key: k\r\n" * number + HEADER)
            kept = self.consignment.keep()
            self.rig.store.let_go()
            ids.append([getattr(one, "id", "") for one in self.successResultOf(kept)])
        self.assertNotEqual(ids[0][0], ids[1][0])
        self.assertEqual(ids[0][1], ids[1][1])

    def test_what_is_given_up(self) -> None:
        self.settle(body=LINES * 3)
        self.consignment.open(ORIGIN, Terms()).write(HEADER + b"\r\n" + LINES * 3)
        self.consignment.abandon()
        self.rig.store.let_go()
        self.assertEqual((self.rig.store.rows, self.rig.store.chunks), ({}, {}))

    def test_whom_a_user_may_send_as(self) -> None:
        user = User("u", senders=("@from.test",), from_domains=("from.test",), tenant="t")
        for header, sender, taken in (
            (b"From: a@from.test\r\n", "s@from.test", True),
            (b"From: a@from.test\r\n", "", True),
            (b"From: a@from.test\r\n", "s@other.test", False),
            (b"From: a@other.test\r\n", "s@from.test", False),
        ):
            self.consignment.open(ORIGIN, Terms(), user).write(header + b"\r\n")
            if taken:
                settled = self.consignment.settle(envelope(sender, ["b@to.test"]))
                self.assertEqual(settled.message.tenant, "t")
            else:
                refused = self.assertRaises(Refused, self.consignment.settle, envelope(sender, ["b@to.test"]))
                self.assertEqual(refused.reply.text[:5], "5.7.1")


class LaterTests(SynchronousTestCase):
    """Mail with a Date in the future (zone by zone, it counts as deferred)."""

    def setUp(self) -> None:
        self.rig = Rig()

    def submit(self, ahead: int) -> Message:
        submission = self.rig.intake.open(ORIGIN, Terms(future_date=True))
        date = date_of(self.rig.now() + ahead * 1000)
        submission.write(f"From: a@b.test\r\nDate: {date}\r\n\r\nx\r\n".encode())
        return self.successResultOf(submission.finish(envelope("s@from.test", ["b@to.test"])))

    def test_it_waits_in_the_store_and_not_in_memory(self) -> None:
        message = self.submit(86_400 * 30)
        self.assertEqual((self.rig.schedule._works, self.rig.schedule._in_use), ({}, 0))
        row = self.rig.store.rows[message.id, 1]
        self.assertEqual((row.response, row.attempts, row.last_failure), ("Deferred by router", 0, 0))
        self.assertEqual(self.rig.store.count("default", self.rig.now()), ZoneCount(0, 1, 0))
        self.assertEqual(self.rig.store.count("default", row.due - 1), ZoneCount(0, 1, 0))
        self.assertEqual(self.rig.store.count("default", row.due), ZoneCount(1, 0, 0))

    def test_and_is_due_when_its_time_has_come(self) -> None:
        self.a_month(self.rig.schedule)

    def test_after_a_restart_too(self) -> None:
        schedule = self.rig.schedule
        self.submit(86_400 * 30)
        schedule.stop()
        schedule = Schedule(self.rig.store, a_retry(), self.rig.clock, self.rig.now, 1 << 24)
        schedule.start()
        self.a_month(schedule, submitted=True)

    def a_month(self, schedule: Schedule, submitted: bool = False) -> None:
        woken: list[int] = []
        schedule.due = lambda lane: woken.append(self.rig.now()) if schedule.has_ready(lane) else None
        due = self.rig.now() + 86_400_000 * 30
        if not submitted:
            self.submit(86_400 * 30)
        for _ in range(24 * 30 - 1):
            self.rig.clock.advance(3600)
        self.assertEqual(woken, [])
        self.rig.clock.advance(3600)
        self.assertEqual(woken, [due])
        lane = schedule.known(LaneKey("default", "to.test"))
        assert lane is not None
        self.assertEqual(lane.ready[0].delivery.recipient, "b@to.test")
        schedule.stop()


class Chunks(SynchronousTestCase):
    """While the disk is behind."""

    def setUp(self) -> None:
        self.rig = Rig(late=True)
        self.submission = self.rig.open()
        self.submission.write(HEADER + b"\r\n")

    def fill(self, chunks: int) -> None:
        for _ in range(chunks):
            self.submission.write(LINES)

    def finish(self) -> Any:
        return self.submission.finish(envelope("s@from.test", ["b@to.test"]))

    def test_the_client_is_held_back_and_let_go(self) -> None:
        self.fill(module._AHEAD)
        self.assertIsNone(self.submission.wait())
        self.fill(1)
        waiting = self.submission.wait()
        assert waiting is not None
        self.assertIs(self.submission.wait(), waiting)
        self.rig.store.let_go(module._AHEAD // 2)
        self.assertNoResult(waiting)
        self.rig.store.let_go(1)
        self.successResultOf(waiting)
        self.assertIsNone(self.submission.wait())

    def test_Q17_many_at_once_share_what_may_wait_for_the_disk(self) -> None:
        self.fill(2)
        self.assertIsNone(self.submission.wait())
        self.rig.intake.flying = module._AHEAD_IN_ALL
        waiting = self.submission.wait()
        assert waiting is not None
        self.rig.store.let_go(2)
        self.successResultOf(waiting)
        self.assertLess(self.rig.intake.flying, module._AHEAD_IN_ALL)

    def test_Q17_memory_is_bounded(self) -> None:
        for _ in range(50):
            self.fill(1)
            self.rig.store.let_go()
            self.assertLessEqual(sum(map(len, self.submission._draft._body)), CHUNK)

    def test_Q03_a_chunk_that_cannot_be_kept_refuses_the_message_and_takes_the_others_back(self) -> None:
        self.fill(3)
        self.rig.store.let_go(1)
        self.rig.store.die()
        self.fill(3)
        failure = self.failureResultOf(self.finish(), Refused)
        self.assertEqual(failure.value.reply.code, 452)
        self.assertEqual(self.rig.store.chunks, {})
        self.assertIsNone(self.submission.wait())

    def test_a_failed_chunk_lets_the_client_go(self) -> None:
        self.fill(module._AHEAD + 1)
        waiting = self.submission.wait()
        assert waiting is not None
        self.rig.store.die()
        self.successResultOf(waiting)

    def test_abandoned(self) -> None:
        self.fill(4)
        self.submission.abandon()
        self.submission.abandon()
        self.assertEqual(self.rig.store.chunks, {})
        self.fill(4)
        self.assertEqual(self.rig.store.chunks, {})
        self.failureResultOf(self.finish(), Refused)

    def test_nothing_that_is_abandoned_late_takes_a_stored_messages_chunks(self) -> None:
        self.fill(4)
        done = self.finish()
        self.submission.abandon()
        self.rig.store.let_go()
        message = self.successResultOf(done)
        self.submission.abandon()
        self.rig.store.let_go()
        self.assertEqual(self.rig.body(message), LINES * 4)

    def test_Q06_a_message_that_was_not_stored_leaves_no_chunks(self) -> None:
        self.fill(4)
        self.rig.store.let_go()
        done = self.finish()
        self.rig.store.die()
        failure = self.failureResultOf(done, Refused)
        self.assertEqual(failure.value.reply.code, 452)
        self.assertEqual([number for _, number in self.rig.store.chunks if number < 3], [])

    def test_an_error_of_ours_is_told_as_one(self) -> None:
        def breaks(*_: object) -> Any:
            return fail(KeyError("bug"))

        self.rig.store.append = breaks  # type: ignore[method-assign]
        self.failureResultOf(self.finish(), KeyError)
        self.assertEqual(self.rig.tally.pushes, [False])

    def test_it_is_counted_logged_and_scheduled_only_when_it_is_on_disk(self) -> None:
        done = self.finish()
        self.assertEqual((self.rig.tally.pushes, self.rig.schedule.lanes(), self.rig.log._lines), ([], [], []))
        self.rig.store.let_go()
        message = self.successResultOf(done)
        self.assertEqual((self.rig.tally.pushes, len(self.rig.schedule.lanes())), ([True], 1))
        self.assertIn(f" queued id={message.id} ", self.rig.log._lines[0])

    def test_its_time_is_from_the_end_of_the_text_until_it_is_on_disk(self) -> None:
        submission = self.rig.open()
        submission.write(HEADER + b"\r\n")
        self.rig.clock.advance(5)
        done = submission.finish(envelope("s@from.test", ["b@to.test"]))
        self.rig.clock.advance(2)
        self.assertEqual(self.rig.tally.accepts, [])
        self.rig.store.let_go()
        self.successResultOf(done)
        self.assertEqual(self.rig.tally.accepts, [(ORIGIN.transport, 2.0)])
        self.assertEqual(self.rig.tally.drops, 0)
