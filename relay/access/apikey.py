"""An API key: what is written of it, and what is kept.

Written, it is `zr_` with an id of 12 hexadecimal digits, `_`, and a secret: 32 random bytes in base64url. The secret is
shown once. It can't be guessed, so what is kept is its SHA-256: nothing slow is needed against who has read that.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import NamedTuple

import msgspec

from relay.access.caller import Scope

_WRITTEN = re.compile(r"zr_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
#: What no secret has.
_NOBODY = bytes(32)


class Written(NamedTuple):
    """A key as somebody shows it."""

    id: str
    secret: str

    def __str__(self) -> str:
        return f"zr_{self.id}_{self.secret}"

    def __repr__(self) -> str:
        return f"zr_{self.id}_..."


def make() -> Written:
    """A new one."""
    return Written(secrets.token_hex(6), secrets.token_urlsafe(32))


def read(text: str) -> Written | None:
    """The key that `text` is; None when it has another form."""
    found = _WRITTEN.fullmatch(text) if text.isascii() else None
    return Written(*found.groups()) if found is not None else None


def hashed(secret: str) -> bytes:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


class ApiKey(msgspec.Struct, frozen=True, gc=False):
    """One key as it is kept.

    `hash` is that of its secret. `tenant` "": it is the relay's own. `domains` are those that its mail may come from,
    (): any of the tenant's; `networks` those that it may be used from, (): any; `rates` how often, such as "100/m".
    `created`, `expires` (0: never) and `used` (0: not yet; it may be an hour behind) are ms since the epoch.
    """

    id: str
    name: str
    hash: bytes
    scopes: tuple[Scope, ...]
    tenant: str = ""
    domains: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    created: int = 0
    expires: int = 0
    used: int = 0

    @property
    def user(self) -> str:
        """As what its mail is submitted, and who it is in logs."""
        return f"{self.tenant}/{self.name}" if self.tenant else self.name

    def is_over(self, now: int) -> bool:
        return 0 < self.expires <= now

    def fits(self, address: str) -> bool:
        """Whether it may be used from there."""
        if not self.networks:
            return True
        try:
            client = ip_address(address)
        except ValueError:
            return False
        client = getattr(client, "ipv4_mapped", None) or client
        return any(client in _network(text) for text in self.networks)


#: Asked of each request.
_network = lru_cache(4096)(ip_network)


def knows(key: ApiKey | None, secret: str) -> bool:
    """Whether it is the secret of `key`. Takes as long where there is no key, and then it isn't."""
    right = hmac.compare_digest(hashed(secret), _NOBODY if key is None else key.hash)
    return right and key is not None
