"""The day's round of TLS reports: counted, closed at midnight, told, tried again, over restarts and crashes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from relay.message.tls import REPORTS, TlsPolicy, TlsResult
from relay.net.dns import NoData, NoSuchDomain, ServerFailure, TimedOut
from relay.smtp.reply import reply
from relay.tlsrpt import reporter
from relay.tlsrpt.courier import Courier, NotTaken
from relay.tlsrpt.period import GAPS
from relay.tlsrpt.record import Url
from relay.tlsrpt.report import Author, Report, Span
from relay.tlsrpt.reporter import AT_ONCE, DAY, EVERY, MOST_PERIODS, SPREAD, Reporter
from tests.unit.fake_intake import FakeIntake

AUTHOR = Author("Sender", "postmaster@from.test", "tls-reports@from.test", "from.test")
#: 2026-11-26, midnight UTC (ms).
MIDNIGHT = 1795651200_000
NOON = MIDNIGHT + DAY // 2
TODAY = Span(NOON, MIDNIGHT + DAY)
BOX, WEB = "mailto:reports@to.test", "https://reports.to.test/"


class FakeCourier:
    """Takes everything down, and does as `fate` says of what it is given: a domain, or a URI."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.delivered: list[tuple[str, str, Span]] = []
        self.reports: list[Report] = []
        self.uris: dict[str, list[str]] = {"to.test": [BOX]}
        self.fate: dict[str, Any] = {}
        self.busy = self.most = 0

    async def wanted(self, domain: str) -> list[str]:
        self.asked.append(domain)
        await self._meet(domain)
        return self.uris.get(domain, [])

    async def deliver(self, report: Report, uri: str) -> None:
        await self._meet(uri)
        self.delivered.append((report.domain, uri, report.span))
        self.reports.append(report)

    async def _meet(self, what: str) -> None:
        fate = self.fate.get(what)
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            if isinstance(fate, Deferred):
                await fate
            elif fate is not None:
                raise fate
        finally:
            self.busy -= 1


