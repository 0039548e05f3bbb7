"""What a message asks of TLS, and what comes of that beside zone and domain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.message.tls_asked import DEMANDS, NOT_REQUIRED, WORDS, asked, holding, is_heedless

words = st.sampled_from(WORDS)


class Asked(SynchronousTestCase):
    def test_a_word(self) -> None:
        for word in DEMANDS:
            self.assertEqual(asked((f" {word.upper()} ",), ("No",), False), word, "it goes before TLS-Required")
        for word in ("none", "may"):
            self.assertEqual(asked((word,), (), False), "", "nobody asks for less")
            self.assertEqual(asked((word,), ("no",), False), NOT_REQUIRED)

    def test_what_means_nothing(self) -> None:
        for given_words in (("",), ("yes",), ("no",), ("verify", "verify"), ("must dane",)):
            self.assertRaises(ValueError, asked, given_words, (), False)

    def test_tls_required(self) -> None:
        """Only its one word; not beside REQUIRETLS (RFC 8689 4.1)."""
        for required, found in ((("No",), "no"), ((" nO",), "no"), (("Yes",), ""), (("No", "Yes"), ""), ((), "")):
            self.assertEqual(asked((), required, False), found)
            self.assertEqual(asked((), required, True), "")


class Holding(SynchronousTestCase):
    @given(words, words, st.booleans())
    def test_never_less_than_any(self, own: str, more: str, require_tls: bool) -> None:
        found = holding(own, more, require_tls, False)
        least = "verify" if require_tls else "none"
        self.assertEqual(WORDS.index(found), max(map(WORDS.index, (own, more, least))))

    @given(words, st.sampled_from(("", NOT_REQUIRED, "tls2")))
    def test_what_is_no_word_asks_for_nothing(self, own: str, more: str) -> None:
        self.assertEqual(holding(own, more, False, False), own)

    def test_a_host_that_the_operator_names(self) -> None:
        for more in DEMANDS:
            self.assertEqual(holding("may", more, False, True), "must" if more == "must" else "verify")

    def test_who_is_asked_for_what_they_want(self) -> None:
        for own in WORDS:
            self.assertEqual(is_heedless(own, NOT_REQUIRED), own not in ("sts", "dane"))
            self.assertFalse(is_heedless(own, ""))
