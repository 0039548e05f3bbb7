"""D27: chains of certificates against TLSA records, every one an opinion that OpenSSL's own DANE would share."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from subprocess import run

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.net.dane import MAX_CHAIN, MAX_KEYS, NOTHING, Dane, distrust
from relay.net.tlsa import Record, public_key
from tests.unit.certificates import DAY, Authority, Pair
from tests.unit.test_tlsa import der

NAMES = ("mx.test", "to.test", "deep.alias.test")


def record(usage: int, pair: Pair, selector: int = 1, matching: int = 1) -> Record:
    thing = public_key(der(pair)) if selector else der(pair)
    if matching:
        thing = (hashlib.sha256 if matching == 1 else hashlib.sha512)(thing).digest()
    return Record(usage, selector, matching, thing)


def said(chain: Sequence[bytes], dane: Dane, now: datetime) -> str:
    """The words of a doubt, "" when there is none."""
    doubt = distrust(chain, dane, now)
    return "" if doubt is None else doubt.text


class Case(SynchronousTestCase):
    def distrust(self, shown: Sequence[Pair], *records: Record, names: Sequence[str] = NAMES) -> str:
        return said([der(pair) for pair in shown], Dane(names[0], tuple(names), records), datetime.now(UTC))

    def trusted(self, shown: Sequence[Pair], *records: Record, names: Sequence[str] = NAMES) -> None:
        self.assertEqual(self.distrust(shown, *records, names=names), "")

    def refused(self, why: str, shown: Sequence[Pair], *records: Record, names: Sequence[str] = NAMES) -> None:
        self.assertIn(why, self.distrust(shown, *records, names=names) or "it is trusted")


class EndEntity(Case):
    """DANE-EE(3): the host's own certificate, and nothing else about it counts (RFC 7672 3.1.1)."""

    def test_matched(self) -> None:
        pair, other = Authority().server("mx.test"), Authority().server("mx.test")
        for selector in (0, 1):
            for matching in (0, 1, 2):
                self.trusted([pair], record(3, pair, selector, matching))
                self.refused("matches none", [other], record(3, pair, selector, matching))

    def test_neither_names_nor_dates_nor_who_has_made_it(self) -> None:
        pair = Authority().client("someone else", hosts=("evil.example",))
        old = Authority().server("else.test", days=-1)
        for shown in ([pair], [old], [old, Authority("Not above it")], [Authority("Signs itself")]):
            self.trusted(shown, record(3, shown[0]))

    def test_one_of_several_is_enough(self) -> None:
        pair = Authority().server("mx.test")
        self.trusted([pair], record(3, Authority()), record(2, Authority()), record(3, pair))

    def test_not_by_another_certificate_of_the_chain(self) -> None:
        authority = Authority()
        self.refused("matches none", [authority.server("mx.test"), authority], record(3, authority))

    def test_no_certificate_no_record(self) -> None:
        pair = Authority().server("mx.test")
        self.refused("shown no certificate", [], record(3, pair))
        self.refused("matches none", [pair])
        self.assertIn("matches none", said([der(pair)], NOTHING, datetime.now(UTC)))


