"""Certificates for tests, made in a moment: an authority, and what it certifies."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


class Pair:
    """A certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: Any) -> None:
        self.certificate = certificate
        self.key = key

    @property
    def chain_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[no-any-return]

    def locked(self, passphrase: bytes) -> bytes:
        return self.key.private_bytes(  # type: ignore[no-any-return]
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)
        )

    @property
    def pem(self) -> bytes:
        """Both in one file."""
        return self.chain_pem + self.key_pem

    @property
    def number(self) -> int:
        return self.certificate.serial_number

    def write(self, path: Path | str) -> str:
        """Both into the file at `path`; returns that."""
        Path(path).write_bytes(self.pem)
        return str(path)


class Authority(Pair):
    """Certifies others. One that signs itself is made by `Authority()`."""

    def __init__(
        self,
        name: str = "Test CA",
        above: Authority | None = None,
        days: int = 1,
        permitted: str = "",
        certifies: bool = True,
    ) -> None:
        """`above` certifies this one, which may certify names below `permitted` only, or none at all."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _builder(name, name if above is None else above.name, key, days)
        made = made.add_extension(x509.BasicConstraints(certifies, None), True)
        if permitted:
            made = made.add_extension(x509.NameConstraints([x509.DNSName(permitted)], None), True)
        super().__init__(made.sign(key if above is None else above.key, SHA256()), key)
        self.name = name

    def server(self, *hosts: str, key: Any = None, days: int = 1) -> Pair:
        """A server's certificate for these names or addresses."""
        names = [_called(host) for host in hosts]
        return self._issue(hosts[0], names, ExtendedKeyUsageOID.SERVER_AUTH, key, days)

    def common(self, host: str) -> Pair:
        """A server's certificate with this as its common name, and no other."""
        return self._issue(host, (), ExtendedKeyUsageOID.SERVER_AUTH, None, 1)

    def client(self, common: str = "", emails: Sequence[str] = (), hosts: Sequence[str] = ()) -> Pair:
        """A client's."""
        names = [*map(x509.RFC822Name, emails), *map(x509.DNSName, hosts)]
        return self._issue(common, names, ExtendedKeyUsageOID.CLIENT_AUTH, None, 1)

    def forged(self, pair: Pair, old: bytes, new: bytes) -> bytes:
        """What this authority has certified, with other bytes in it, and signed for all that (DER)."""
        inner = pair.certificate.tbs_certificate_bytes
        assert inner.count(old) == 1 and len(old) == len(new)
        signature = self.key.sign(inner.replace(old, new), ec.ECDSA(SHA256()))
        rest = bytes.fromhex("300a06082a8648ce3d040302") + bytes((3, len(signature) + 1, 0)) + signature
        return b"\x30\x82" + (len(inner) + len(rest)).to_bytes(2, "big") + inner.replace(old, new) + rest

    def _issue(
        self, common: str, names: Sequence[x509.GeneralName], use: x509.ObjectIdentifier, key: Any, days: int
    ) -> Pair:
        key = key or ec.generate_private_key(ec.SECP256R1())
        made = _builder(common, self.name, key, days)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), False)
        made = made.add_extension(x509.ExtendedKeyUsage([use]), False)
        return Pair(made.sign(self.key, SHA256()), key)


def _called(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(common: str, issuer: str, key: Any, days: int = 1) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(common))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + days * DAY)
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
