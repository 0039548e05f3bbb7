"""Sites of domains: looked up a few at a time, remembered, and waited for no longer than is fit."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from relay.dispatch import sites as known_sites
from relay.dispatch.sites import (
    FAILURE_HOLDS,
    HOLDS,
    LOOK_UPS,
    PATIENCE,
    PROMPT,
    QUEUED,
    KnownSites,
)
from relay.net.dns import NoData, NoSuchDomain, NullMX, ServerFailure
from relay.zone.sites import Sites

GMAIL = [(5, "gmail-smtp-in.l.google.com"), (10, "alt1.gmail-smtp-in.l.google.com")]
YAHOO = [(1, "mta5.am0.yahoodns.net")]


class Fake:
    """A resolver that answers when told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.waiting: dict[str, Deferred[Any]] = {}
        self.most = 0

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        self.asked.append(domain)
        self.waiting[domain] = Deferred()
        self.most = max(self.most, len(self.waiting))
        try:
            found: list[tuple[int, str]] = await self.waiting[domain]
            return found
        finally:
            del self.waiting[domain]

    def answer(self, domain: str, with_: Any) -> None:
        if isinstance(with_, Exception):
            self.waiting[domain].errback(with_)
        else:
            self.waiting[domain].callback(with_)


class Ready:
    """A resolver that has every answer by heart."""

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        return GMAIL


class Case(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.dns = Fake()
        self.sites = self.knowing(self.dns)

    def knowing(self, resolver: Any) -> KnownSites:
        sites = KnownSites(Sites({}), resolver, self.clock)
        sites.found = self.told.append
        return sites

    def ask(self, domain: str) -> str | None:
        """What is known, and what is then begun."""
        known = self.sites.known(domain)
        self.clock.advance(0)
        return known

    def learn(self, domain: str, answer: Any) -> str | None:
        """As `ask`, when the look-up it begins has come to an end."""
        self.ask(domain)
        self.dns.answer(domain, answer)
        return self.sites.known(domain)


class Knowing(Case):
    def test_once_looked_up_it_is_known(self) -> None:
        self.assertIsNone(self.ask("a.example"))
        self.assertIsNone(self.ask("a.example"))
        self.assertEqual([], self.told)
        self.dns.answer("a.example", GMAIL)
        self.assertEqual(["a.example"], self.told)
        self.assertEqual("gmail", self.ask("a.example"))
        self.clock.advance(HOLDS - 1)
        self.assertEqual("gmail", self.ask("a.example"))
        self.assertEqual(["a.example"], self.dns.asked)

    def test_told_in_no_question(self) -> None:
        """An answer that is there at once is told in the next turn of the reactor."""
        self.sites = self.knowing(Ready())
        self.assertIsNone(self.sites.known("a.example"))
        self.assertEqual([], self.told)
        self.clock.advance(0)
        self.assertEqual(["a.example"], self.told)
        self.assertEqual("gmail", self.sites.known("a.example"))

    def test_a_literal_is_not_looked_up(self) -> None:
        for domain in ("[192.0.2.1]", "192.0.2.1"):
            self.assertEqual(domain, self.ask(domain))
        self.assertEqual(([], []), (self.dns.asked, self.told))

    def test_no_exchanger(self) -> None:
        """It is certain that there is none, and holds as long as another answer."""
        self.assertEqual("a.example", self.learn("a.example", NoData("a.example has no MX record")))
        self.clock.advance(HOLDS - 1)
        self.ask("a.example")
        self.assertEqual(["a.example"], self.dns.asked)

    def test_alike(self) -> None:
        """Those with the same exchangers and preferences, in any order and case; who has none is like nobody."""
        order = [(10, "ALT1.gmail-smtp-in.l.google.com."), (5, "gmail-smtp-in.l.google.com")]
        for domain, exchangers in (
            ("a.example", GMAIL), ("b.example", order), ("c.example", GMAIL[:1]), ("d.example", [(5, GMAIL[1][1])]),
            ("e.example", [(1, GMAIL[0][1]), (2, GMAIL[1][1])]), ("f.example", NoData("x")), ("g.example", NoData("x")),
        ):  # fmt: skip
            self.learn(domain, exchangers)
        self.assertTrue(self.sites.are_alike("a.example", "b.example"))
        for other in ("c.example", "d.example", "e.example", "f.example", "h.example"):
            self.assertFalse(self.sites.are_alike("a.example", other), other)
        for one in ("f.example", "h.example"):
            self.assertFalse(self.sites.are_alike(one, "g.example"))
        self.clock.advance(HOLDS)
        self.learn("b.example", ServerFailure("x"))
        self.assertTrue(self.sites.are_alike("a.example", "b.example"), "as it was, until another is found")
        self.clock.advance(FAILURE_HOLDS)
        self.learn("b.example", YAHOO)
        self.assertFalse(self.sites.are_alike("a.example", "b.example"))

    def test_failures(self) -> None:
        """Whatever the DNS says, mail has a site to go by; it is asked again before long."""
        for number, error in enumerate((NullMX("x"), NoSuchDomain("x"), ServerFailure("x"))):
            domain = f"{number}.example"
            self.assertEqual(domain, self.learn(domain, error))
            self.clock.advance(FAILURE_HOLDS - 1)
            self.ask(domain)
            self.assertEqual(1, self.dns.asked.count(domain))
            self.clock.advance(1)
            self.assertEqual(domain, self.ask(domain))
            self.assertEqual(2, self.dns.asked.count(domain))
            self.dns.answer(domain, GMAIL)
            self.assertEqual("gmail", self.sites.known(domain))
            self.assertEqual([domain, domain], self.told[-2:])

    def test_a_fault_of_ours_is_logged(self) -> None:
        self.assertEqual("a.example", self.learn("a.example", ZeroDivisionError()))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_whoever_is_told_may_fail(self) -> None:
        def found(domain: str) -> None:
            raise ZeroDivisionError

        self.sites = KnownSites(Sites({}), self.dns, self.clock)
        self.sites.found = found
        self.assertEqual("gmail", self.learn("a.example", GMAIL))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))


