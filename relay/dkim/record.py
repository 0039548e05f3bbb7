"""The record that publishes a key: what is wrong with it (RFC 6376 3.6.1, RFC 8463 4)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from relay.dkim.keyfile import Key

#: So much of a value is shown (characters).
_LONGEST = 60


def faults(key: Key, texts: Sequence[str]) -> list[str]:
    """Why signatures of `key` would not be verified by the TXT records at its name; none: they would."""
    records = [tags for text in texts if (tags := _tags(text)) is not None]
    if not records:
        return ["no TXT record there is one for DKIM" if texts else "there is no TXT record"]
    if len(records) > 1:
        return [f"{len(records)} records are there; verifiers take any of them"]
    (tags,) = records
    found: list[str] = []
    kind = key.algorithm.partition("-")[0]
    if tags.get("k", "rsa") != kind:
        found.append(f"k= is {_seen(tags.get('k', 'rsa'))}, the key is {kind}")
    if "p" not in tags:
        found.append("p= is missing")
    elif not tags["p"]:
        found.append("p= is empty: the key is revoked")
    else:
        found += _other_key(key, tags["p"])
    hashes = tags.get("h", "")
    if hashes and "sha256" not in hashes.split(":"):
        found.append(f"h= is {_seen(hashes)}, and leaves out sha256")
    services = tags.get("s", "*").split(":")
    if "*" not in services and "email" not in services:
        found.append(f"s= is {_seen(tags['s'])}, and leaves out email")
    return found


def is_test(texts: Sequence[str]) -> bool:
    """Whether verifiers are told that this is a trial (`t=y`), by which signatures count for nothing."""
    return any("y" in tags.get("t", "").split(":") for text in texts if (tags := _tags(text)) is not None)


def tags_of(text: str) -> dict[str, str] | None:
    """The tags of a list (RFC 6376 3.2) without blanks in their values, the first of each name; None when it is
    none."""
    tags: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        if equals:
            tags.setdefault(name.strip(), "".join(value.split()))
        elif part.strip():
            return None
    return tags


def _tags(text: str) -> dict[str, str] | None:
    """The tags of a record for DKIM; None when it is none."""
    tags = tags_of(text)
    if tags is None or tags.get("v", "DKIM1") != "DKIM1" or ("v" not in tags and "p" not in tags):
        return None
    return tags


def _seen(value: str) -> str:
    """What somebody has written, as it can be shown."""
    return "".join(letter if letter.isprintable() else "?" for letter in value[:_LONGEST])


def _other_key(key: Key, published: str) -> list[str]:
    try:
        given = base64.b64decode(published, validate=True)
    except (binascii.Error, ValueError):
        return ["p= is no base64"]
    forms = [key.public()]
    if isinstance(key.private, RSAPrivateKey):
        # Some publish the bare numbers, and verifiers take them.
        forms.append(key.private.public_key().public_bytes(Encoding.DER, PublicFormat.PKCS1))
    return [] if given in forms else ["p= is that of another key"]
