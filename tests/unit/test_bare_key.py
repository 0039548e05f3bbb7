"""Signatures by keys that come without a certificate."""

from __future__ import annotations

import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from relay.net.bare_key import has_signed


def certificate(key: Any, hashed: Any, **more: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    begin = datetime.datetime(2026, 1, 1)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + datetime.timedelta(days=1))
    return made.sign(key, hashed, **more).public_bytes(Encoding.DER)


def public(key: Any) -> bytes:
    found: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


class Signed(SynchronousTestCase):
    rsa = rsa.generate_private_key(65537, 2048)
    ec = ec.generate_private_key(ec.SECP384R1())

    def test_each_kind(self) -> None:
        """And by nobody else's key, of whatever kind."""
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        made = [
            (self.rsa, certificate(self.rsa, hashes.SHA256())),
            (self.rsa, certificate(self.rsa, hashes.SHA256(), rsa_padding=pss)),
            (self.ec, certificate(self.ec, hashes.SHA512())),
        ]
        for key in (ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()):
            made.append((key, certificate(key, None)))
        keys = [public(key) for key, _ in made]
        for key, shown in made:
            found = {one for one in keys if has_signed(one, shown)}
            self.assertEqual(found, {public(key)})
            self.assertFalse(has_signed(public(key), shown[:-1] + bytes([shown[-1] ^ 1])))

    def test_kinds_that_sign_nothing(self) -> None:
        key = dsa.generate_private_key(2048)
        self.assertFalse(has_signed(public(key), certificate(key, hashes.SHA256())))

    @given(st.binary(max_size=80), st.binary(max_size=80))
    def test_nonsense(self, key: bytes, shown: bytes) -> None:
        self.assertFalse(has_signed(key, certificate(self.ec, hashes.SHA256())))
        self.assertFalse(has_signed(public(self.ec), shown))