class Rounds(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.offset = NOON
        self.courier = FakeCourier()
        self.reporter = self.begin()

    def now(self) -> int:
        return self.offset + round(self.clock.seconds() * 1000)

    def begin(self) -> Reporter:
        """A relay that starts on what is on disk."""
        reporter = Reporter(
            AUTHOR, self.courier, self.path, self.clock, self.now, maybeDeferred, Random(1)  # type: ignore[arg-type]
        )
        reporter.start()
        self.addCleanup(reporter.stop)
        return reporter

    def count(self, *domains: str, failure: Any = "", times: int = 1) -> None:
        self.reporter.count([(TlsResult(TlsPolicy(domain), failure), times) for domain in domains or ("to.test",)])

    def wait(self, ms: float) -> None:
        """Time passes, with all that happens in it."""
        left = ms / 1000
        while left > 0:
            self.clock.advance(min(left, EVERY))
            left -= EVERY

    def to_midnight(self) -> None:
        self.wait(MIDNIGHT + DAY - self.now())

    def test_a_day(self) -> None:
        self.count(times=3)
        self.count(failure="certificate-expired")
        self.to_midnight()
        self.assertEqual((self.courier.asked, self.reporter.listed("", 9)), ([], []))
        self.assertEqual(self.reporter.waiting(), [(TODAY, 1)])
        self.wait(SPREAD + EVERY * 1000)
        self.assertEqual(self.courier.asked, ["to.test"])
        self.assertEqual(self.courier.delivered, [("to.test", BOX, TODAY)])
        self.assertEqual(self.reporter.waiting(), [])
        [sent] = self.reporter.sent()
        self.assertEqual((sent.domain, sent.uri, sent.error), ("to.test", BOX, ""))
        self.wait(3 * DAY)
        self.assertEqual(len(self.courier.delivered), 1)

    def test_what_comes_after_midnight_is_of_the_next_day(self) -> None:
        """Also when nothing has looked at the clock since."""
        self.count(times=3)
        self.offset += DAY
        self.count(times=5)
        counts = self.reporter.report("to.test")
        assert counts is not None
        self.assertEqual(counts.span.begin, MIDNIGHT + DAY)
        self.assertEqual([sum(kinds.values()) for kinds in counts.counts.values()], [5])

    def test_reports_are_spread_over_hours(self) -> None:
        names = [f"{number}.test" for number in range(40)]
        self.count(*names)
        self.to_midnight()
        self.wait(SPREAD / 2)
        self.assertTrue(5 < len(self.courier.asked) < 35, len(self.courier.asked))
        self.wait(SPREAD / 2 + EVERY * 1000)
        self.assertEqual(sorted(self.courier.asked), sorted(names))

    def test_a_domain_that_asks_for_none_is_forgotten(self) -> None:
        self.count("silent.test")
        self.reporter.send()
        self.wait(DAY)
        self.assertEqual((self.courier.asked, self.courier.delivered), (["silent.test"], []))
        self.assertEqual((self.reporter.waiting(), self.reporter.sent()), ([], []))

    def test_now(self) -> None:
        """An operator's wish closes the day where it stands; the rest of it gets a report of its own."""
        self.assertEqual(self.reporter.send(), 0)
        self.count()
        self.wait(1000)
        self.assertEqual(self.reporter.send(), 1)
        self.assertEqual(self.courier.delivered, [("to.test", BOX, Span(NOON, self.now()))])
        begin = self.now()
        self.count()
        self.to_midnight()
        self.wait(SPREAD + EVERY * 1000)
        self.assertEqual(self.courier.delivered[1:], [("to.test", BOX, Span(begin, MIDNIGHT + DAY))])

    def test_now_hastens_what_waits(self) -> None:
        self.count()
        self.to_midnight()
        self.assertEqual(self.courier.delivered, [])
        self.assertEqual(self.reporter.send(), 1)
        self.assertEqual(self.courier.delivered, [("to.test", BOX, TODAY)])

    def test_several_destinations_each_on_its_own(self) -> None:
        self.courier.uris["to.test"] = [BOX, WEB]
        self.courier.fate[BOX] = NotTaken("452 4.3.1 later")
        self.count()
        self.reporter.send()
        self.assertEqual([uri for _, uri, _ in self.courier.delivered], [WEB])
        self.courier.fate.clear()
        self.wait(GAPS[0] + EVERY * 1000)
        self.assertEqual([uri for _, uri, _ in self.courier.delivered], [WEB, BOX])
        self.assertEqual(self.courier.asked, ["to.test"], "its record is looked up once")

    def test_it_is_tried_for_a_day_with_growing_gaps(self) -> None:
        self.courier.uris["to.test"] = [WEB]
        self.courier.fate[WEB] = NotTaken("reports.to.test answers 503")
        tries: list[int] = []
        meet = self.courier._meet

        async def counted(what: str) -> None:
            if what == WEB:
                tries.append(self.now())
            await meet(what)

        self.courier._meet = counted  # type: ignore[method-assign]
        self.count()
        self.reporter.send()
        with capturedLogs() as logs:
            self.wait(2 * DAY)
        gaps = [later - earlier for earlier, later in pairwise(tries)]
        self.assertEqual(len(gaps), len(GAPS))
        self.assertTrue(all(gap <= real <= gap + EVERY * 1000 for gap, real in zip(GAPS, gaps, strict=True)), gaps)
        self.assertLessEqual(tries[-1] - tries[0], DAY)
        self.assertEqual([sent.error for sent in self.reporter.sent()], ["reports.to.test answers 503"])
        self.assertIn("answers 503", str([event.get("error") for event in logs]))
        self.assertEqual(self.reporter.waiting(), [])

    def test_a_refusal_for_good_is_the_end(self) -> None:
        self.courier.fate[BOX] = NotTaken("550 5.1.1 no", final=True)
        self.count()
        self.reporter.send()
        self.assertEqual([sent.error for sent in self.reporter.sent()], ["550 5.1.1 no"])
        self.assertEqual(self.reporter.waiting(), [])

    def test_a_record_that_nobody_can_tell_is_asked_for_again(self) -> None:
        self.courier.fate["to.test"] = NotTaken("no name server answered")
        self.count()
        self.reporter.send()
        self.assertEqual(self.reporter.waiting(), [(Span(NOON, self.now() + 1), 1)])
        self.courier.fate.clear()
        self.wait(GAPS[0] + EVERY * 1000)
        self.assertEqual(len(self.courier.delivered), 1)

    def test_a_fault_of_ours_stops_no_other(self) -> None:
        self.courier.fate["bad.test"] = ZeroDivisionError()
        self.count("bad.test", "to.test")
        self.reporter.send()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.courier.delivered), 1)
        self.assertEqual(sum(domains for _, domains in self.reporter.waiting()), 1)

    def test_no_more_than_some_to_one_mailbox(self) -> None:
        """Whoever has many domains sets the relay on nobody."""
        self.patch(reporter, "MOST_TO_ONE", 3)
        names = [f"{number}.test" for number in range(5)]
        for name in names:
            self.courier.uris[name] = [f"mailto:Victim+{name}@x.test", f"https://reports.{name}/"]
        for _ in range(2):
            self.count(*names)
            with capturedLogs() as logs:
                self.reporter.send()
            self.clock.advance(EVERY)
            uris = [uri for _, uri, _ in self.courier.delivered]
            self.assertEqual(len([uri for uri in uris if uri.startswith("mailto:")]), 3)
            self.assertEqual(len([uri for uri in uris if uri.startswith("https:")]), 5)
            said = [log for log in logs if log.get("place") == "victim@x.test"]
            self.assertEqual(len(said), 1)
            self.assertEqual(self.reporter.waiting(), [])
            self.courier.delivered.clear()

    def test_a_clock_that_was_ahead(self) -> None:
        """What it began then would be over in years."""
        self.offset += 400 * DAY
        self.clock.advance(EVERY)
        self.offset -= 400 * DAY
        self.clock.advance(EVERY)
        self.count()
        self.to_midnight()
        self.wait(SPREAD)
        self.assertEqual([domain for domain, _, _ in self.courier.delivered], ["to.test"])

    def test_no_more_than_some_at_once(self) -> None:
        gates = {f"{number}.test": Deferred[None]() for number in range(3 * AT_ONCE)}
        self.courier.fate.update(gates)
        self.count(*gates)
        self.reporter.send()
        self.assertEqual((self.courier.most, len(self.courier.asked)), (AT_ONCE, AT_ONCE))
        self.wait(EVERY * 2000)
        self.assertEqual(len(self.courier.asked), AT_ONCE)
        for gate in gates.values():
            gate.callback(None)
        self.assertEqual((self.courier.most, len(self.courier.asked)), (AT_ONCE, len(gates)))

    # -- restarts

    def restart(self) -> None:
        self.reporter.stop()
        self.reporter = self.begin()

    def test_a_restart_loses_nothing_of_the_day(self) -> None:
        self.count(times=3, failure="certificate-expired")
        self.restart()
        self.count(times=4, failure="certificate-expired")
        self.to_midnight()
        self.restart()
        self.wait(SPREAD + EVERY * 1000)
        [report] = self.courier.reports
        self.assertEqual(report.span, TODAY)
        self.assertEqual([sum(kinds.values()) for kinds in report.counts.values()], [7])

    def test_a_crash_loses_half_a_minute(self) -> None:
        self.count(times=3)
        self.wait(EVERY * 1000)
        self.count(times=4)
        after = self.begin()
        report = after.report("to.test")
        assert report is not None
        self.assertEqual([sum(kinds.values()) for kinds in report.counts.values()], [3])

    def test_what_was_sent_isnt_sent_again(self) -> None:
        """Not even when the relay has crashed a moment later; and what wasn't is."""
        self.courier.uris["to.test"] = [BOX, WEB]
        self.courier.fate[WEB] = NotTaken("down")
        self.count()
        self.reporter.send()
        self.wait(2000)
        self.reporter = self.begin()
        self.assertEqual([sent.uri for sent in self.reporter.sent()], [BOX])
        self.courier.fate.clear()
        self.reporter.send()
        self.assertEqual([uri for _, uri, _ in self.courier.delivered], [BOX, WEB])

    def test_a_stop_in_the_midst_of_a_report(self) -> None:
        self.courier.fate[BOX] = Deferred()
        self.count()
        self.reporter.send()
        self.reporter.stop()
        self.assertEqual(self.courier.busy, 0)
        del self.courier.fate[BOX]
        self.reporter = self.begin()
        self.wait(EVERY * 1000)
        self.assertEqual(len(self.courier.delivered), 1)

    def test_a_relay_that_was_off_for_days(self) -> None:
        """The day it stopped on is told late, with the counts and the end it had."""
        self.count()
        self.reporter.stop()
        self.offset += 3 * DAY
        self.reporter = self.begin()
        self.wait(EVERY * 1000)
        self.assertEqual(self.courier.delivered, [("to.test", BOX, TODAY)])
        self.assertEqual(self.reporter.since, MIDNIGHT + 3 * DAY)

    def test_days_that_cant_be_told_are_given_up_aloud(self) -> None:
        self.courier.fate["to.test"] = Deferred()
        with capturedLogs() as logs:
            for _ in range(MOST_PERIODS + 2):
                self.count()
                self.wait(1000)
                self.reporter.send()
        self.assertEqual(len(self.reporter.waiting()), MOST_PERIODS)
        self.assertEqual([event["count"] for event in logs if "given up" in event.get("log_format", "")], [1, 1])

    def test_a_file_that_is_none(self) -> None:
        self.count()
        self.reporter.stop()
        odd = b'[1,0,[[["to.test","odd"],[]]],[],[]]'
        for data in (b"", b"{", b"[]", b"[1,2,3,4,5]", odd, b"\xff", b"[" * 100_000):
            self.path.write_bytes(data)
            self.reporter = self.begin()
            self.assertEqual(self.reporter.listed("", 9), [], data[:20])
            self.reporter.stop()

    def test_too_many_domains_are_said(self) -> None:
        self.reporter._today.most_domains = 1
        self.count("to.test", "other.test", times=7)
        self.assertEqual((self.reporter.listed("", 9), self.reporter.passed_over), (["to.test"], 7))
        with capturedLogs() as logs:
            self.reporter.send()
        self.assertIn(7, [event.get("count") for event in logs])


