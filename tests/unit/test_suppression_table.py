"""The list as CSV: any split reads the same, what was written is read again, bad lines are named."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.suppression.entry import SOURCES, Entry, fit_reason
from relay.suppression.table import HEADING, LONGEST_LINE, Line, Reader, written
from tests.unit.api_rig import NOW

DAY = 86_400_000
printable = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), max_size=20)
entries = st.builds(
    Entry,
    st.sampled_from(["x@example.com", '"a, b"@example.com', "j\u00f6rg@example.com", "example.com", "=1@example.com"]),
    st.sampled_from(["", "ann", 'o"neil, esq.']),
    printable.map(lambda text: unicodedata.normalize("NFC", fit_reason(" ".join(text.split())))),
    st.sampled_from(SOURCES),
    st.integers(1, NOW),
    st.one_of(st.just(0), st.integers(NOW + 1, NOW + 1000 * DAY)),
)


def read(*pieces: bytes, tenant: str = "", reason: str = "") -> list[Line]:
    reader = Reader(lambda: NOW, tenant, reason)
    return [*(line for piece in pieces for line in reader.feed(piece)), *reader.end()]


def only(data: bytes) -> Entry:
    [line] = read(data)
    assert line.entry is not None, line.fault
    return line.entry


class Reading(SynchronousTestCase):
    @settings(max_examples=60)
    @given(st.lists(entries, max_size=6), st.lists(st.integers(0, 2000), max_size=5), st.booleans())
    def test_round_trip_in_any_split(self, some: list[Entry], cuts: list[int], headed: bool) -> None:
        data = HEADING * headed + written(some)
        places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
        pieces = [data[a:b] for a, b in pairwise(places)]
        found = read(*pieces)
        self.assertEqual([line.fault for line in found if line.entry is None], [])
        self.assertEqual([line.entry for line in found], some)

    def test_lists_of_others(self) -> None:
        data = b"\xef\xbb\xbfstatus;x,Email,Reason,created_at\r\n5.1.1,Gone@Example.com,no such user,yesterday\r\n"
        self.assertEqual(
            [line.entry for line in read(data)], [Entry("gone@example.com", "", "no such user", "import")]
        )
        self.assertEqual(only(b"domain\n@B\xc3\xbccher.example\n").whom, "xn--bcher-kva.example")
        self.assertEqual(only(b"x@example.com").source, "import")
        self.assertEqual([line.number for line in read(b"\n\nx@example.com\n,,\ny@example.com\n")], [3, 5])

    def test_names_of_columns_as_others_write_them(self) -> None:
        for name in (b"EmailAddress", b"E-Mail", b"email_address", b"Recipient Email"):
            self.assertEqual(only(name + b",Reason,LastUpdateTime\nx@example.com,BOUNCE,now\n").reason, "BOUNCE", name)
        self.assertEqual(only(b"status,reason,email,created\n5,no,x@example.com,1443651125\n").created, 1443651125000)

    def test_names_of_columns_that_nobody_knows(self) -> None:
        """No address is put on the list for a tenant called BOUNCE, and no domain called 1."""
        for data in (b"Contact,Why\nx@example.com,BOUNCE\n", b"id,who\n1,x@example.com\n", b"1,x@b.c\n2,y@b.c\n"):
            found = read(data)
            self.assertEqual([line.entry for line in found], [None] * len(found), data)
            self.assertIn("names of columns", found[0].fault)
        first, second = read(b"Contacts\nx@example.com\n")
        assert second.entry is not None
        self.assertEqual((first.entry, second.entry.whom), (None, "x@example.com"))

    def test_what_lines_lack(self) -> None:
        [one, two] = read(b"x@example.com\ny@example.com,Bob,theirs\n", tenant="ann", reason="ours")
        assert one.entry is not None and two.entry is not None
        self.assertEqual((one.entry.tenant, one.entry.reason), ("ann", "ours"))
        self.assertEqual((two.entry.tenant, two.entry.reason), ("bob", "theirs"))

    def test_bad_lines_are_named_and_the_others_read(self) -> None:
        data = (
            b"good@example.com\nnot an address\n,x\n\xff@example.com\n\"open\nx@example.com,,,odd\n"
            b"x@example.com,,,,soon\nx@example.com,,,,,2001-01-01T00:00:00Z\nx@example.com,a\x01b\nlast@example.com"
        )
        found = read(data)
        self.assertEqual(
            [(line.number, line.fault.partition(":")[0]) for line in found],
            [
                (1, ""),
                (2, "recipient"),
                (3, "no recipient"),
                (4, "not UTF-8"),
                (5, "no CSV"),
                (6, "source"),
                (7, "created"),
                (8, "expires"),
                (9, "tenant"),
                (10, ""),
            ],
        )
        self.assertTrue(all(line.fault.isprintable() for line in found))

    def test_a_line_without_an_end_is_not_kept(self) -> None:
        reader = Reader(lambda: NOW)
        faults = [line for _ in range(1000) for line in reader.feed(b"x" * 1000)]
        self.assertEqual(faults, [Line(1, None, f"longer than {LONGEST_LINE} bytes")])
        self.assertEqual(reader._rest, b"")
        found = [*reader.feed(b"xx\nx@example.com\n" + b"y" * 5000 + b"\nz@example.com\n"), *reader.end()]
        self.assertEqual([(line.number, line.entry is None) for line in found], [(2, False), (3, True), (4, False)])
