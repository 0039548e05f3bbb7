"""An authority of which nothing is known but its key: what it has signed (RFC 7671 5.2.3)."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

#: Hashes by which anybody can have anything signed.
BROKEN = (hashes.MD5, hashes.SHA1)


def has_signed(key: bytes, certificate: bytes) -> bool:
    """Whether this key (SubjectPublicKeyInfo) has signed this certificate, both in DER, by a hash that isn't broken.
    Whatever can't be read, or is of a kind that nobody knows here, has not."""
    try:
        shown = x509.load_der_x509_certificate(certificate)
        hashed = shown.signature_hash_algorithm
        if isinstance(hashed, BROKEN):
            return False
        _verify(load_der_public_key(key), shown, hashed)
    except Exception:
        # An invalid signature, or what libraries make of hostile keys and certificates.
        return False
    return True


def _verify(key: object, shown: x509.Certificate, hashed: hashes.HashAlgorithm | None) -> None:
    """Raises what comes to hand when it has not."""
    signature, signed = shown.signature, shown.tbs_certificate_bytes
    if isinstance(key, Ed25519PublicKey | Ed448PublicKey):
        key.verify(signature, signed)
    elif hashed is None:
        raise ValueError("a signature without a hash")
    elif isinstance(key, EllipticCurvePublicKey):
        key.verify(signature, signed, ECDSA(hashed))
    elif isinstance(key, RSAPublicKey):
        padding = shown.signature_algorithm_parameters
        if padding is None or isinstance(padding, ECDSA):
            raise ValueError("no signature of RSA")
        key.verify(signature, signed, padding, hashed)
    else:
        raise ValueError("a kind of key that signs nothing here")