class FakeResolver:
    def __init__(self) -> None:
        self.answer: Any = ["v=TLSRPTv1; rua=mailto:reports@to.test,https://reports.to.test/x"]
        self.asked: list[str] = []

    async def txt(self, name: str) -> list[str]:
        self.asked.append(name)
        if isinstance(self.answer, Exception):
            raise self.answer
        return list(self.answer)


class FakePoster:
    def __init__(self) -> None:
        self.posted: list[tuple[Url, bytes]] = []

    async def post(self, url: Url, packed: bytes) -> None:
        self.posted.append((url, packed))


class Couriers(SynchronousTestCase):
    def setUp(self) -> None:
        self.intake = FakeIntake()
        self.resolver, self.poster = FakeResolver(), FakePoster()
        self.courier = Courier(self.intake, self.resolver, self.poster, maybeDeferred)
        self.report = Report(AUTHOR, "to.test", TODAY, {})

    def run_(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work))

    def fails(self, work: Any) -> NotTaken:
        error = self.failureResultOf(Deferred.fromCoroutine(work), NotTaken).value
        assert isinstance(error, NotTaken)
        return error

    def test_what_a_domain_wants(self) -> None:
        self.assertEqual(
            self.run_(self.courier.wanted("to.test")), ["mailto:reports@to.test", "https://reports.to.test/x"]
        )
        self.assertEqual(self.resolver.asked, ["_smtp._tls.to.test"])
        for answer in (NoData("x"), NoSuchDomain("x"), [], ["v=spf1"]):
            self.resolver.answer = answer
            self.assertEqual(self.run_(self.courier.wanted("to.test")), [])
        for answer in (TimedOut("no answer"), ServerFailure("no answer")):
            self.resolver.answer = answer
            error = self.fails(self.courier.wanted("to.test"))
            self.assertEqual((str(error), error.final), ("no answer", False))

    def test_by_mail(self) -> None:
        """As mail of the relay's own: by the zone for such, from nobody, with the mark by which it goes in any case."""
        self.run_(self.courier.deliver(self.report, "mailto:reports@to.test"))
        [submission] = self.intake.submissions
        self.assertEqual(submission.origin.listener, REPORTS)
        self.assertEqual((submission.sender, submission.recipients), ("", ["reports@to.test"]))
        assert submission.user is not None
        self.assertEqual((submission.user.name, submission.user.zone), ("", "bounces"))
        self.assertIn(self.report.packed()[:20], _attached(submission.text))

    def test_by_https(self) -> None:
        self.run_(self.courier.deliver(self.report, "https://reports.to.test/x"))
        self.assertEqual(
            self.poster.posted,
            [(Url("https://reports.to.test/x", "reports.to.test", 443, "/x"), self.report.packed())],
        )

    def test_mail_that_the_queue_refuses(self) -> None:
        for code, final in ((452, False), (554, True)):
            self.intake.refusal = reply(code, "no")
            error = self.fails(self.courier.deliver(self.report, "mailto:reports@to.test"))
            self.assertEqual((str(error), error.final), (f"{code} no", final))

    def test_to_stop_waiting_undoes_nothing(self) -> None:
        self.intake.at_once = False
        work = Deferred.fromCoroutine(self.courier.deliver(self.report, "mailto:reports@to.test"))
        work.cancel()
        self.failureResultOf(work, CancelledError)
        [submission] = self.intake.taken
        assert submission.finished is not None
        self.assertFalse(submission.finished.called)
        submission.commit()

    def test_what_was_no_destination_when_it_was_kept(self) -> None:
        self.assertTrue(self.fails(self.courier.deliver(self.report, "gopher://to.test")).final)


def _attached(text: bytes) -> bytes:
    import email

    attached = email.message_from_bytes(text).get_payload()[1]  # type: ignore[index]
    data: bytes = attached.get_payload(decode=True)  # type: ignore[union-attr,assignment]
    return data
