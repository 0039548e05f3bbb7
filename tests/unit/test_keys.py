"""The key codec: decode(encode(x)) = x, and the order of the keys is the order of the things."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.queue import keys

ids = st.integers(0, 16**18 - 1).map(lambda number: f"{number:018x}")
seqs = st.integers(1, 2**32 - 1)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
dues = st.integers(0, 2**64 - 1)
domains = names.map(lambda name: name.replace("\1", ""))
places = st.tuples(names, domains, names, dues, ids, seqs)


class KeyTests(SynchronousTestCase):
    @given(ids, seqs)
    def test_numbered_keys(self, queue_id: str, seq: int) -> None:
        for encode, kind in (
            (keys.chunk, "chunk"),
            (keys.delivery, "delivery"),
            (keys.held, "held"),
            (keys.dialogue, "dialogue"),
        ):
            self.assertEqual(keys.decode(encode(queue_id, seq)), (kind, (queue_id, seq)))

    @given(ids)
    def test_whole_keys(self, queue_id: str) -> None:
        for encode, kind in (
            (keys.message, "message"),
            (keys.recipients, "recipients"),
            (keys.remaining, "remaining"),
            (keys.under_way, "under way"),
        ):
            self.assertEqual(keys.decode(encode(queue_id)), (kind, (queue_id,)))

    @given(places)
    def test_due_keys(self, place: tuple[str, str, str, int, str, int]) -> None:
        self.assertEqual(keys.decode(keys.due(*place)), ("due", place))

    @given(names, dues)
    def test_counter_keys(self, zone: str, bucket: int) -> None:
        self.assertEqual(keys.decode(keys.counter(zone, bucket)), ("counter", (zone, bucket)))

    @given(st.sampled_from(sorted(keys.INDEX_KINDS)), texts, ids, seqs)
    def test_index_keys(self, kind: str, value: str, queue_id: str, seq: int) -> None:
        key = keys.index(kind, value, queue_id, seq)
        self.assertEqual(keys.decode(key), ("index", (kind, value, queue_id, seq)))
        self.assertTrue(keys.index_prefix(kind, value) < key < keys.after(keys.index_prefix(kind, value)))

    @given(dues, st.binary(min_size=32, max_size=32))
    def test_token_keys(self, created: int, token: bytes) -> None:
        self.assertEqual(keys.decode(keys.token(token)), ("token", (token,)))
        self.assertEqual(keys.decode(keys.token_since(created, token)), ("token since", (created, token)))

    @given(dues, dues, ids, seqs)
    def test_event_keys(self, number: int, other: int, queue_id: str, seq: int) -> None:
        self.assertEqual(keys.decode(keys.event(number)), ("event", (number,)))
        self.assertEqual(keys.decode(keys.step(queue_id, seq, number)), ("step", (queue_id, seq, number)))
        self.assertEqual(keys.event_of(keys.step(queue_id, seq, number)), number)
        self.assertEqual(keys.event(number) < keys.event(other), number < other)

    @given(st.sampled_from(sorted(keys.TRACE_KINDS)), texts, st.integers(0, 2**40), ids, seqs)
    def test_trace_keys(self, kind: str, value: str, time: int, queue_id: str, seq: int) -> None:
        key = keys.trace(kind, value, time, queue_id, seq)
        decoded = keys.decode(key)
        self.assertEqual((decoded.kind, decoded.fields[0], decoded.fields[1]), ("trace", kind, time // 86_400_000))
        self.assertEqual(decoded.fields[3:], (queue_id, seq))
        self.assertEqual(key, keys.trace(kind, value.casefold(), time, queue_id, seq))
        prefix = keys.trace_prefix(kind, value, time)
        self.assertTrue(keys.trace_day(time) < prefix < key < keys.after(prefix))
        self.assertTrue(key < keys.trace_day(time + 86_400_000))

    @given(names, st.binary(max_size=20))
    def test_shelf_keys(self, name: str, inner: bytes) -> None:
        self.assertEqual(keys.decode(keys.shelf(name) + inner), ("shelf", (name, inner)))

    def test_single_keys(self) -> None:
        self.assertEqual(keys.decode(keys.FORMAT), ("format", ()))
        self.assertEqual(keys.decode(keys.STATE), ("state", ()))

    @given(places, places)
    def test_order_of_due_keys(self, one: tuple[str, str, str, int, str, int], other: tuple) -> None:  # type: ignore[type-arg]
        self.assertEqual(keys.due(*one) < keys.due(*other), one < other)

    @given(names, domains, names, places)
    def test_a_lane_holds_its_places_and_no_others(
        self,
        zone: str,
        domain: str,
        flow: str,
        place: tuple,  # type: ignore[type-arg]
    ) -> None:
        lane, key = keys.lane(zone, domain, flow), keys.due(*place)
        self.assertEqual(lane <= key < keys.after(lane), place[:3] == (zone, domain, flow))

    @given(st.binary(max_size=60))
    def test_any_other_bytes_are_refused(self, key: bytes) -> None:
        try:
            decoded = keys.decode(key)
        except ValueError:
            return
        self.assertIsInstance(decoded.kind, str)
        if decoded.kind == "event":
            self.assertEqual(keys.event(*decoded.fields), key)  # type: ignore[arg-type]

    def test_a_zero_byte_in_a_name_is_refused(self) -> None:
        self.assertRaises(ValueError, keys.lane, "a\0", "b")
        self.assertRaises(ValueError, keys.lane, "a", "b\0")
        self.assertRaises(ValueError, keys.lane, "a", "b\1", "c")
        self.assertRaises(ValueError, keys.counter, "a\0", 1)
        self.assertRaises(ValueError, keys.decode, b"ca\0b\0" + bytes(8))

    def test_a_due_key_without_the_end_of_its_domain_is_refused(self) -> None:
        key = keys.due("a", "b.example", "", 1, 18 * "0", 1)
        self.assertEqual(keys.decode(key).fields[:2], ("a", "b.example"))
        self.assertRaises(ValueError, keys.decode, key[: -keys.PLACE_LENGTH - 1] + b"x" + key[-keys.PLACE_LENGTH :])

    def test_where_a_listing_begins(self) -> None:
        self.assertEqual(keys.name_start(""), ("0" * 18, 0))
        self.assertEqual(keys.name_start("1" * 18), ("1" * 18, 0))
        self.assertEqual(keys.name_start("1" * 18 + ".00a"), ("1" * 18, 10))
        self.assertRaises(ValueError, keys.name_start, "x")
