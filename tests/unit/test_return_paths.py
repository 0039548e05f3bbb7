"""Addresses that mail comes back to: made by us, read in any case, and by nobody else to be made."""

from __future__ import annotations

import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.returnpath import Place, ReturnPaths
from relay.bounce.srs import Srs
from relay.bounce.token import LENGTH, Named, Tokens
from relay.message.address import Address, parse

ID = "18f0a1b2c3d4e5f607"
SECRET, OTHER = b"a secret of some length", b"another one of some length"
DAY = 86_400_000
NOW = 20_000 * DAY

ids = st.text("0123456789abcdef", min_size=18, max_size=18)
seqs = st.integers(1, (1 << 24) - 1)


class TokensTests(SynchronousTestCase):
    @given(ids, seqs)
    def test_round_trip_in_any_case(self, id: str, seq: int) -> None:
        token = Tokens([SECRET]).make("bounces", id, seq)
        self.assertEqual(len(token), LENGTH)
        for spelling in (token, token.upper(), token.title()):
            self.assertEqual(Tokens([SECRET]).read("bounces", spelling), Named(id, seq))

    @given(ids, seqs, st.integers(0, LENGTH - 1), st.sampled_from(string.ascii_lowercase + "234567"))
    def test_one_letter_off(self, id: str, seq: int, place: int, letter: str) -> None:
        token = Tokens([SECRET]).make("bounces", id, seq)
        forged = token[:place] + letter + token[place + 1 :]
        self.assertEqual(Tokens([SECRET]).read("bounces", forged) is None, forged != token)

    @given(st.text(max_size=40))
    def test_anything(self, text: str) -> None:
        self.assertIsNone(Tokens([SECRET]).read("bounces", text))

    def test_what_it_is_for(self) -> None:
        token = Tokens([SECRET]).make("bounces", ID, 1)
        self.assertIsNone(Tokens([SECRET]).read("unsubscribe", token))

    def test_secrets_change(self) -> None:
        old = Tokens([SECRET]).make("bounces", ID, 1)
        both = Tokens([OTHER, SECRET])
        self.assertEqual(both.read("bounces", old), Named(ID, 1))
        self.assertNotEqual(both.make("bounces", ID, 1), old)
        self.assertIsNone(Tokens([OTHER]).read("bounces", old))

    def test_no_delivery(self) -> None:
        for id, seq in (("x" * 18, 1), (ID, 0), (ID, 1 << 24)):
            with self.assertRaises(ValueError):
                Tokens([SECRET]).make("bounces", id, seq)
        with self.assertRaises(ValueError):
            Tokens([])


class SrsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.srs = Srs([SECRET], "ours.test", 21)

    def rewritten(self, sender: str, now: int = NOW) -> Address:
        found = self.srs.rewritten(parse(sender), now)
        assert found is not None
        return found

    def test_a_sender(self) -> None:
        found = self.rewritten("Ann@example.org")
        self.assertRegex(found.text, r"^SRS0=[0-9a-f]{8}=[A-Z2-7]{2}=example\.org=Ann@ours\.test$")
        for local in (found.local, found.local.lower(), found.local.upper()):
            back = self.srs.original(local, NOW)
            assert back is not None
            self.assertEqual(back.text.lower(), "ann@example.org")

    def test_one_rewritten_elsewhere(self) -> None:
        found = self.rewritten("SRS0=abcd=ef=example.org=ann@first.test")
        self.assertRegex(found.text, r"^SRS1=[0-9a-f]{8}=first\.test==abcd=ef=example\.org=ann@ours\.test$")
        self.assertEqual(
            self.srs.original(found.local, NOW), parse("SRS0=abcd=ef=example.org=ann@first.test")
        )

    def test_one_rewritten_twice(self) -> None:
        """Bounces skip who was between (the shortcut of SRS1)."""
        found = self.rewritten("SRS1=wxyz=first.test==abcd=ef=example.org=ann@second.test")
        self.assertRegex(found.text, r"^SRS1=[0-9a-f]{8}=first\.test==abcd=ef=example\.org=ann@ours\.test$")
        self.assertNotIn("wxyz", found.text)

    def test_what_only_looks_rewritten(self) -> None:
        for local in ("SRS0=", "SRS1=", "SRS1=x=first.test=", "SRS1=x=first.test=y", "srs0"):
            back = self.srs.original(self.rewritten(f"{local}@example.org").local, NOW)
            self.assertEqual(back, parse(f"{local}@example.org"))

    def test_age(self) -> None:
        local = self.rewritten("ann@example.org").local
        self.assertIsNotNone(self.srs.original(local, NOW + 21 * DAY))
        self.assertIsNone(self.srs.original(local, NOW + 22 * DAY))
        self.assertIsNone(self.srs.original(local, NOW - DAY))

    def test_the_days_go_round(self) -> None:
        for now in (1023 * DAY, 1024 * DAY - 1, 1024 * DAY):
            local = self.rewritten("ann@example.org", now).local
            self.assertIsNotNone(self.srs.original(local, now + 3 * DAY))

    def test_forged(self) -> None:
        local = self.rewritten("ann@example.org").local
        for old, new in (("ann", "bob"), ("example", "victim"), (local[5:13], "00000000")):
            self.assertIsNone(self.srs.original(local.replace(old, new), NOW))
        for local in ("SRS0", "SRS0=", "SRS0=00000000=AA=example.org=", "SRS1=00000000=first.test==", "ann", ""):
            self.assertIsNone(self.srs.original(local, NOW))

    def test_no_room(self) -> None:
        for sender in (f"{'a' * 50}@example.org", '"a b"@example.org', "ann@[192.0.2.1]"):
            self.assertIsNone(self.srs.rewritten(parse(sender), NOW))

    @given(
        st.text("abcXYZ019=+-._", min_size=1, max_size=30), st.text("abz09", min_size=1, max_size=10)
    )
    def test_any_sender_comes_back(self, local: str, label: str) -> None:
        try:
            sender = parse(f"{local}@{label}.test")
        except ValueError:
            return
        found = self.srs.rewritten(sender, NOW)
        if found is not None and not local.lower().startswith("srs1"):
            self.assertEqual(self.srs.original(found.local, NOW), sender)

    @given(st.text(max_size=70))
    def test_anything(self, local: str) -> None:
        self.assertIsNone(self.srs.original(local, NOW))


class ReturnPathsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.paths = ReturnPaths("Back.test", [SECRET], keep=["kept.test"], complaints="fbl")

    def place(self, text: str) -> Place | None:
        return self.paths.place(parse(text), NOW)

    def test_rewriting(self) -> None:
        of = self.paths.rewritten
        verp = of("verp", "ann@example.org", ID, 7, NOW)
        self.assertRegex(verp, r"^bounces\+[a-z2-7]{32}@back\.test$")
        self.assertEqual(self.place(verp), Place("bounces", Named(ID, 7)))
        self.assertEqual(self.place(verp.upper()), Place("bounces", Named(ID, 7)))
        self.assertEqual(
            self.place(of("srs", "ann@example.org", ID, 7, NOW)), Place("sender", sender="ann@example.org")
        )
        self.assertEqual(len(parse(verp).local), 40)

    def test_what_stays(self) -> None:
        of = self.paths.rewritten
        for rewriting in ("verp", "srs"):
            for sender in ("", "ann@kept.test", "ann@KEPT.test", "x@back.test"):
                self.assertEqual(of(rewriting, sender, ID, 7, NOW), sender)
        self.assertEqual(of("", "ann@example.org", ID, 7, NOW), "ann@example.org")
        self.assertEqual(of("srs", f"{'a' * 60}@example.org", ID, 7, NOW), f"{'a' * 60}@example.org")
        self.assertEqual(of("srs", "jürgen@example.org", ID, 7, NOW), "jürgen@example.org")

    def test_places(self) -> None:
        unsubscribe = self.paths.address("unsubscribe", ID, 1)
        self.assertEqual(self.place(unsubscribe), Place("unsubscribe", Named(ID, 1)))
        self.assertEqual(self.place("FBL@back.test"), Place("complaints"))
        token = self.paths.tokens.make("bounces", ID, 1)
        for text in (
            f"bounces+{token}@elsewhere.test", f"unsubscribe+{token}@back.test", f"fbl+{token}@back.test",
            f"bounces+{token[:-1]}@back.test", "bounces@back.test", "bounces+@back.test", "postmaster@back.test",
        ):  # fmt: skip
            self.assertIsNone(self.place(text), text)
        self.assertIsNone(ReturnPaths("back.test", [SECRET]).place(parse("fbl@back.test"), NOW))

    def test_found_in_texts(self) -> None:
        bounces, unsubscribe = self.paths.address("bounces", ID, 1), self.paths.address("unsubscribe", ID, 2)
        self.assertEqual(self.paths.found(f"<{bounces}>"), Named(ID, 1))
        self.assertEqual(
            self.paths.found(f"<https://x.test/u?a=b>, <mailto:{unsubscribe}?subject=no>"), Named(ID, 2)
        )
        token = unsubscribe.partition("+")[2].partition("@")[0]
        self.assertEqual(self.paths.found(f"<mailto:x@y.test>, <https://x.test/unsubscribe/{token}>"), Named(ID, 2))
        forged = f"bounces+{'a' * 32}@back.test"
        for text in ("", "<>", "ann@example.org", "<mailto:>", f"<https://x.test/{token}x>", "@", forged):
            self.assertIsNone(self.paths.found(text))

    @given(st.text(max_size=200))
    def test_found_in_anything(self, text: str) -> None:
        self.assertIsNone(self.paths.found(text))
