"""TLSA records: read strictly, those of no use left out, matched byte by byte."""

from __future__ import annotations

import hashlib
import subprocess
from shutil import which

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.net.tlsa import Malformed, Record, public_key, read, usable
from tests.unit.certificates import Authority, Pair

_octets = st.integers(0, 255)
_records = st.builds(Record, _octets, _octets, _octets, st.binary(max_size=80))


def der(pair: Pair) -> bytes:
    return pair.certificate.public_bytes(Encoding.DER)


class Reading(SynchronousTestCase):
    @given(_records)
    def test_what_was_written_is_read(self, record: Record) -> None:
        text = f"{record.usage} {record.selector} {record.matching} {record.data.hex()}"
        self.assertEqual(read(text), record)

    @given(st.text(max_size=40))
    def test_any_text(self, text: str) -> None:
        try:
            record = read(text)
        except Malformed:
            return
        self.assertTrue(all(0 <= number <= 255 for number in record[:3]))
        self.assertTrue(str(record).isprintable())

    def test_refused(self) -> None:
        for text in (
            "", "3 1 1", "3 1 1 ab cd", "256 1 1 ab", "-1 1 1 ab", "+3 1 1 ab", "3 1 1 abc", "3 1 1 xy", "3  1 1 ab",
            "\u0663 1 1 ab", "\u00b2 1 1 ab", "3 1 1 \uff21b", "9999 1 1 ab", "3 1 1 ab\n3 1 1 cd",
        ):  # fmt: skip
            with self.assertRaises(Malformed, msg=text):
                read(text)


class Usable(SynchronousTestCase):
    def test_which_are(self) -> None:
        digest, long, whole = bytes(32), bytes(64), der(Authority())
        key = public_key(whole)
        for record, fine in (
            (Record(3, 1, 1, digest), True),
            (Record(2, 0, 2, long), True),
            (Record(3, 0, 0, whole), True),
            (Record(2, 1, 0, key), True),
            # What a public authority would have to agree with (RFC 7672 3.1.3), and what nobody knows.
            (Record(0, 0, 1, digest), False),
            (Record(1, 1, 1, digest), False),
            (Record(4, 1, 1, digest), False),
            (Record(255, 1, 1, digest), False),
            (Record(3, 2, 1, digest), False),
            (Record(3, 1, 3, digest), False),
            # What can't be a hash of that kind, a certificate or a key.
            (Record(3, 1, 1, digest[1:]), False),
            (Record(3, 1, 2, digest), False),
            (Record(3, 1, 1, b""), False),
            (Record(3, 1, 0, b""), False),
            (Record(2, 0, 0, whole[:-1]), False),
            (Record(2, 0, 0, whole + b"\0"), False),
            (Record(2, 0, 0, key), False),
        ):
            self.assertEqual(record.usable, fine, str(record))
            self.assertEqual(usable([record]), (record,) if fine else ())

    def test_the_best_hash_of_a_thing(self) -> None:
        """RFC 7671 9: for each usage and selector by itself, and the thing itself always counts."""
        weak, strong = Record(3, 1, 1, bytes(32)), Record(3, 1, 2, bytes(64))
        other, whole = Record(2, 1, 1, bytes(32)), Record(3, 1, 0, public_key(der(Authority())))
        self.assertEqual(set(usable([weak, other, strong, whole, weak])), {other, strong, whole})
        # One that is of no use doesn't count as better.
        self.assertEqual(usable([weak, Record(3, 1, 2, bytes(63))]), (weak,))

    @given(st.lists(_records, max_size=8))
    def test_any(self, records: list[Record]) -> None:
        found = usable(records)
        self.assertLessEqual(set(found), set(records))
        self.assertEqual(usable(reversed(records)), found, "the order in which a name server gives them is no matter")
        self.assertEqual(bool(found), any(record.usable for record in records))


class Matching(SynchronousTestCase):
    def test_each_kind(self) -> None:
        shown, other = der(Authority().server("mx.test")), der(Authority().server("mx.test"))
        for selector, thing in ((0, shown), (1, public_key(shown))):
            for matching, data in (
                (0, thing), (1, hashlib.sha256(thing).digest()), (2, hashlib.sha512(thing).digest()),
            ):  # fmt: skip
                record = Record(3, selector, matching, data)
                self.assertTrue(record.matches(shown), str(record))
                self.assertFalse(record.matches(other), str(record))
                self.assertFalse(record._replace(data=bytes([data[0] ^ 1]) + data[1:]).matches(shown))

    def test_a_certificate_renewed_under_the_same_key(self) -> None:
        authority = Authority()
        first = authority.server("mx.test")
        second = der(authority.server("mx.test", key=first.key))
        for selector, fine in ((0, False), (1, True)):
            thing = (der(first), public_key(der(first)))[selector]
            self.assertEqual(Record(3, selector, 1, hashlib.sha256(thing).digest()).matches(second), fine)


class Keys(SynchronousTestCase):
    def test_as_others_write_them(self) -> None:
        for key in (None, rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()):
            pair = Authority().server("mx.test", key=key)
            written = pair.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            self.assertEqual(public_key(der(pair)), written)

    def test_as_openssl_does(self) -> None:
        if which("openssl") is None:
            self.skipTest("there is no openssl here")
        pair = Authority().server("mx.test")
        said = subprocess.run(
            ["openssl", "x509", "-noout", "-pubkey"], input=pair.chain_pem, capture_output=True, check=True
        )
        written = subprocess.run(
            ["openssl", "pkey", "-pubin", "-outform", "DER"], input=said.stdout, capture_output=True, check=True
        )
        self.assertEqual(public_key(der(pair)), written.stdout)

    @given(st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        self._read(data)

    @given(st.data())
    def test_damaged_and_cut(self, data: st.DataObject) -> None:
        whole = der(_SHOWN)
        at = data.draw(st.integers(0, len(whole) - 1))
        self._read(whole[:at])
        self._read(whole[:at] + bytes([data.draw(_octets)]) + whole[at + 1 :])

    def _read(self, data: bytes) -> None:
        """A piece of it, or Malformed."""
        try:
            found = public_key(data)
        except Malformed:
            return
        self.assertIn(found, data)


_SHOWN = Authority().server("mx.test")
