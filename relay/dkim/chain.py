"""The ARC chain that mail has come with: found, and judged (RFC 8617 5.2).

It is judged here, and not by the library that the tests compare this with: what a stranger has written there may
not take more than its share of time, nor the whole message in memory.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from relay.dkim.canon import relaxed_field
from relay.dkim.keyfile import SMALLEST
from relay.dkim.names import is_domain
from relay.dkim.record import tags_of
from relay.message.headers import HeaderBlock, Span, field_names

#: The fields of a set, in the order in which a seal covers them (RFC 8617 5.1.1).
RESULTS, SIGNATURE, SEAL = FIELDS = (b"arc-authentication-results", b"arc-message-signature", b"arc-seal")
#: Sets in a chain, at most (RFC 8617 4.2.1).
MOST = 50
#: Fields that a signature may name; each is looked for.
_MOST_NAMES = 200

_pattern = field_names(*(name.decode("ascii") for name in FIELDS))
_instance = re.compile(rb"[ \t]*i[ \t]*=[ \t]*([0-9]{1,2})[ \t]*(?:;|\Z)").match

PASS, FAIL, ENDED = "pass", "fail", ""


class Part(NamedTuple):
    """A field of a set: in relaxed form, as it is, and its tags without their blanks (of results none)."""

    relaxed: bytes
    raw: bytes
    tags: Mapping[str, str]


class Chain(NamedTuple):
    """The sets that a message has, each field by instance and name; `length` is the highest instance. `broken`: a
    field is there twice, or is no part of any set."""

    parts: Mapping[tuple[int, bytes], Part]
    length: int
    broken: bool

    @property
    def ended(self) -> bool:
        """There is none, it has failed before, or may not grow: nothing is added to it."""
        newest = self.parts.get((self.length, SEAL))
        return not 0 < self.length < MOST or (newest is not None and newest.tags.get("cv", "").lower() == FAIL)

    @property
    def simple_body(self) -> bool:
        """The newest signature is of the body in simple form."""
        newest = self.parts.get((self.length, SIGNATURE))
        return newest is not None and newest.tags.get("c", "relaxed/relaxed").partition("/")[2] != "relaxed"

    def records(self) -> set[str]:
        """Where the DNS has the keys that judge it: those of all seals, and of the newest signature."""
        wanted = [part for (number, name), part in self.parts.items() if name == SEAL or number == self.length]
        return {place for part in wanted if (place := _record(part))}


def is_sealed(block: HeaderBlock) -> bool:
    """Whether mail has come with a chain, as a glance tells."""
    return b"\r\narc-seal" in block.lower


def chain_of(block: HeaderBlock) -> Chain:
    """The chain in a header."""
    parts: dict[tuple[int, bytes], Part] = {}
    broken = False
    for name, span in block.find(_pattern):
        relaxed = relaxed_field(name, block.raw[span.value : span.end])
        match = _instance(relaxed, len(name) + 1)
        place = (int(match[1]) if match else 0, name)
        broken |= place[0] == 0 or place in parts
        text = "" if name == RESULTS else relaxed[len(name) + 1 :].decode("latin-1")
        parts[place] = Part(relaxed, block.raw[span.start : span.end], tags_of(text) or {})
    return Chain(parts, max((instance for instance, _ in parts), default=0), broken)


def judged(chain: Chain, block: HeaderBlock, body_hash: bytes, records: Mapping[str, str]) -> str:
    """What the chain in `block` is worth: PASS or FAIL.

    Args:
        body_hash: of the body, in simple form if the chain says so.
        records: the TXT record at each name that Chain.records gives, where there is one.
    """
    if chain.broken or chain.ended or len(chain.parts) != len(FIELDS) * chain.length:
        return FAIL
    for number in range(1, chain.length + 1):
        seal = chain.parts.get((number, SEAL))
        if seal is None or seal.tags.get("cv", "").lower() != ("none" if number == 1 else PASS) or "h" in seal.tags:
            return FAIL
    signed = chain.parts[chain.length, SIGNATURE]
    if not _is_signed(signed, block, body_hash, records):
        return FAIL
    covered = b""
    for number in range(1, chain.length + 1):
        covered += chain.parts[number, RESULTS].relaxed + b"\r\n" + chain.parts[number, SIGNATURE].relaxed + b"\r\n"
        seal = chain.parts[number, SEAL]
        if not _verifies(seal, covered + _without_signature(seal.relaxed), records):
            return FAIL
        covered += seal.relaxed + b"\r\n"
    return PASS


def _is_signed(part: Part, block: HeaderBlock, body_hash: bytes, records: Mapping[str, str]) -> bool:
    """Whether a message signature is of this message (RFC 8617 4.1.2, RFC 6376 6.1.3)."""
    form, _, body_form = part.tags.get("c", "relaxed/relaxed").partition("/")
    if form not in ("relaxed", "simple") or body_form not in ("relaxed", "simple", ""):
        return False
    names = part.tags.get("h", "").lower().split(":")
    if "from" not in names or "arc-seal" in names or len(names) > _MOST_NAMES or _decoded(part.tags, "bh") != body_hash:
        return False
    known = {name for name in names if name.isascii() and name.isprintable() and name}
    found: dict[str, list[Span]] = {}
    for field, span in block.find(field_names(*known)):
        found.setdefault(field.decode("ascii"), []).append(span)
    texts = []
    for name in names:
        if spans := found.get(name):
            span = spans.pop()
            raw = block.raw[span.start : span.end]
            value = block.raw[span.value : span.end]
            texts.append(raw if form == "simple" else relaxed_field(name.encode("ascii"), value) + b"\r\n")
    own = part.raw[:-2] if form == "simple" else part.relaxed
    return _verifies(part, b"".join(texts) + _without_signature(own), records)


def _verifies(part: Part, text: bytes, records: Mapping[str, str]) -> bool:
    """Whether `text` is what the field has signed."""
    record = tags_of(records.get(_record(part), ""))
    if part.tags.get("a") != "rsa-sha256" or record is None or record.get("k", "rsa") != "rsa":
        return False
    if record.get("h") and "sha256" not in record["h"].split(":"):
        return False
    try:
        key = load_der_public_key(_decoded(record, "p"))
        if not isinstance(key, RSAPublicKey) or key.key_size < SMALLEST:
            return False
        key.verify(_decoded(part.tags, "b"), text, PKCS1v15(), SHA256())
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _record(part: Part) -> str:
    """Where the key of a field is; "" when it doesn't say."""
    name = f"{part.tags.get('s', '')}._domainkey.{part.tags.get('d', '')}".lower()
    return name if is_domain(name.replace("._domainkey.", ".", 1)) else ""


def _decoded(tags: Mapping[str, str], name: str) -> bytes:
    """b"" where it is no base64."""
    try:
        return base64.b64decode(tags.get(name, ""), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _without_signature(field: bytes) -> bytes:
    """A field whose `b=` is empty (RFC 6376 3.7)."""
    name, colon, value = field.partition(b":")
    tags = value.split(b";")
    for number, tag in enumerate(tags):
        title, equals, _ = tag.partition(b"=")
        if equals and title.strip() == b"b":
            tags[number] = title + equals
    return name + colon + b";".join(tags)
