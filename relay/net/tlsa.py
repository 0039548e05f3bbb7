"""TLSA records: what a host says in the DNS about its certificate (RFC 6698, RFC 7671)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import NamedTuple

#: Certificate usages that mean something in SMTP (RFC 7672 3.1): an authority of the host's, and its own certificate.
DANE_TA, DANE_EE = 2, 3
#: Selectors: the certificate, or its public key alone.
CERTIFICATE, KEY = 0, 1
#: Matching types: the thing itself, or a hash of it, by the length of that (bytes).
FULL = 0
_HASHES = {1: 32, 2: 64}


class Malformed(ValueError):
    """No record, or no certificate in DER."""


class Record(NamedTuple):
    """One TLSA record; its numbers are those of RFC 6698 2.1."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        """As in a zone."""
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"

    @property
    def usable(self) -> bool:
        """Whether a host can be authenticated by it in SMTP: not by what a public authority would have to agree with
        (usages 0 and 1, RFC 7672 3.1.3), what is unknown, and what can't match."""
        if self.usage not in (DANE_TA, DANE_EE) or self.selector not in (CERTIFICATE, KEY):
            return False
        if self.matching == FULL:
            return _is_whole(self.data, self.selector)
        return len(self.data) == _HASHES.get(self.matching)

    def matches(self, certificate: bytes) -> bool:
        """Whether it is about this certificate (DER)."""
        try:
            thing = certificate if self.selector == CERTIFICATE else public_key(certificate)
        except Malformed:
            return False
        if self.matching != FULL:
            thing = (hashlib.sha256 if self.matching == 1 else hashlib.sha512)(thing).digest()
        return hmac.compare_digest(thing, self.data)


def read(text: str) -> Record:
    """A record from `usage selector matching hex`, each number from 0 to 255. Raises Malformed."""
    words = text.split(" ")
    if len(words) != 4 or not all(word.isascii() for word in words):
        raise Malformed("expected three numbers and hexadecimal data")
    numbers = [int(word) if word.isdigit() and len(word) <= 3 else 256 for word in words[:3]]
    if max(numbers) > 255:
        raise Malformed("expected numbers from 0 to 255")
    try:
        data = bytes.fromhex(words[3])
    except ValueError:
        raise Malformed("expected hexadecimal data") from None
    return Record(numbers[0], numbers[1], numbers[2], data)


def usable(records: Iterable[Record]) -> tuple[Record, ...]:
    """Those by which a host is authenticated, each once, in an order of their own: of hashes of the same thing for the
    same usage the best only (RFC 7671 9), so that a weak one can be retired beside a strong one."""
    found = sorted({record for record in records if record.usable})
    best: dict[tuple[int, int], int] = {}
    for record in found:
        thing = record.usage, record.selector
        best[thing] = max(best.get(thing, FULL), record.matching)
    return tuple(one for one in found if one.matching in (FULL, best[one.usage, one.selector]))


def public_key(certificate: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, byte by byte as it stands there (RFC 5280 4.1). Raises Malformed."""
    # A key that is read and written again need not be the same bytes; so it is cut out.
    start, end = _inside(certificate, 0, len(certificate), 0x30)
    start, end = _inside(certificate, start, end, 0x30)
    if certificate[start : start + 1] == b"\xa0":
        start = _inside(certificate, start, end, 0xA0)[1]
    # Serial number, signature algorithm, issuer, validity, subject.
    for tag in (0x02, 0x30, 0x30, 0x30, 0x30):
        start = _inside(certificate, start, end, tag)[1]
    return certificate[start : _inside(certificate, start, end, 0x30)[1]]


def _is_whole(data: bytes, selector: int) -> bool:
    """Whether `data` looks like one certificate, or one key, and nothing else."""
    try:
        if selector == CERTIFICATE:
            public_key(data)
        return _inside(data, 0, len(data), 0x30)[1] == len(data)
    except Malformed:
        return False


def _inside(data: bytes, start: int, end: int, tag: int) -> tuple[int, int]:
    """Where the content of the element at `start` begins and ends; it has to have this tag. Raises Malformed."""
    if end - start < 2 or data[start] != tag:
        raise Malformed("not the structure of a certificate")
    length, start = data[start + 1], start + 2
    if length >= 0x80:
        size = length - 0x80
        if not 0 < size <= 4 or end - start < size:
            raise Malformed("a length that can't be")
        length, start = int.from_bytes(data[start : start + size], "big"), start + size
    if length > end - start:
        raise Malformed("longer than what it is in")
    return start, start + length
