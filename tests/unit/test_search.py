"""Looking for deliveries: every way gives what a look at each of them gives, on pages that are short and leave nothing
out."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Queue
from relay.events.steps import Steps
from relay.message.values import Delivery, Message
from relay.queue.filter import Filter, Found, State, fits_message, fits_row
from relay.queue.leases import Leases
from relay.queue.memory import MemoryStore
from relay.queue.retry import Retry
from relay.queue.schedule import Schedule
from relay.queue.search import BadCursor, Cursor, Search
from relay.queue.sources import Spot, first_id
from relay.queue.store import Store
from tests.unit.store_rig import OnDisk, message

NOW = 1_700_000_000_000
HOUR = 3_600_000
STEPS = Steps(True, lambda: NOW)
SITES = {"a.test": "mx.one", "b.test": "mx.one", "c.test": "c.test"}


def id_at(number: int, age: int = 0) -> str:
    return f"{(NOW - age * HOUR) * 4096 + number:014x}beef"


#: One mail: hours of age, sender, tenant, tags, Message-ID, and its deliveries: zone, recipient, state, reason, flow.
_RECIPIENTS = st.sampled_from(["x@a.test", "X@a.test", "y@b.test", "z@c.test"])
_ROWS = st.tuples(
    st.sampled_from(["one", "two"]),
    _RECIPIENTS,
    st.sampled_from(State),
    st.sampled_from(["", "capacity", "dns"]),
    st.sampled_from(["", "0ann"]),
)
MAILS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 30]),
        st.sampled_from(["", "ann@s.test", "Bob@S.test"]),
        st.sampled_from(["", "acme", "other"]),
        st.sets(st.sampled_from(["news", "spring"])),
        st.sampled_from(["", "<1@s.test>", "<2@s.test>"]),
        st.lists(_ROWS, min_size=1, max_size=4),
    ),
    max_size=12,
)
FILTERS = st.builds(
    Filter,
    zone=st.sampled_from(["", "", "one", "Two", "none"]),
    domain=st.sampled_from(["", "", "a.test", "B.test"]),
    site=st.sampled_from(["", "", "mx.one", "C.test"]),
    sender=st.sampled_from([None, None, "", "ann@s.test", "bob@s.test", "@s.test"]),
    recipient=st.sampled_from(["", "", "x@a.test", "@b.test"]),
    tenant=st.sampled_from(["", "", "acme", "Acme"]),
    tag=st.sampled_from(["", "", "news"]),
    message_id=st.sampled_from([None, None, "<1@S.test>", ""]),
    state=st.sampled_from([None, None, *State]),
    reason=st.sampled_from(["", "", "dns"]),
    since=st.sampled_from([0, 0, NOW - 2 * HOUR]),
    until=st.sampled_from([1 << 52, 1 << 52, NOW - HOUR // 2]),
    id=st.sampled_from(["", "", "", id_at(1)]),
)


class Case:
    """Mixed into a TestCase that sets `store` and `done`."""

    store: Store
    assertEqual: Any
    assertTrue: Any

    def done(self, deferred: Deferred[Any]) -> None:
        raise NotImplementedError

    def begin(self) -> None:
        self.clock = Clock()
        self.schedule = Schedule(self.store, Retry(Queue()), self.clock, lambda: NOW, 1 << 30)
        self.leases = Leases(1)
        self.search = Search(
            self.store, self.schedule, self.leases.names, lambda zone, domain: SITES.get(domain, ""), lambda: NOW
        )
        self.mails: list[tuple[Message, Delivery, State]] = []

    def put(self, number: int, mail: tuple[Any, ...]) -> None:
        age, sender, tenant, tags, message_id, rows = mail
        queue_id = id_at(number, age)
        found = replace(
            message(number, recipients=len(rows), sender=sender), id=queue_id, created=NOW - age * HOUR + 5,
            tenant=tenant, tags=tuple(sorted(tags)), message_id=message_id,
        )  # fmt: skip
        deliveries = []
        for seq, (zone, recipient, state, _, flow) in enumerate(rows, 1):
            due = NOW + 60_000 if state is State.DEFERRED else NOW - 1000
            deliveries.append(Delivery(queue_id, seq, zone, recipient.partition("@")[2], recipient, due, flow=flow))
        self.done(self.store.append(found, deliveries, b"body", b"", STEPS.queued(found, deliveries)))
        for row, (_, _, state, reason, _) in zip(deliveries, rows, strict=True):
            new = row
            if reason:
                new = replace(new, category=reason, attempts=1, first_failure=NOW)
            if state is State.HELD:
                new = replace(new, held="why")
            if new is not row:
                self.done(self.store.change(row, new))
            if state is State.SENDING:
                work = self.schedule.claim(found, new)
                assert work is not None
                self.leases.grant(work, "child", 1, 0.0)
            self.mails.append((found, new, state))

    def forget(self) -> None:
        for mail, row, _ in self.mails:
            self.done(self.store.finish(mail, row))

    def found(self, wanted: Filter, limit: int, looks: int) -> list[Found]:
        """Page after page; each cursor goes through the hands of a client."""
        found: list[Found] = []
        cursor = None
        for _ in range(10_000):
            page = self.search.page(wanted, cursor, limit, looks)
            self.assertTrue(len(page.found) <= limit)
            found += page.found
            if page.next is None:
                return found
            cursor = msgspec.json.decode(msgspec.json.encode(page.next), type=Cursor)
        raise AssertionError("a search without end")

    def check(self, mails: list[tuple[Any, ...]], wanted: Filter, limit: int, looks: int) -> None:
        self.begin()
        for number, mail in enumerate(mails, 1):
            self.put(number, mail)
        expected = sorted(
            row.name
            for mail, row, state in self.mails
            if fits_row(wanted, row, state, SITES[row.domain]) and fits_message(wanted, mail)
        )
        found = self.found(wanted, limit, looks)
        self.assertEqual(sorted(one.row.name for one in found), expected)
        states = {row.name: state for _, row, state in self.mails}
        self.assertEqual([one.state for one in found], [states[one.row.name] for one in found])
        # Along each way there is, whatever the first choice.
        for way in self.search._ways(wanted):
            first = Search._begin
            try:
                Search._begin = lambda self, ways, way=way: (way, None)  # type: ignore[assignment, misc]
                others = self.found(wanted, limit, looks)
            finally:
                Search._begin = first  # type: ignore[method-assign]
            self.assertEqual(sorted(one.row.name for one in others), expected, way)
        self.forget()


class InMemory(SynchronousTestCase, Case):
    def setUp(self) -> None:
        self.store = MemoryStore()

    def done(self, deferred: Deferred[Any]) -> None:
        self.successResultOf(deferred)

    @settings(max_examples=150, deadline=None)
    @given(MAILS, FILTERS, st.integers(1, 5), st.integers(1, 9))
    def test_pages_together_are_what_a_look_at_each_gives(
        self, mails: list[Any], wanted: Filter, limit: int, looks: int
    ) -> None:
        self.check(mails, wanted, limit, looks)

    def test_what_is_asked_for_decides_the_way(self) -> None:
        self.begin()
        rows = [("one", "x@a.test", State.QUEUED, "", "")] * 300
        self.put(1, (0, "ann@s.test", "acme", {"news"}, "<1@s.test>", rows))
        self.put(2, (0, "bob@s.test", "acme", set(), "", [("two", "y@b.test", State.QUEUED, "", "")]))
        for wanted, way in (
            (Filter(), "age"),
            (Filter(sender="@s.test"), "age"),
            (Filter(zone="one"), "zone"),
            (Filter(domain="a.test", sender="bob@s.test"), "sender"),
            (Filter(domain="b.test", sender="ann@s.test"), "domain"),
            (Filter(tenant="acme", tag="news"), "tag"),
            (Filter(tenant="acme", state=State.HELD), "held"),
            (Filter(id=id_at(2), zone="one"), "message"),
            (Filter(state=State.SENDING, tenant="acme"), "sending"),
        ):
            self.assertEqual(self.search._begin(self.search._ways(wanted))[0], way, wanted)

    def test_a_page_may_be_empty_and_not_the_last(self) -> None:
        self.begin()
        for number in range(1, 50):
            self.put(number, (0, "ann@s.test", "", set(), "", [("one", "x@a.test", State.QUEUED, "", "")]))
        self.put(50, (0, "ann@t.test", "", set(), "", [("one", "x@a.test", State.QUEUED, "", "")]))
        page = self.search.page(Filter(sender="@t.test"), None, 10, 20)
        self.assertEqual(page.found, [])
        self.assertTrue(page.next)
        self.assertEqual([one.row.id for one in self.found(Filter(sender="@t.test"), 10, 20)], [id_at(50)])

    def test_a_cursor_is_of_its_search_alone(self) -> None:
        self.begin()
        for way, place in (
            ("nonsense", None),
            ("tag", Spot(0, id_at(1), 1)),
            ("age", ["x"]),
            ("age", [0, "0" * 17 + "g", 1]),
            ("age", [0, id_at(1), -1]),
            ("age", [0, id_at(1), 1 << 32]),
            ("zone", ["a\0b", "x", ""]),
            ("zone", [0, ["one", "a.test", "", 1 << 60, id_at(1), 1]]),
            ("zone", [2, None]),
        ):
            with self.assertRaises(BadCursor):
                self.search.page(Filter(zone="one"), Cursor(way, place), 10, 10)

    def test_an_id_for_each_time(self) -> None:
        self.assertEqual(first_id(NOW), f"{NOW * 4096:014x}0000")
        self.assertTrue(first_id(0) < id_at(1) < first_id(1 << 52))
        self.assertEqual(len(first_id(1 << 52)), 18)


class OnLevel(OnDisk, Case):
    @settings(max_examples=15, deadline=None)
    @given(MAILS, FILTERS, st.integers(1, 5), st.integers(1, 9))
    def test_pages_together_are_what_a_look_at_each_gives(
        self, mails: list[Any], wanted: Filter, limit: int, looks: int
    ) -> None:
        self.check(mails, wanted, limit, looks)
