"""Cursors of a tenant's callers: where a page ends is often at what is another's, so they are told it sealed."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


class Broken(ValueError):
    """It is none that was sealed here for that tenant."""


class Seal:
    """Of one kind of list. It lasts as long as the process: what it has sealed means nothing to the next one."""

    def __init__(self) -> None:
        self._cipher = AESGCM(AESGCM.generate_key(128))

    def shut(self, text: bytes, tenant: str) -> str:
        """A text that can stand in a query. It can't be read or changed, and only that tenant's callers can give it
        back; with a tenant of "" it is only written in another way."""
        if tenant:
            nonce = urandom(_NONCE)
            text = nonce + self._cipher.encrypt(nonce, text, tenant.encode())
        return urlsafe_b64encode(text).decode("ascii").rstrip("=")

    def open(self, sealed: str, tenant: str) -> bytes:
        """What was shut. Raises Broken."""
        try:
            text = urlsafe_b64decode(sealed.encode("ascii") + b"=" * (-len(sealed) % 4))
            return self._cipher.decrypt(text[:_NONCE], text[_NONCE:], tenant.encode()) if tenant else text
        except (ValueError, InvalidTag):
            raise Broken("the cursor is none of ours") from None
