"""A certificate that signs itself, and keys, for the servers of one run."""

from __future__ import annotations

import datetime
import os

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def signing_key(directory: str, kind: str) -> str:
    """Writes a DKIM key, "rsa" (2048 bits) or "ed25519", for src.test into a folder below `directory`; its path."""
    path = f"{directory}/keys/src.test.bench.pem"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ed25519.Ed25519PrivateKey.generate()
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


def _write(path: str, content: bytes) -> None:
    """Its owner's alone: Postfix wants that of keys."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def self_signed(directory: str, name: str = "relay.test") -> tuple[str, str]:
    """Writes certificate and key (RSA 2048, as most servers have) below `directory`; their paths."""
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + 30 * day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .sign(key, SHA256())
    )
    paths = f"{directory}/cert.pem", f"{directory}/key.pem"
    contents = (
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
    for path, content in zip(paths, contents, strict=True):
        _write(path, content)
    return paths