class TrustAnchor(Case):
    """DANE-TA(2): an authority of the host's, from there on everything counts (RFC 7672 3.1.2)."""

    def setUp(self) -> None:
        self.root = Authority("Root")
        self.middle = Authority("Middle", self.root)
        self.leaf = self.middle.server("mx.test")

    def test_the_root_or_one_between(self) -> None:
        shown = [self.leaf, self.middle, self.root]
        for anchor in (self.root, self.middle):
            for selector in (0, 1):
                for matching in (0, 1, 2):
                    self.trusted(shown, record(2, anchor, selector, matching))
        # One between is the end: what it is below need not be shown.
        self.trusted(shown[:2], record(2, self.middle))

    def test_a_root_that_is_not_shown_is_known_by_the_record_that_has_all_of_it(self) -> None:
        shown = [self.leaf, self.middle]
        self.trusted(shown, record(2, self.root, 0, 0))
        for selector, matching in ((0, 1), (0, 2), (1, 1), (1, 2)):
            self.refused("matches none", shown, record(2, self.root, selector, matching))

    def test_a_root_that_is_not_shown_is_known_by_the_record_that_has_its_key(self) -> None:
        """It has signed what is shown last (RFC 7671 5.2.3); all below that is looked at as ever."""
        key = record(2, self.root, 1, 0)
        self.trusted([self.leaf, self.middle], key)
        self.trusted([self.leaf, self.middle, self.root], key)
        self.trusted([self.leaf, self.middle], record(2, Authority(), 1, 0), key)
        self.trusted([self.leaf, self.middle], record(2, Authority(), 0, 0), key)
        self.trusted([self.root.server("mx.test")], key)
        self.refused("for another host", [self.root.server("else.test")], key)
        self.refused("expired", [self.root.server("mx.test", days=-1)], key)
        self.refused("not made for servers", [self.root.client("x", hosts=("mx.test",))], key)
        self.refused("does not lead", [Authority("Middle").server("mx.test"), self.middle], key)
        for shown in ([self.leaf], [self.leaf, Authority("Middle", Authority("Root"))]):
            self.refused("matches none", shown, key)
        # One that may not certify anything, though it was signed.
        server = self.root.server("mx.test")
        self.refused("does not lead", [self.leaf, server], key)

    def test_keys_that_are_none_and_too_many(self) -> None:
        shown = [self.leaf, self.middle]
        nonsense = Record(2, 1, 0, b"\x30\x03\x02\x01\x01")
        self.trusted(shown, nonsense, record(2, self.root, 1, 0))
        many = [record(2, Authority(), 1, 0) for _ in range(MAX_KEYS)]
        self.refused("matches none", shown, *many, record(2, self.root, 1, 0))

    def test_any_order_and_what_has_no_place_there(self) -> None:
        stray = Authority("Stray")
        self.trusted([self.leaf, self.root, stray, self.middle], record(2, self.root))

    def test_one_between_is_missing(self) -> None:
        self.refused("does not lead to the authority", [self.leaf, self.root], record(2, self.root))

    def test_another_of_the_same_name(self) -> None:
        """By name it would be above; it hasn't signed."""
        forged = Authority("Middle").server("mx.test")
        for anchor in (self.root, self.middle):
            shown = [forged, self.middle, self.root]
            self.refused("does not lead to the authority", shown, record(2, anchor))

    def test_not_the_hosts_own_certificate(self) -> None:
        """Neither found by its hash nor given whole: that is what DANE-EE is for."""
        alone = Authority("mx.test")
        for selector, matching in ((1, 1), (0, 0)):
            self.refused("matches none", [alone], record(2, alone, selector, matching))
            self.refused("matches none", [alone, alone], record(2, alone, selector, matching))

    def test_somebody_the_authority_has_certified_can_not_certify(self) -> None:
        customer = Authority("Customer", self.root, certifies=False)
        shown = [customer.server("mx.test"), customer, self.root]
        self.refused("does not lead to the authority", shown, record(2, self.root))
        self.refused("does not lead to the authority", shown, record(2, customer))

    def test_D25_dates(self) -> None:
        self.refused("expired", [self.middle.server("mx.test", days=-1), self.middle], record(2, self.middle))
        old = Authority("Old", self.root, days=-1)
        self.refused("expired", [old.server("mx.test"), old, self.root], record(2, self.root))
        self.refused("expired", [old.server("mx.test"), old, self.root], record(2, old))
        early = said(
            [der(self.leaf), der(self.middle)],
            Dane("mx.test", NAMES, (record(2, self.middle),)),
            datetime.now(UTC) - 7 * DAY,
        )
        self.assertIn("not yet valid", early)

    def test_how_reports_call_it(self) -> None:
        """RFC 8460 4.3."""
        now = datetime.now(UTC)
        for leaf, failure in (
            (self.middle.server("mx.test", days=-1), "certificate-expired"),
            (self.middle.server("else.test"), "certificate-host-mismatch"),
            (self.root.server("mx.test"), "certificate-not-trusted"),
            (self.middle.client("mx.test", hosts=("mx.test",)), "certificate-not-trusted"),
        ):
            dane = Dane("mx.test", NAMES, (record(2, self.middle),))
            doubt = distrust([der(leaf), der(self.middle)], dane, now)
            self.assertEqual(doubt and doubt.failure, failure)
            doubt = distrust([der(leaf)], dane, now)
            self.assertEqual(doubt and doubt.failure, "certificate-not-trusted")

    def test_names(self) -> None:
        for stated, fine in (
            ("mx.test", True),
            ("MX.Test", True),
            ("to.test", True),
            ("deep.alias.test", True),
            ("alias.test", False),
            ("*.test", False),
            ("*.mx.test", False),
            ("*.alias.test", True),
            ("*.deep.alias.test", False),
            ("*", False),
            ("*.", False),
            ("m*.test", False),
            ("x.mx.test", False),
            ("mx.test.evil.example", False),
            ("test", False),
        ):
            shown = [self.middle.server(stated), self.middle]
            if fine:
                self.trusted(shown, record(2, self.middle))
            else:
                self.refused("for another host than mx.test", shown, record(2, self.middle))
        self.trusted([self.middle.server("evil.example", "mx.test"), self.middle], record(2, self.middle))
        self.refused("another host", [self.leaf, self.middle], record(2, self.middle), names=("other.test",))

    def test_the_common_name_counts_where_there_is_no_other(self) -> None:
        self.trusted([self.middle.common("mx.test"), self.middle], record(2, self.middle))
        self.refused("another host", [self.middle.common("else.test"), self.middle], record(2, self.middle))
        both = self.middle.client("mx.test", hosts=("else.test",))
        self.refused("not made for servers", [both, self.middle], record(2, self.middle))
        both = self.middle.server("else.test")
        self.refused("another host", [both, self.middle], record(2, self.middle), names=("Middle",))

    def test_a_signature_by_a_hash_that_is_broken(self) -> None:
        if which("openssl") is None:
            self.skipTest("there is no openssl here, and nobody else who would still sign by SHA-1")
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "names").write_text("subjectAltName = DNS:mx.test\n")
        key, root = self.leaf.write(folder / "own.pem"), self.root.write(folder / "root.pem")
        ask = ["openssl", "req", "-new", "-key", key, "-subj", "/CN=mx.test"]
        sign = ["openssl", "x509", "-req", "-CA", root, "-CAkey", root, "-extfile", str(folder / "names")]
        request = run(ask, capture_output=True, check=True).stdout
        for digest, why in (("-sha1", "a hash that is broken"), ("-sha256", "")):
            made = run([*sign, digest, "-outform", "DER"], input=request, capture_output=True, check=True).stdout
            dane = Dane("mx.test", NAMES, (record(2, self.root),))
            text = said([made, der(self.root)], dane, datetime.now(UTC))
            self.assertEqual("broken" in text, bool(why), text)
            # Who is matched as such is signed by nobody.
            own = Record(3, 0, 1, hashlib.sha256(made).digest())
            self.assertEqual(said([made], dane._replace(records=(own,)), datetime.now(UTC)), "")

    def test_what_an_authority_may_certify(self) -> None:
        for permitted, fine in (("test", True), ("mx.test", True), ("other.test", False)):
            narrow = Authority("Narrow", self.root, permitted=permitted)
            shown = [narrow.server("mx.test"), narrow, self.root]
            if fine:
                self.trusted(shown, record(2, self.root))
            else:
                self.refused("permitted subtree violation", shown, record(2, self.root))

    def test_made_for_servers(self) -> None:
        shown = [self.middle.client("mx.test", hosts=("mx.test",)), self.middle]
        self.refused("not made for servers", shown, record(2, self.middle))

    def test_a_record_that_only_looks_like_a_certificate_spoils_no_other(self) -> None:
        """Its outside is right, and there is nothing in it that OpenSSL could read."""
        whole = der(self.root)
        hollow = Record(2, 0, 0, whole[:60] + b"\xff" * 20 + whole[80:])
        self.trusted([self.leaf, self.middle], hollow, record(2, self.middle))

    def test_certificates_that_libraries_do_not_expect(self) -> None:
        """Signed by the authority, and read by OpenSSL: a version that there is none of, and a name made of bits."""
        named, common = self.middle.server("mx.test"), self.middle.common("mx.test")
        for pair, old, new in (
            (named, bytes.fromhex("a003020102"), bytes.fromhex("a003020101")),
            (named, bytes.fromhex("a003020102"), bytes.fromhex("a003020103")),
            (common, b"\x0c\x07mx.test", b"\x03\x07\0x.test"),
        ):
            made = self.middle.forged(pair, old, new)
            dane = Dane("mx.test", NAMES, (record(2, self.middle),))
            doubt = distrust([made, der(self.middle)], dane, datetime.now(UTC))
            self.assertEqual(doubt and doubt.failure, "validation-failure")
            self.assertIn("can't be read", doubt.text if doubt else "")
        above = self.root.forged(self.middle, bytes.fromhex("a003020102"), bytes.fromhex("a003020103"))
        self.assertIn("can't be read", said([der(self.leaf), above, der(self.root)],
                                            Dane("mx.test", NAMES, (record(2, self.root),)), datetime.now(UTC)))

    def test_a_long_chain_is_looked_at_so_far(self) -> None:
        strays = [Authority("Stray")] * MAX_CHAIN
        self.refused("matches none", [self.leaf, *strays, self.middle], record(2, self.middle))

    @given(st.data())
    def test_damaged_certificates_are_no_reason_to_fail(self, data: st.DataObject) -> None:
        """Whatever is shown, there is an answer, and a printable one."""
        chain = [der(_LEAF), der(_ABOVE)]
        number = data.draw(st.integers(0, 1))
        at = data.draw(st.integers(0, len(chain[number]) - 1))
        chain[number] = chain[number][:at] + bytes([data.draw(st.integers(0, 255))]) + chain[number][at + 1 :]
        text = said(chain, Dane("mx.test", NAMES, (record(2, _ABOVE, 0, 0),)), datetime.now(UTC))
        self.assertTrue(text.isprintable())
        if text == "":
            self.assertEqual(chain[0], der(_LEAF), "what is damaged is signed by nobody")


_ABOVE = Authority("Above")
_LEAF = _ABOVE.server("mx.test")
