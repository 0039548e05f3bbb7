"""The record codec: what is damaged or unknown is Unreadable, never read as mail (Q21)."""

from __future__ import annotations

import string
from zlib import crc32

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.event import Event
from relay.message.mark import Taken
from relay.message.values import Delivery, Message, Origin
from relay.queue import records
from relay.queue.store import Unreadable
from tests.unit.store_rig import delivery, message

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


class RecordTests(SynchronousTestCase):
    @given(texts, texts, st.integers(0, 2**63), st.binary(max_size=80))
    def test_messages_come_back(self, sender: str, helo: str, created: int, headers: bytes) -> None:
        mail = Message("0" * 18, sender, Origin("feeder", "::1", helo), created, headers, 4, 1, 1)
        self.assertEqual(records.read_message(records.encode(mail)), mail)

    @given(texts, texts, st.integers(0, 2**63), st.integers(1, 2**32 - 1))
    def test_deliveries_come_back(self, domain: str, response: str, due: int, seq: int) -> None:
        row = Delivery("0" * 18, seq, "zone", domain, "r@" + domain, due, response=response)
        self.assertEqual(records.read_delivery(records.encode(row)), row)

    @given(st.binary(max_size=100))
    def test_chunks_come_back(self, data: bytes) -> None:
        self.assertEqual(records.read_chunk(records.encode_chunk(data)), data)

    def test_an_event_of_an_older_version_is_read(self) -> None:
        """As it was written when its fields ended with `unreported`: the others are empty."""
        old = ["bounced", 1_700_000_000_123, "0" * 18, 1, "default", "a@b.test", "c@d.test", *[""] * 3, 550, *[""] * 7,
               1, 0.5, 0, 900, "ann", *[""] * 4, 0, ["c@d.test"], "", "", "null sender"]  # fmt: skip
        self.assertEqual(Event.__struct_fields__[len(old) - 1], "unreported")
        event = records.read_event(records.encode(old))
        self.assertEqual((event.kind, event.code, event.user, event.unreported), ("bounced", 550, "ann", "null sender"))
        later = [getattr(event, name) for name in Event.__struct_fields__[len(old) :]]
        self.assertEqual(set(later), {"", 0, ()})

    def test_a_token_of_an_older_version_is_read(self) -> None:
        taken = records.read_taken(records.encode(["0" * 18, 1_700_000_000_123]))
        self.assertEqual(taken, Taken("0" * 18, 1_700_000_000_123, b"", b""))

    @given(texts, texts, st.integers(0, 2**63))
    def test_events_come_back(self, subject: str, helo: str, time: int) -> None:
        event = Event("queued", time, "0" * 18, subject=subject, helo=helo, body_size=time, return_path=helo)
        self.assertEqual(records.read_event(records.encode(event)), event)

    def test_every_flipped_bit_is_noticed(self) -> None:
        """Q08: with a checksum of our own in each record."""
        for record, read in (
            (records.encode(message(1)), records.read_message),
            (records.encode(delivery(1)), records.read_delivery),
            (records.encode(5), records.read_number),
            (records.encode_chunk(b"body"), records.read_chunk),
        ):
            for bit in range(len(record) * 8):
                damaged = bytearray(record)
                damaged[bit // 8] ^= 1 << bit % 8
                self.assertRaises(Unreadable, read, bytes(damaged))

    def test_every_cut_is_noticed(self) -> None:
        record = records.encode(message(1))
        for length in range(len(record)):
            self.assertRaises(Unreadable, records.read_message, record[:length])

    def test_wrong_content_behind_a_good_checksum(self) -> None:
        def sealed(body: bytes) -> bytes:
            return bytes([records.VERSION]) + crc32(body).to_bytes(4, "little") + body

        wrong_utf8 = sealed(msgspec.msgpack.encode(delivery(1)).replace(b"default", b"def\xffult"))
        for record in (wrong_utf8, sealed(b"\x90"), sealed(b"\xc1"), sealed(b'{"a":1}'), sealed(b"")):
            self.assertRaises(Unreadable, records.read_delivery, record)

    def test_a_newer_version_is_unreadable(self) -> None:
        record = records.encode(delivery(1))
        self.assertRaises(Unreadable, records.read_delivery, bytes([records.VERSION + 1]) + record[1:])

    def test_a_longer_record_of_the_same_version_is_read(self) -> None:
        """Q20: a later program may add fields at the end."""
        fields = [*msgspec.structs.astuple(delivery(1)), "new field"]
        body = msgspec.msgpack.encode(fields)
        record = bytes([records.VERSION]) + crc32(body).to_bytes(4, "little") + body
        self.assertEqual(records.read_delivery(record), delivery(1))

    @given(st.binary(max_size=60) | st.text(string.printable).map(str.encode))
    def test_any_bytes_are_read_or_unreadable(self, record: bytes) -> None:
        for read in (records.read_message, records.read_state, records.read_names, records.read_chunk):
            try:
                read(record)
            except Unreadable:
                continue
            self.assertIs(read, records.read_chunk)
