"""Tenants, tags and metadata: what is one, and how many there may be."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message import labels


class LabelTests(SynchronousTestCase):
    def test_tags_of_header_fields(self) -> None:
        self.assertEqual(labels.tags_of(["spring, sale:2026 ", "spring", " , "]), ("spring", "sale:2026"))
        self.assertEqual(labels.tags_of([]), ())

    def test_what_is_none_is_told(self) -> None:
        for bad in (["two words"], ["a\r\nb"], ["x" * 65], ["ü"], [","]):
            with self.assertRaisesRegex(ValueError, "a tag is 1 to 64"):
                labels.checked_tags(bad)
        with self.assertRaisesRegex(ValueError, "more than 10 tags"):
            labels.checked_tags(map(str, range(11)))
        with self.assertRaisesRegex(ValueError, "a tenant is"):
            labels.checked_tenant("a b")

    def test_metadata_has_bounds(self) -> None:
        good = {"order": "4711", "name": "Blåbær & co"}
        self.assertEqual(labels.checked_metadata(good), good)
        for bad, text in (
            ({"a b": ""}, "a name of metadata"),
            ({"": ""}, "a name of metadata"),
            ({"a": "b\r\nc"}, "a value of metadata"),
            ({"a": "x" * 513}, "a value of metadata"),
            ({str(number): "" for number in range(21)}, "more than 20"),
        ):
            with self.assertRaisesRegex(ValueError, text):
                labels.checked_metadata(bad)

    @given(st.text(max_size=80))
    def test_the_pattern_says_the_same(self, text: str) -> None:
        try:
            labels.checked_tags([text])
        except ValueError:
            self.assertIsNone(re.fullmatch(labels.PATTERN, text))
        else:
            self.assertIsNotNone(re.fullmatch(labels.PATTERN, text))
