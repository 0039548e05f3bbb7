"""The list itself: whom an entry is about, looking up, changing, what is over."""

from __future__ import annotations

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.address import parse
from relay.suppression import keys, whom
from relay.suppression.entry import Entry, fit_reason
from relay.suppression.ids import Ids
from tests.unit.journey_rig import a_clock, milliseconds
from tests.unit.suppression_rig import FakeShelf, a_list

DAY = 86_400_000
locals_ = st.from_regex(r"\A[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\u2fff-]{1,15}(\.[A-Za-z\u00c0-\u024f]{1,9})?\Z")
quoted = st.from_regex(r'\A"([ !#-\[\]-~]|\\[ -~]){0,20}"\Z')


class Whom(SynchronousTestCase):
    def test_one_spelling(self) -> None:
        for text, wanted in (
            ("User@Example.COM", "user@example.com"),
            (' "john.DOE"@example.com', "john.doe@example.com"),
            ('"a\\b c"@example.com', '"ab c"@example.com'),
            ('"a\\"b"@example.com', '"a\\"b"@example.com'),
            ("x@b\u00fccher.example", "x@xn--bcher-kva.example"),
            ("J\u00d6RG@example.com", "j\u00f6rg@example.com"),
            ("jo\u0308rg@example.com", "j\u00f6rg@example.com"),
            ("x@[IPv6:2001:DB8:0::1]", "x@[ipv6:2001:db8::1]"),
        ):
            self.assertEqual(whom.address(text), wanted)
        self.assertEqual(whom.domain("[IPv6:2001:DB8::1]"), "[ipv6:2001:db8::1]")
        self.assertEqual(whom.domain("@B\u00fccher.Example"), "xn--bcher-kva.example")
        for bad in ("", "@", "a b@example.com", "x@", "x@-a.example", "a@b\r\n@example.com"):
            self.assertRaises(ValueError, whom.address, bad)
        for bad in ("", "a b", "a@b.example", "x..example", "\0.example"):
            self.assertRaises(ValueError, whom.domain, bad)

    @settings(max_examples=60)
    @given(st.one_of(locals_, quoted))
    def test_idempotent(self, local: str) -> None:
        """What was made comparable stays as it is, and a recipient is found by what was written down of it."""
        local = unicodedata.normalize("NFC", local)
        try:
            parsed = parse(f"{local}@Example.com", utf8=True).text
        except ValueError:
            return
        made = whom.mailbox(parsed)
        self.assertEqual(whom.mailbox(made), made)
        self.assertEqual(whom.address(parsed), made)
        self.assertEqual(whom.address(f" {unicodedata.normalize('NFD', local)}@EXAMPLE.COM"), made)


