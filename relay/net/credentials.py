"""Certificates and keys as they lie in files: read, checked against each other, and told apart when replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

#: A chain and its key are a few kilobytes; the authorities of a whole system are below this (bytes).
LARGEST = 1 << 20
#: Names of one certificate that are looked at.
_MOST_NAMES = 100
#: Longest of them (characters); no address, host or user has a longer one.
_LONGEST_NAME = 255

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey

#: What tells whether a file is still the same: time of change, size, inode, device. None: no file.
Stamp = tuple[int, int, int, int] | None


class TlsUnusable(ValueError):
    """TLS can't be offered with these files; the text is one line: key of the configuration, file, reason."""

    def __init__(self, key: str, file: str, reason: str) -> None:
        super().__init__(f"{key}: {file}: {reason}")
        self.key = key
        self.file = file
        self.reason = reason


class Credentials(NamedTuple):
    """What a server shows: its own certificate first, then those between it and the root."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKey


def stamp(path: str) -> Stamp:
    """How the file at `path` can be told from one that takes its place."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


def read(certificate: str, key: str) -> Credentials:
    """The chain in one PEM file and its key in another, or the same. Raises TlsUnusable."""
    chain = _certificates("certificate", certificate)
    own = _key(key)
    try:
        fits = own.public_key() == chain[0].public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise TlsUnusable("certificate", certificate, f"its key can't be used: {error}") from None
    if not fits:
        raise TlsUnusable("key", key, f"it does not fit the first certificate in {certificate}")
    return Credentials(chain, own)


def authorities(path: str, setting: str = "client_ca") -> tuple[x509.Certificate, ...]:
    """The certificates by which those of others are checked, in the file that `setting` names. Raises TlsUnusable."""
    return _certificates(setting, path)


def names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The e-mail addresses and host names that a certificate is made out to; without any, its common name."""
    try:
        stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [*stated.get_values_for_type(x509.RFC822Name), *stated.get_values_for_type(x509.DNSName)]
    except x509.ExtensionNotFound:
        found = []
    except ValueError:  # an extension that is none
        return ()
    return tuple(_plain(found or _common_names(certificate)))


def _common_names(certificate: x509.Certificate) -> list[str]:
    return [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _plain(found: list[str]) -> Iterator[str]:
    """Without those that could pass for another name, as a NUL, a blank or a line end has no place in one,
    and those that are too long for one."""
    for name in found[:_MOST_NAMES]:
        if 0 < len(name) <= _LONGEST_NAME and name.isprintable() and " " not in name:
            yield name


def _certificates(setting: str, path: str) -> tuple[x509.Certificate, ...]:
    content = _content(setting, path)
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise TlsUnusable(setting, path, "no certificate in PEM form is in it, or one that is damaged") from None
    return tuple(found)


def _key(path: str) -> PrivateKey:
    content = _content("key", path)
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise TlsUnusable("key", path, "the private key in it is locked by a passphrase") from None
    except (ValueError, UnsupportedAlgorithm):
        raise TlsUnusable("key", path, "no private key in PEM form is in it, or one that is damaged") from None
    if not isinstance(key, PrivateKey):
        raise TlsUnusable("key", path, "its kind of key can't be used for TLS")
    return key


def _content(setting: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise TlsUnusable(setting, path, f"it can't be read: {error.strerror}") from None
    if len(content) > LARGEST:
        raise TlsUnusable(setting, path, f"it is larger than {LARGEST} bytes")
    return content