class Renewing(Case):
    def setUp(self) -> None:
        super().setUp()
        self.learn("a.example", GMAIL)
        self.clock.advance(HOLDS)

    def test_the_old_answer_serves_meanwhile(self) -> None:
        for _ in range(3):
            self.assertEqual("gmail", self.ask("a.example"))
        self.assertEqual(2, len(self.dns.asked))
        self.dns.answer("a.example", YAHOO)
        self.assertEqual("yahoo", self.ask("a.example"))
        self.assertEqual(["a.example", "a.example"], self.told)

    def test_the_same_again_is_not_told(self) -> None:
        self.assertEqual("gmail", self.learn("a.example", GMAIL))
        self.assertEqual(["a.example"], self.told)

    def test_a_failure_changes_nothing(self) -> None:
        self.assertEqual("gmail", self.learn("a.example", ServerFailure("x")))
        self.clock.advance(FAILURE_HOLDS)
        self.assertEqual("gmail", self.ask("a.example"))
        self.clock.advance(PATIENCE)
        self.assertEqual("gmail", self.ask("a.example"))
        self.assertEqual(["a.example"], self.told)
        self.assertEqual(3, len(self.dns.asked))


class Waiting(Case):
    def test_a_look_up_that_takes_too_long(self) -> None:
        self.ask("a.example")
        self.clock.advance(PATIENCE - 0.1)
        self.assertIsNone(self.ask("a.example"))
        self.clock.advance(0.1)
        self.assertEqual(["a.example"], self.told)
        self.assertEqual("a.example", self.ask("a.example"))
        self.assertEqual({}, self.dns.waiting)
        self.clock.advance(FAILURE_HOLDS - 1)
        self.ask("a.example")
        self.assertEqual(["a.example"], self.dns.asked)

    def test_a_few_at_a_time(self) -> None:
        """10,000 domains at once, each asked for twice: once each, LOOK_UPS at a time, first and last in turn."""
        domains = [f"{number}.example" for number in range(10_000)]
        for domain in domains + domains:
            self.assertIsNone(self.sites.known(domain))
        self.clock.advance(0)
        order = [domain for pair in zip(domains, reversed(domains), strict=True) for domain in pair][: len(domains)]
        self.assertEqual(order[:LOOK_UPS], self.dns.asked)
        while self.dns.waiting:
            self.dns.answer(next(iter(self.dns.waiting)), GMAIL)
            self.clock.advance(0)
        self.assertEqual(order, self.dns.asked)
        self.assertEqual(order, self.told)
        self.assertEqual(LOOK_UPS, self.dns.most)
        self.assertEqual({"gmail"}, set(map(self.sites.known, domains)))
        self.assertEqual([], self.clock.getDelayedCalls()[1:])
        self.assertEqual(({}, {}), (self.sites._prompt, self.sites._waiting))

    def test_answers_by_heart_do_not_fill_a_turn(self) -> None:
        """After every LOOK_UPS others have their turn."""
        at_turns: list[int] = []
        later = self.clock.callLater

        def call_later(seconds: float, call: Any, *args: Any) -> Any:
            if not seconds:
                at_turns.append(len(self.told))
            return later(seconds, call, *args)

        self.patch(self.clock, "callLater", call_later)
        self.sites = self.knowing(Ready())
        for number in range(3 * LOOK_UPS):
            self.sites.known(f"{number}.example")
        self.clock.advance(0)
        self.assertEqual([0, LOOK_UPS, 2 * LOOK_UPS], at_turns)
        self.assertEqual(3 * LOOK_UPS, len(self.told))

    def test_silent_name_servers_hold_up_nobody(self) -> None:
        """Thousands of domains hang, before and behind those of others: these find their site."""
        self.patch(known_sites, "LOOK_UPS", 50)
        self.patch(known_sites, "UNDER_WAY", 200)
        good = [f"{number}.good" for number in range(30)]
        crowd = [f"{number}.example" for number in range(1600)]
        for domain in crowd[:800] + good + crowd[800:]:
            self.assertIsNone(self.sites.known(domain))
        for _ in range(int(QUEUED / 0.1) - 1):
            self.clock.advance(0.1)
            for domain in [one for one in self.dns.waiting if one.endswith(".good")]:
                self.dns.answer(domain, GMAIL)
        self.assertEqual({"gmail"}, {self.ask(domain) for domain in good})
        self.assertEqual(200, self.dns.most)

    def test_who_is_not_answered_at_once_makes_room(self) -> None:
        for number in range(2 * LOOK_UPS):
            self.ask(f"{number}.example")
        self.clock.advance(PROMPT - 0.1)
        self.assertEqual(LOOK_UPS, len(self.dns.asked))
        self.dns.answer(self.dns.asked[0], GMAIL)
        self.clock.advance(0)
        self.assertEqual(LOOK_UPS + 1, len(self.dns.asked))
        self.clock.advance(0.1)
        self.assertEqual(2 * LOOK_UPS, len(self.dns.asked))

    def test_no_turn_for_long(self) -> None:
        """A domain in the midst of very many that hang goes as its own site meanwhile, and is put right later."""
        self.patch(known_sites, "UNDER_WAY", 10)
        for number in range(1000):
            self.ask("good.example" if number == 500 else f"{number}.example")
        self.clock.pump([1.0] * int(QUEUED - 1))
        self.assertIsNone(self.ask("good.example"))
        self.clock.advance(1)
        self.assertEqual("good.example", self.ask("good.example"))
        self.assertEqual(1, self.told.count("good.example"))
        while "good.example" not in self.dns.asked:
            self.clock.advance(PATIENCE)
        self.dns.answer("good.example", GMAIL)
        self.assertEqual("gmail", self.ask("good.example"))
        self.assertEqual(2, self.told.count("good.example"))
        self.assertEqual(1, self.dns.asked.count("good.example"))

    def test_stop(self) -> None:
        self.learn("known.example", GMAIL)
        for number in range(2 * LOOK_UPS):
            self.ask(f"{number}.example")
        self.sites.stop()
        self.assertEqual({}, self.dns.waiting)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual("gmail", self.ask("known.example"))
        self.assertEqual("new.example", self.ask("new.example"))
        self.assertEqual(["known.example"], self.told)
        self.assertEqual(1 + LOOK_UPS, len(self.dns.asked))

    def test_stop_by_whoever_is_told(self) -> None:
        self.sites = KnownSites(Sites({}), Ready(), self.clock)
        self.sites.found = lambda domain: self.sites.stop()
        for number in range(3):
            self.sites.known(f"{number}.example")
        self.clock.advance(0)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual("gmail", self.sites.known("0.example"))
        self.assertEqual("1.example", self.sites.known("1.example"))


class Bounds(Case):
    def setUp(self) -> None:
        super().setUp()
        self.patch(known_sites, "REMEMBERED", 3)

    def test_the_one_not_asked_for_longest_is_forgotten(self) -> None:
        for name in "abc":
            self.learn(name, GMAIL)
        self.sites.known("a")
        self.learn("d", GMAIL)
        self.assertEqual(["gmail", "gmail", "gmail"], [self.sites.known(name) for name in "acd"])
        self.assertIsNone(self.sites.known("b"))

    def test_a_full_queue(self) -> None:
        """What finds no place is its own site, and not for good."""
        for name in "abc":
            self.assertIsNone(self.sites.known(name))
        self.assertEqual("d", self.sites.known("d"))
        self.clock.advance(0)
        self.assertIsNone(self.sites.known("d"))

    def test_forgotten_while_it_is_looked_up(self) -> None:
        """It waits no longer than another."""
        self.learn("a", GMAIL)
        self.clock.advance(HOLDS)
        self.assertEqual("gmail", self.ask("a"))
        for name in "bcd":
            self.learn(name, GMAIL)
        self.assertIsNone(self.ask("a"))
        self.clock.advance(PATIENCE)
        self.assertEqual("a", self.ask("a"))