class Listed(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = a_clock()
        self.shelf = FakeShelf()
        self.list = a_list(self.shelf, self.clock)
        self.now = milliseconds(self.clock)

    def add(self, about: str, **fields: object) -> Entry:
        return self.successResultOf(self.list.add(Entry(about, **fields))).entry  # type: ignore[arg-type]

    def found(self, user: str, recipient: str) -> str:
        stop = self.list.find(user, recipient)
        return "" if stop is None else stop.id

    def test_empty_costs_nothing(self) -> None:
        reads = self.shelf.reads
        self.assertIsNone(self.list.find("ann", "x@example.com"))
        self.assertEqual(self.shelf.reads, reads)

    def test_addresses_domains_tenants(self) -> None:
        one = self.add("x@example.com").id
        mine = self.add("y@example.com", tenant="ann").id
        whole = self.add("gone.example").id
        hers = self.add("late.example", tenant="ann").id
        for user, recipient, wanted in (
            ("", "X@example.com", one),
            ("Ann", "x@example.com", one),
            ("", "y@example.com", ""),
            ("ANN", "Y@example.com", mine),
            ("bob", "y@example.com", ""),
            ("", "who@gone.example", whole),
            ("", "who@[IPv6:2001:DB8::1]", ""),
            ("", "who@sub.gone.example", ""),
            ("ann", "who@late.example", hers),
            ("bob", "who@late.example", ""),
            ("", "gone.example@example.com", ""),
        ):
            self.assertEqual(self.found(user, recipient), wanted, (user, recipient))
        self.assertEqual(self.list.count, 4)
        self.assertEqual([one.id for one in self.list.listed("")], [hers, whole, mine, one])
        self.assertEqual([one.id for one in self.list.listed(whole, 1)], [mine])

    def test_known_after_a_restart(self) -> None:
        old = [self.add(f"x{n}@example.com").id for n in range(3)]
        again = a_list(self.shelf, self.clock)
        self.assertEqual(again.count, 3)
        stop = again.find("", "X1@example.com")
        assert stop is not None
        self.assertEqual(stop, ("x1@example.com", "", old[1]))
        self.assertEqual((again.told(stop).id, again.told(stop).created), (old[1], self.now()))
        self.assertGreater(self.successResultOf(again.add(Entry("new.example"))).entry.id, max(old))

    def test_found_by_one_read_told_by_another(self) -> None:
        entry = self.add("x@example.com", tenant="ann", reason="asked for it")
        reads = self.shelf.reads
        stop = self.list.find("Ann", "x@example.com")
        assert stop is not None
        self.assertEqual(self.shelf.reads, reads + 1)
        self.assertEqual(self.list.told(stop), entry)
        self.successResultOf(self.list.remove(entry.id))
        self.assertEqual(self.list.told(stop), Entry("x@example.com", "ann", id=entry.id))

    def test_replaced_and_removed(self) -> None:
        first = self.add("x@example.com", reason="one")
        self.clock.advance(5)
        second = self.add("x@example.com", reason="two", expires=self.now() + DAY)
        self.assertEqual((second.id, second.created, second.reason), (first.id, first.created, "two"))
        self.assertEqual(self.list.count, 1)
        weak = self.successResultOf(self.list.add(Entry("x@example.com", expires=self.now() + 5), weakly=True))
        self.assertEqual((weak.entry, weak.changed), (second, False))
        same = self.successResultOf(self.list.add(second))
        self.assertFalse(same.changed)
        self.assertTrue(self.successResultOf(self.list.add(Entry("x@example.com"), weakly=True)).changed)
        self.assertEqual(self.successResultOf(self.list.remove(first.id)).whom, "x@example.com")  # type: ignore[union-attr]
        self.assertIsNone(self.successResultOf(self.list.remove(first.id)))
        self.assertEqual((self.list.count, self.found("", "x@example.com")), (0, ""))
        self.add("example.com", tenant="ann")
        self.assertIsNone(self.successResultOf(self.list.remove_exact("", "example.com")))
        self.assertIsNotNone(self.successResultOf(self.list.remove_exact("ann", "example.com")))
        self.assertEqual(self.shelf.kept, {b"n": bytes(8)})

    def test_over_at_once_and_swept(self) -> None:
        stays = self.add("y@example.com").id
        ends = self.add("x@example.com", expires=self.now() + 1000)
        self.assertEqual(self.found("", "x@example.com"), ends.id)
        self.clock.advance(1)
        self.assertEqual(self.found("", "x@example.com"), "")
        self.assertIsNone(self.list.exact("", "x@example.com"))
        self.assertEqual(self.list.count, 2)
        self.assertEqual(self.successResultOf(self.list.sweep()), 1)
        self.assertEqual(self.successResultOf(self.list.sweep()), 0)
        self.assertEqual((self.list.count, [one.id for one in self.list.listed("")]), (1, [stays]))
        self.assertEqual(len(self.shelf.kept), 3)

    def test_one_that_is_over_is_begun_anew(self) -> None:
        old = self.add("x@example.com", expires=self.now() + 1000)
        self.clock.advance(1)
        new = self.add("x@example.com", expires=self.now() + 1000)
        self.assertNotEqual((new.id, new.created), (old.id, old.created))
        self.assertEqual((self.list.count, self.successResultOf(self.list.sweep())), (1, 0))

    def test_changes_take_turns(self) -> None:
        """Two for one address are one entry, though neither was durable when the other was asked for."""
        self.shelf.at_once = False
        watched: list[bool] = []
        self.list.watch(watched.append)
        added = [self.list.add(Entry("x@example.com", reason=str(n))) for n in range(3)]
        removed = self.list.remove_exact("", "x@example.com")
        last = self.list.add(Entry("y@example.com"))
        self.assertEqual(self.list.count, 0)
        for done in (*added, removed, last):
            self.assertNoResult(done)
        self.shelf.tell()
        self.assertEqual(len({self.successResultOf(done).entry.id for done in added}), 1)
        self.assertEqual(self.successResultOf(removed).reason, "2")  # type: ignore[union-attr]
        self.successResultOf(last)
        self.assertEqual((self.list.count, len(self.shelf.writes), watched), (1, 2, [False, True]))

    def test_many_in_few_batches(self) -> None:
        entries = [Entry(f"x{n}@example.com", expires=self.now() + DAY) for n in range(2000)]
        self.shelf.at_once = False
        done = self.list.add_all(entries)
        self.shelf.tell()
        self.assertEqual(len(self.successResultOf(done)), 2000)
        self.assertEqual(self.list.count, 2000)
        self.assertLess(len(self.shelf.writes), 20)
        self.clock.advance(DAY / 1000)
        swept = 0
        while count := self.swept():
            swept += count
        self.assertEqual((swept, self.list.count, self.shelf.kept), (2000, 0, {b"n": bytes(8)}))

    def swept(self) -> int:
        done = self.list.sweep()
        self.shelf.tell()
        return self.successResultOf(done)

    def test_what_is_known_is_right_after_a_write(self) -> None:
        self.add("other@example.com")
        self.assertEqual(self.found("", "x@example.com"), "")
        reads = self.shelf.reads
        self.assertEqual(self.found("", "x@example.com"), "")
        self.assertEqual(self.shelf.reads, reads)
        entry = self.add("x@example.com")
        self.assertEqual(self.found("", "x@example.com"), entry.id)
        self.successResultOf(self.list.remove(entry.id))
        self.assertEqual(self.found("", "x@example.com"), "")

    def test_memory_is_bounded(self) -> None:
        self.add("other@example.com")
        for n in range(10_000):
            self.list.find("", f"x{n}@d{n}.example")
        self.assertLessEqual(len(self.list._known), 4096)

    def test_a_write_that_fails(self) -> None:
        """It is told, and changes nothing; whether it is on the disk after all is looked up."""
        self.shelf.error = OSError("full")
        failed = self.list.add_all([Entry("x@example.com"), Entry("y@example.com")])
        self.assertIs(self.failureResultOf(failed).value, self.shelf.error)
        self.shelf.error = None
        self.assertEqual((self.list.count, self.found("", "x@example.com")), (0, ""))
        self.shelf.kept[b"n"] = (1).to_bytes(8, "big")
        self.list._unsure = True
        self.list.find("", "x@example.com")
        self.assertEqual(self.list.count, 1)

    def test_a_shelf_that_cannot_be_read(self) -> None:
        self.add("x@example.com")
        self.shelf.unreadable = OSError("damaged")
        self.assertRaises(OSError, self.list.find, "", "y@example.com")
        self.assertIs(self.failureResultOf(self.list.add(Entry("y@example.com"))).value, self.shelf.unreadable)
        self.shelf.unreadable = None
        self.add("y@example.com")
        self.assertEqual(self.list.count, 2)

    def test_hard_bounces_are_counted(self) -> None:
        def bounced(event: int) -> bool:
            added = self.successResultOf(self.list.bounced(Entry("x@example.com"), event, 3, DAY))
            return added is not None and added.changed

        self.assertEqual([bounced(event) for event in (4, 4, 5, 4, 5)], [False] * 5)
        self.clock.advance(DAY / 1000)
        self.assertEqual([bounced(event) for event in (6, 7)], [False, False])
        self.assertTrue(bounced(9))
        self.successResultOf(self.list.remove_exact("", "x@example.com"))
        self.assertEqual([bounced(event) for event in (10, 11)], [False, False])
        self.clock.advance(DAY / 1000)
        self.assertEqual((self.swept(), self.shelf.kept), (1, {b"n": bytes(8)}))

    def test_ids_grow(self) -> None:
        clock = a_clock()
        ids = Ids(milliseconds(clock))
        first = [ids.next() for _ in range(3)]
        clock.advance(-100)
        first.append(ids.next())
        self.assertEqual((sorted(set(first)), len(first[0])), (first, 24))
        self.assertEqual(int(first[0][:8], 16), int(a_clock().seconds()))
        self.assertEqual({one[8:16] for one in first}, {"00000000"})

    @given(st.integers(0, (1 << 96) - 1), st.integers(0, 32), st.integers(0, (1 << 48) - 1))
    def test_what_stands_at_a_place(self, id: int, zeros: int, expires: int) -> None:
        """An id that was counted from its second takes 8 bytes, and any other one keeps all of its."""
        for one in (id, id & ~(((1 << zeros) - 1) << 32), id & ~(0xFFFFFFFF << 32)):
            value = keys.link(f"{one:024x}", expires)
            self.assertEqual(keys.read_link(value), (f"{one:024x}", expires))
            self.assertEqual(len(value), (12 if one >> 32 & 0xFFFFFFFF else 8) + (6 if expires else 0))

    def test_what_stands_at_no_place(self) -> None:
        for length in (0, 7, 9, 13, 15, 17, 20):
            self.assertRaises(ValueError, keys.read_link, bytes(length))

    def test_reasons_are_plain(self) -> None:
        self.assertEqual(fit_reason("a\r\nb\x1b[0m"), "a  b [0m")
        self.assertEqual(len(fit_reason("x" * 1000)), 300)
