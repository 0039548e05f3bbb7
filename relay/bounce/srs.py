"""The Sender Rewriting Scheme: a sender's address within one of ours, so that SPF fits and bounces find back. Pure.

    ann@example.org                            SRS0=hash=tt=example.org=ann@ours
    SRS0=hash=tt=example.org=ann@first         SRS1=hash=first==hash=tt=example.org=ann@ours
    SRS1=hash=first=...@second                 SRS1=hash=first=...@ours

`tt` is the day; the hash says that the rest is of our making. It has eight hex digits: with four, as they are often
seen, sixty thousand guesses would find an address by which anybody's mail is sent on to anybody.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Sequence

from relay.message.address import Address, parse

_HASH = 8
_DAYS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_ROUND = len(_DAYS) ** 2
_DAY = 86_400_000

_srs0 = re.compile(r"srs0([=+-].+)", re.ASCII | re.IGNORECASE).fullmatch
_srs1 = re.compile(r"srs1[=+-][^=]*=([^=]+)=([=+-].+)", re.ASCII | re.IGNORECASE).fullmatch
_ours0 = re.compile(r"srs0[=+-]([0-9a-f]{8})=([a-z2-7]{2})=([^=]+)=(.+)", re.ASCII | re.IGNORECASE).fullmatch
_ours1 = re.compile(r"srs1[=+-]([0-9a-f]{8})=([^=]+)=([=+-].+)", re.ASCII | re.IGNORECASE).fullmatch


class Srs:
    """Rewrites to one domain, and back. Of several secrets the first makes addresses, and all are believed."""

    def __init__(self, secrets: Sequence[bytes], domain: str, days: int) -> None:
        """`days`: for how long an address is believed."""
        self._secrets = tuple(secrets)
        self._domain = domain
        self._days = days

    def rewritten(self, sender: Address, now: int) -> Address | None:
        """As of `now` (ms since the epoch); None for an address that has no room in another: its local part would be
        longer than 64 octets, or is quoted."""
        if (found := _srs1(sender.local)) is not None:
            first, rest = found[1].lower(), found[2]
        elif (found := _srs0(sender.local)) is not None:
            first, rest = sender.domain, found[1]
        else:
            day = now // _DAY % _ROUND
            tt = _DAYS[day // len(_DAYS)] + _DAYS[day % len(_DAYS)]
            parts = (tt, sender.domain, sender.local)
            return self._address("SRS0", parts, f"{tt}={sender.domain}={sender.local}")
        return self._address("SRS1", (first, rest), f"{first}={rest}")

    def original(self, local: str, now: int) -> Address | None:
        """Whom mail to this local part is for; None: we didn't make it, or too long ago."""
        if (found := _ours0(local)) is not None:
            given, tt, domain, user = found.groups()
            made = _DAYS.index(tt[0].upper()) * len(_DAYS) + _DAYS.index(tt[1].upper())
            if not self._ours(given, "SRS0", (tt, domain, user)) or (now // _DAY - made) % _ROUND > self._days:
                return None
            text = f"{user}@{domain}"
        elif (found := _ours1(local)) is not None:
            given, first, rest = found.groups()
            if not self._ours(given, "SRS1", (first, rest)):
                return None
            text = f"SRS0{rest}@{first}"
        else:
            return None
        try:
            return parse(text)
        except ValueError:
            return None

    def _address(self, kind: str, parts: Sequence[str], rest: str) -> Address | None:
        try:
            return parse(f"{kind}={_hash(self._secrets[0], kind, parts)}={rest}@{self._domain}")
        except ValueError:
            return None

    def _ours(self, given: str, kind: str, parts: Sequence[str]) -> bool:
        given = given.lower()
        fits = [hmac.compare_digest(given, _hash(secret, kind, parts)) for secret in self._secrets]
        return any(fits)


def _hash(secret: bytes, kind: str, parts: Sequence[str]) -> str:
    """Of what hosts may have changed the case of."""
    text = "\0".join((kind, *parts)).lower().encode("utf-8")
    return hmac.digest(secret, text, hashlib.sha256).hex()[:_HASH]
