"""The child: journal before report, no dot without a live lease, and how it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import frames
from relay.channel.codec import FROM_SENDER, FrameReader, pack
from relay.channel.frames import Frame, Offer
from relay.channel.journal import Acceptance
from relay.config.schema import Dns, Zone
from relay.delivery import sender as module
from relay.delivery.exchangers import Host
from relay.delivery.sender import Sender, Unavailable
from relay.delivery.tls_counts import MOST as MOST_RESULTS
from relay.message.tls import TlsPolicy, TlsResult
from relay.message.values import Outcome, Result
from relay.net.proxied import Proxied
from tests.unit.test_child import a_briefing
from tests.unit.test_session import offer

DELIVERED = Outcome(Result.DELIVERED, "250 2.0.0 " + "x" * 400, 250, host="mx.test")
DEFERRED = Outcome(Result.DEFERRED, "451 later", 451)


class StoppingClock(Clock):
    stopped = 0

    def stop(self) -> None:
        self.stopped += 1


class FakeLink:
    def __init__(self, owner: Sender) -> None:
        self.owner = owner
        self.sent: list[Frame] = []
        self.finished = False

    def send(self, frame: Frame) -> None:
        self.sent.append(frame)

    def finish(self) -> None:
        self.finished = True


class FakeJournal:
    def __init__(self, heard: list[Any]) -> None:
        self.heard = heard
        self.full = False
        self.writes = 0
        self.leases: list[int] = []

    def write(self, *entries: Acceptance) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.heard.extend(entries)
        self.writes += 1

    def told(self, lease: int) -> None:
        self.leases.append(lease)

    def settled(self, count: int) -> None:
        self.heard.append(("settled", count))
        if self.full:
            raise OSError(28, "No space left on device")


class FakeSession:
    host = Host("mx.test", "192.0.2.9")

    def __init__(self, number: int, *, watcher: Sender, **options: Any) -> None:
        self.number = number
        self.watcher = watcher
        self.options = options
        self.offers: list[Offer] = []
        self.orders: list[str] = []
        self.in_dot = False
        self.begun = False
        self.called = self.next_host = ""

    def deliver(self, offer: Offer) -> None:
        self.offers.append(offer)

    def go(self, many: int) -> None:
        self.orders.append("go" if many == 1 else f"go {many}")

    def dial(self) -> None:
        self.orders.append("dial")

    def release(self) -> None:
        self.orders.append("release")
        self.watcher.closed(self)  # type: ignore[arg-type]

    def resume(self) -> None:
        self.orders.append("resume")

    def abort(self) -> None:
        self.orders.append("abort")

    def sweep(self, now: float) -> None:
        self.orders.append("sweep")


class SenderRig(SynchronousTestCase):
    def setUp(self) -> None:
        self.sessions: dict[int, FakeSession] = {}
        self.patch(module, "Session", self.session)
        self.clock = StoppingClock()
        self.told: list[Any] = []
        self.journal = FakeJournal(self.told)
        self.begin()

    def begin(self, **changes: Any) -> None:
        """A sender with these changes to its briefing."""
        briefing = replace(a_briefing(journal=Path("unused")), dns=Dns(nameservers=("127.0.0.1:53",)), **changes)
        self.sender = Sender(briefing, self.journal, self.clock)  # type: ignore[arg-type]
        self.link = FakeLink(self.sender)
        self.sender.link_made(self.link)  # type: ignore[arg-type]
        self.hear(frames.Welcome(5, 2.0, 8.0))

    def session(self, number: int, **options: Any) -> FakeSession:
        made = self.sessions[number] = FakeSession(number, **options)
        return made

    def hear(self, *heard: Frame) -> None:
        for frame in heard:
            self.sender.frame(self.link, frame)  # type: ignore[arg-type]

    def said(self, kind: type | None = None) -> list[Any]:
        return [frame for frame in self.link.sent if kind is None or type(frame) is kind]

    def lose(self) -> None:
        self.sender.link_lost(self.link, "gone")  # type: ignore[arg-type]

    def done(self, session: FakeSession, outcome: Outcome = DELIVERED, kept: bool = False) -> None:
        session.in_dot = False
        if outcome is DELIVERED:
            self.sender.accepted(session, session.offers[-1], [(session.offers[-1], outcome)])  # type: ignore[arg-type]
        outcomes = [(session.offers[-1], outcome)]
        self.sender.done(session, session.offers[-1], outcomes, kept)  # type: ignore[arg-type]


class Work(SenderRig):
    def test_hello_comes_first(self) -> None:
        [hello] = self.said()
        self.assertEqual((hello.version, hello.secret, hello.child), (frames.VERSION, "s3cret", "00000005-1"))

    def test_an_offer_goes_to_the_session_of_its_connection(self) -> None:
        self.hear(offer(connection=1, lease=1), offer(connection=2, lease=2))
        self.assertEqual([session.offers[0].lease for session in self.sessions.values()], [1, 2])
        self.done(self.sessions[1], kept=True)
        self.hear(offer(connection=1, lease=3))
        self.assertEqual([given.lease for given in self.sessions[1].offers], [1, 3])

    def test_results_of_tls_are_counted_and_told_every_few_seconds(self) -> None:
        self.hear(offer())
        watcher = self.sessions[1].watcher
        policy = TlsPolicy("to.test")
        for text in ("one", "one", "two"):
            watcher.tls(TlsResult(policy, "validation-failure", text, "mx.test", "192.0.2.9", "192.0.2.10"))
        for host in ("mx1.test", "mx2.test"):
            watcher.tls(TlsResult(policy, mx_host=host))
        self.clock.advance(1)
        [frame] = self.said(frames.TlsResults)
        self.assertEqual(
            [(result.failure, result.text, result.mx_host, count) for result, count in frame.counts],
            [("validation-failure", "one", "mx.test", 2), ("validation-failure", "two", "mx.test", 1), ("", "", "", 2)],
        )
        watcher.tls(TlsResult(policy))
        self.clock.advance(1)
        self.assertEqual(len(self.said(frames.TlsResults)), 1, "not before five seconds")
        self.hear(frames.Quit())
        self.assertEqual(len(self.said(frames.TlsResults)), 2, "but at leaving")

    def test_many_results_are_told_at_once_in_frames_that_are_taken(self) -> None:
        """With policies as long as there are, and texts of strangers."""
        self.hear(offer())
        lines = ("\x1b" + "\u00e9" * 1000,) * 100
        for number in range(MOST_RESULTS):
            self.sessions[1].watcher.tls(TlsResult(TlsPolicy(f"{number}.test", "sts", lines, lines), text="x" * 9000))
        told = self.said(frames.TlsResults)
        self.assertEqual(sum(len(frame.counts) for frame in told), MOST_RESULTS)
        reader = FrameReader(FROM_SENDER)
        self.assertEqual([read for frame in told for read in reader.feed(pack(frame))], told)

    def test_a_session_that_is_over_is_made_anew(self) -> None:
        self.hear(offer(connection=1, lease=1))
        first = self.sessions[1]
        self.done(first)
        self.assertEqual(self.said(frames.Closed), [])
        self.sender.closed(first)  # type: ignore[arg-type]
        self.assertEqual(self.said()[-1], frames.Closed(1))
        self.hear(offer(connection=1, lease=2))
        self.assertIsNot(self.sessions[1], first)
        fresh = [made.options["fresh"] for made in (first, self.sessions[1])]
        self.assertEqual(fresh, [True, False], "another call under the same number")

    def test_an_offer_that_crosses_the_end_of_its_connection(self) -> None:
        """It is for the session that still has the connection."""
        self.hear(offer(connection=1, lease=1))
        self.done(self.sessions[1], kept=True)
        self.hear(offer(connection=1, lease=2))
        self.assertEqual([given.lease for given in self.sessions[1].offers], [1, 2])

    def test_the_masters_orders(self) -> None:
        """Each Close is answered, or a number that was forgotten here would be counted there for ever."""
        self.hear(offer(connection=1), frames.Go(1), frames.Go(9), frames.Close(1), frames.Close(9), frames.Ping(7))
        self.assertEqual(self.sessions[1].orders, ["go", "release"])
        self.hear(offer(connection=2), frames.Dial(2), frames.Dial(9))
        self.assertEqual(self.sessions[2].orders, ["dial"])
        self.assertEqual(self.said()[1:], [frames.Closed(1), frames.Closed(9), frames.Pong(7)])

    def test_what_sessions_tell(self) -> None:
        self.hear(offer(connection=1))
        session: Any = self.sessions[1]
        self.sender.answered(session)
        self.sender.quiet(session)
        self.sender.active(session)
        self.sender.redial(session)
        session.begun, session.called, session.next_host = True, "192.0.2.9", "192.0.2.8"
        self.sender.redial(session)
        expected = [frames.Answered(1, "mx.test", "192.0.2.9"), frames.Quiet(1), frames.Active(1)]
        redials = [frames.Redial(1), frames.Redial(1, True, "192.0.2.9", "192.0.2.8")]
        self.assertEqual(self.said()[1:], [*expected, *redials])

    def test_N26_the_journal_is_written_before_the_report(self) -> None:
        self.hear(offer(connection=1, lease=7))
        self.link.send = lambda frame: self.told.append(type(frame))  # type: ignore[method-assign]
        self.done(self.sessions[1])
        entry, report = self.told
        self.assertEqual((entry.id, entry.seq, entry.lease, entry.host), ("0123456789abcdef01", 1, 7, "mx.test"))
        self.assertLessEqual(len(entry.response), 200)
        self.assertIs(report, frames.Done)

    def test_a_journal_that_cannot_be_written_keeps_no_report_back(self) -> None:
        self.hear(offer(connection=1))
        self.journal.full = True
        self.done(self.sessions[1])
        self.assertEqual(len(self.said(frames.Done)), 1)
        self.hear(frames.Settled(1))
        self.assertEqual(self.told, [("settled", 1)])

    def test_settled_is_for_the_journal(self) -> None:
        self.hear(frames.Settled(12))
        self.assertEqual(self.told, [("settled", 12)])

    def test_chunks(self) -> None:
        self.hear(offer(connection=1, lease=7))
        came: list[Deferred[bytes]] = [self.sender.chunk(offer(lease=7), number) for number in (0, 1, 2)]
        self.assertEqual(self.said(frames.More), [frames.More(7, number) for number in (0, 1, 2)])
        self.hear(frames.Chunk(7, 1, b"one"), frames.Chunk(7, 0, None), frames.Chunk(8, 0, b"stray"))
        self.assertEqual(self.successResultOf(came[1]), b"one")
        self.failureResultOf(came[0], Unavailable)
        came[2].addErrback(lambda _: None)
        came[2].cancel()
        self.hear(frames.Chunk(7, 2, b"late"))
        self.assertEqual(self.sender._chunks, {})

    def test_one_session_that_breaks_stops_no_clock(self) -> None:
        self.hear(offer(connection=1))

        def breaks(now: float) -> None:
            raise KeyError("bug")

        self.sessions[1].sweep = breaks  # type: ignore[method-assign]
        self.assertRaises(KeyError, self.clock.advance, module._SWEEP)
        del self.sessions[1].sweep
        self.clock.advance(module._SWEEP)
        self.assertEqual(self.sessions[1].orders, ["sweep"])


class Together(SenderRig):
    def test_fellows_are_told_of_before_the_end(self) -> None:
        fellows = tuple(frames.Fellow(7 + seq, seq, f"r{seq}@to.test") for seq in range(2, 6))
        self.hear(offer(connection=1, fellows=fellows), frames.Go(1, 4))
        session = self.sessions[1]
        self.assertEqual(session.orders, ["go 4"])
        lead = session.offers[0]
        self.sender.left(session, fellows[2:3], True)  # type: ignore[arg-type]
        self.sender.left(session, fellows[3:])  # type: ignore[arg-type]
        self.sender.accepted(session, lead, [(lead, DELIVERED), (fellows[1], DELIVERED)])  # type: ignore[arg-type]
        outcomes = [(lead, DELIVERED), (fellows[0], DEFERRED), (fellows[1], DELIVERED)]
        self.sender.done(session, lead, outcomes, True)  # type: ignore[arg-type]
        self.assertEqual([(one.seq, one.lease) for one in self.told], [(1, 7), (3, 10)])
        self.assertEqual((self.journal.writes, self.journal.leases), (1, [9, 10, 7]), "in the order of the reports")
        self.assertEqual(
            self.said()[1:],
            [
                frames.Fared(11, None, True), frames.Fared(12, None),
                frames.Fared(9, DEFERRED), frames.Fared(10, DELIVERED),
                frames.Done(1, 7, DELIVERED, True),
            ],
        )  # fmt: skip


class MayEnd(SenderRig):
    def test_N08_N10_not_without_a_heartbeat_lately(self) -> None:
        self.assertTrue(self.sender.may_end())
        self.clock.rightNow += 7.9
        self.assertTrue(self.sender.may_end())
        self.clock.rightNow += 0.2
        self.assertFalse(self.sender.may_end())

    def test_N09_it_goes_on_when_the_master_is_heard_again(self) -> None:
        self.hear(offer(connection=1))
        self.clock.rightNow += 60
        self.assertFalse(self.sender.may_end())
        self.hear(frames.Ping(1))
        self.assertEqual(self.sessions[1].orders, ["resume"])
        self.hear(frames.Ping(2))
        self.assertEqual(self.sessions[1].orders, ["resume"])  # once

    def test_Q05_not_while_the_master_can_record_nothing(self) -> None:
        self.hear(offer(connection=1), frames.Hold(True))
        self.assertFalse(self.sender.may_end())
        self.hear(frames.Ping(1))
        self.assertEqual(self.sessions[1].orders, [])
        self.hear(frames.Hold(False))
        self.assertEqual(self.sessions[1].orders, ["resume"])
        self.assertTrue(self.sender.may_end())

    def test_not_before_the_welcome_and_not_without_a_link(self) -> None:
        self.sender._lease = 0.0
        self.assertFalse(self.sender.may_end())
        self.hear(frames.Welcome(5, 2.0, 8.0))
        self.assertTrue(self.sender.may_end())
        self.lose()
        self.assertFalse(self.sender.may_end())


class Leaving(SenderRig):
    def setUp(self) -> None:
        super().setUp()
        self.hear(offer(connection=1, lease=1), offer(connection=2, lease=2))
        self.busy, self.dotted = self.sessions[1], self.sessions[2]
        self.dotted.in_dot = True

    def test_N11_a_lost_channel_ends_all_but_final_dots(self) -> None:
        self.lose()
        self.assertEqual((self.busy.orders, self.dotted.orders), (["abort"], ["abort"]))
        self.clock.advance(1)
        self.assertEqual(self.clock.stopped, 0)
        self.sender.accepted(self.dotted, self.dotted.offers[0], [(self.dotted.offers[0], DELIVERED)])  # type: ignore[arg-type]
        self.dotted.in_dot = False
        self.sender.closed(self.dotted)  # type: ignore[arg-type]
        self.clock.advance(0)
        self.assertEqual((self.clock.stopped, self.sender.exit_code), (1, 0))
        self.assertEqual([entry.lease for entry in self.told], [2])

    def test_N11_but_those_are_not_waited_for_long(self) -> None:
        self.lose()
        self.clock.pump([0.25] * round(4 * module._LAST_REPLIES + 1))
        self.assertEqual(self.clock.stopped, 1)
        self.assertLess(module._LAST_REPLIES, 5)

    def test_N11_nothing_to_wait_for(self) -> None:
        self.dotted.in_dot = False
        self.lose()
        self.clock.advance(0)
        self.assertEqual(self.clock.stopped, 1)

    def test_N17_asked_to_leave_it_reports_what_comes_of_its_dots(self) -> None:
        self.hear(frames.Quit())
        self.assertEqual((self.busy.orders, self.dotted.orders), (["abort"], []))
        self.clock.pump([0.25] * 40)  # longer than without a channel: the master decides
        self.assertEqual((self.clock.stopped, self.link.finished), (0, False))
        self.done(self.dotted, DEFERRED)
        self.assertEqual([report.lease for report in self.said(frames.Done)], [2])
        self.assertTrue(self.link.finished)
        self.clock.advance(0)
        self.assertEqual(self.clock.stopped, 0)  # its last words are still on their way
        self.lose()
        self.assertEqual((self.clock.stopped, self.sender.exit_code), (1, 0))
        self.clock.pump([0.25] * 40)
        self.assertEqual(self.clock.stopped, 1)

    def test_N17_it_takes_no_new_work_then(self) -> None:
        self.hear(frames.Quit(), offer(connection=3, lease=3))
        self.assertNotIn(3, self.sessions)

    def test_N17_the_last_words_are_not_waited_for_for_ever(self) -> None:
        self.dotted.in_dot = False
        self.hear(frames.Quit())
        self.clock.advance(module._LAST_FRAMES)
        self.assertEqual(self.clock.stopped, 1)

    def test_asked_to_leave_and_then_the_channel_is_lost(self) -> None:
        self.hear(frames.Quit(), frames.Quit())
        self.lose()
        self.assertEqual(self.dotted.orders, ["abort"])
        self.clock.pump([0.25] * round(4 * module._LAST_REPLIES + 1))
        self.assertEqual(self.clock.stopped, 1)

    def test_a_master_that_is_silent_for_minutes_is_gone(self) -> None:
        self.dotted.in_dot = False
        self.clock.pump([0.25] * round(4 * module._ABANDONED + 2))
        self.assertTrue(self.link.finished)
        self.assertEqual(self.sender.exit_code, 1)
        self.clock.advance(module._LAST_FRAMES)
        self.assertEqual(self.clock.stopped, 1)

    def test_what_policy_hosts_are_called_by(self) -> None:
        """A proxy that isn't told an address to connect from."""
        outward: list[Any] = []
        self.patch(module, "heeding", lambda briefing, reactor, web, *more: outward.append(web))
        for proxy in ("socks5://10.0.0.5:1080", "haproxy://10.0.0.5:2525", ""):
            briefing = replace(self.sender._briefing, options=Zone(egress=proxy))
            Sender(briefing, self.journal, self.clock)  # type: ignore[arg-type]
        self.assertIsInstance(outward[0], Proxied)
        self.assertEqual(outward[1:], [self.clock] * 2)

    def test_a_connection_that_never_was(self) -> None:
        sender = Sender(self.sender._briefing, self.journal, self.clock)  # type: ignore[arg-type]
        sender.leave(1, "refused")
        self.clock.advance(0)
        self.assertEqual((self.clock.stopped, sender.exit_code), (1, 1))
