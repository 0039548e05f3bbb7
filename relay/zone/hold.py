"""A hold: an operator's word that something isn't to be sent, why, and until when."""

from __future__ import annotations

import re
from ipaddress import ip_address

import msgspec

from relay.config.plain import shown
from relay.config.units import MAX_SECONDS
from relay.message.address import parse
from relay.zone.decision import Scope

#: Characters of a reason, and of a name.
LONGEST_REASON = 500
LONGEST_NAME = 255
#: How long a hold with an end may last (ms).
LONGEST = int(MAX_SECONDS * 1000)
#: No wall clock that is right says more for thousands of years (ms); times up to here can be written as dates.
_LAST = 200_000_000_000_000
_unwritable = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search


class BadHold(ValueError):
    """A hold that can't be; `field` is what is wrong with it, the text says what was expected there."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(f"{field}: {text}")
        self.field = field


class Hold(msgspec.Struct, frozen=True):
    """Whatever has all the names in `scope` isn't sent; a scope without names is everything.

    With an address in it the hold takes that local address away, and mail goes by the others.
    `since` and `until` are ms since the epoch; `until` 0: until it is released.
    """

    id: str
    scope: Scope
    reason: str
    since: int
    until: int = 0


def made(id: str, scope: Scope, reason: str, since: int, until: int = 0, everything: bool = False) -> Hold:
    """The hold that is meant, with its names in their usual form.

    Raises:
        BadHold: too long, malformed, over before it begins; or nothing is named and `everything` not said.
    """
    _check_names(scope, everything)
    if not 0 <= since <= _LAST:
        raise BadHold("since", f"expected ms since the epoch, got {shown(since)}")
    if until and not 0 < until - since <= LONGEST:
        raise BadHold("until", f"expected a time to come, within {LONGEST // 86_400_000} days")
    reason = reason.strip()
    if not reason or len(reason) > LONGEST_REASON or _unwritable(reason):
        expected = f"expected 1 to {LONGEST_REASON} characters on one line, without control characters"
        raise BadHold("reason", f"{expected}, got {shown(reason)}")
    usual = Scope(
        zone=scope.zone.lower(),
        domain=scope.domain and _domain(scope.domain),
        site=scope.site.lower(),
        address=scope.address and _address(scope.address),
        user=scope.user,
    )
    return Hold(id, usual, reason, since, until)


def _check_names(scope: Scope, everything: bool) -> None:
    named = [field for field in Scope.__struct_fields__ if getattr(scope, field)]
    if everything and named:
        raise BadHold("everything", f"expected nothing named beside it, got {', '.join(named)}")
    if not named and not everything:
        raise BadHold("everything", f"expected true, or one of {', '.join(Scope.__struct_fields__)}, got neither")
    for field in named:
        name = getattr(scope, field)
        if len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
            expected = f"expected a name of at most {LONGEST_NAME} printable characters, without spaces around it"
            raise BadHold(field, f"{expected}, got {shown(name)}")


def _domain(text: str) -> str:
    """As it stands in the addresses of recipients."""
    try:
        return parse(f"x@{text}").domain
    except ValueError:
        raise BadHold("domain", f'expected a domain such as "example.com", got {shown(text)}') from None


def _address(text: str) -> str:
    """As it stands where addresses are chosen."""
    try:
        if "%" in text:
            raise ValueError
        return str(ip_address(text))
    except ValueError:
        raise BadHold("address", f'expected an IP address such as "192.0.2.1", got {shown(text)}') from None
