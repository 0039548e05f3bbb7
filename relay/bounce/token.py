"""A word that only we can have made, and that names a delivery: what stands in addresses mail comes back to. Pure.

Twenty octets in base32: queue id, sequence number, and 64 bits of an HMAC over both and what the word is for. It
has no sign that an address can't have, and its case doesn't matter, which hosts on the way change.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import b32decode, b32encode
from collections.abc import Sequence
from typing import Literal, NamedTuple

from relay.message.queueid import is_queue_id

#: What a word is for: one made for one thing is none for another.
Purpose = Literal["bounces", "unsubscribe"]
#: Letters of each word.
LENGTH = 32
_ID, _SEQ, _MAC = 9, 3, 8


class Named(NamedTuple):
    """A delivery."""

    id: str
    seq: int


class Tokens:
    """Makes and reads them. The first secret makes them; all are believed, so that an old one may go on for a while."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        """Raises ValueError: there is no secret."""
        if not secrets:
            raise ValueError("expected a secret")
        self._secrets = tuple(secrets)

    def make(self, purpose: Purpose, id: str, seq: int) -> str:
        """In lower case. Raises ValueError: it is no delivery's name."""
        if not is_queue_id(id) or not 0 < seq < 1 << 8 * _SEQ:
            raise ValueError("expected the id and number of a delivery")
        name = bytes.fromhex(id) + seq.to_bytes(_SEQ, "big")
        return b32encode(name + _mac(self._secrets[0], purpose, name)).decode("ascii").lower()

    def read(self, purpose: Purpose, text: str) -> Named | None:
        """The delivery; None: we didn't make it for that. It takes as long whichever secret fits, or none."""
        if len(text) != LENGTH or not text.isascii():
            return None
        try:
            octets = b32decode(text, casefold=True)
        except binascii.Error:
            return None
        name, mac = octets[:-_MAC], octets[-_MAC:]
        fits = [hmac.compare_digest(mac, _mac(secret, purpose, name)) for secret in self._secrets]
        return Named(name[:_ID].hex(), int.from_bytes(name[_ID:], "big")) if any(fits) else None


def _mac(secret: bytes, purpose: Purpose, name: bytes) -> bytes:
    return hmac.digest(secret, b"%s\0%s" % (purpose.encode("ascii"), name), hashlib.sha256)[:_MAC]
