"""What the relay holds back because a site complained or can't be reached; ended by hand if need be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Annotated, Protocol

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from relay.access.caller import Scope as Access
from relay.config.plain import shown
from relay.http.answer import Milliseconds, Moment, iso, refusal
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.operation import operation
from relay.zone.decision import Scope
from relay.zone.trouble import Path, Trouble

#: What is shown at most: of back-offs unless `limit` says so, and at all; of the blacklist.
_PAGE = 1000
_MOST = 10_000
# To end everything because a script's variable was empty is what nobody means.
_Name = Annotated[str, Meta(min_length=1, max_length=512)]


class _Which(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    zone: _Name | UnsetType = UNSET
    site: _Name | UnsetType = UNSET
    address: Annotated[_Name, Meta(description="A local address")] | UnsetType = UNSET

    def scope(self) -> Scope:
        """What is named. Raises Problem."""
        return Scope(
            zone=self.zone.lower() if self.zone else "",
            site=self.site.lower() if self.site else "",
            address=_address(self.address) if self.address else "",
        )


class BackoffQuery(_Which, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which back-offs are to be shown."""

    limit: Annotated[int, Meta(ge=1, le=_MOST)] = _PAGE


class EndQuery(_Which, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which back-offs are to end."""

    everything: Annotated[bool, Meta(description="All of them; then nothing else can be named")] = False


class BackoffShown(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is held back, and why: `rate`, `block`, `blacklist`, or `unreachable`, then there is no address.

    `allowance` is how many connections there may be now, `until` when that changes next."""

    zone: str
    site: str
    address: str = ""
    kind: str
    reason: Annotated[str, Meta(description="The host's reply")]
    since: Moment
    until: Moment
    allowance: int


class BackoffList(msgspec.Struct, frozen=True):
    """Back-offs, the newest first; `more`: there are others."""

    backoff: list[BackoffShown]
    more: bool


class Ended(msgspec.Struct, frozen=True):
    """How many have ended."""

    ended: int
    success: bool = True


class BlacklistEntry(msgspec.Struct, frozen=True):
    """A local address that a site refuses, and the delivery that told so, if one did."""

    id: str
    seq: str
    address: str
    domain: str
    response: str
    created: Milliseconds


class Blacklist(msgspec.Struct, frozen=True):
    """All of these."""

    entries: list[BlacklistEntry] = field(name="list")


class Backoffs(Protocol):
    """See relay.zone.backoff.Backoff."""

    def listed(self, now: int, scope: Scope, most: int) -> Sequence[Trouble]: ...

    def blacklisted(self, now: int, most: int) -> Sequence[Path]: ...

    def end(self, scope: Scope, now: int) -> int: ...


class BackoffApi:
    """The resources of back-off."""

    def __init__(self, backoffs: Backoffs, now: Callable[[], int]) -> None:
        self._backoffs = backoffs
        self._now = now

    @operation("GET", "/blacklist", scope=Access.READ, tag="shaping", answer=Blacklist)
    def blacklist(self, call: Call) -> Blacklist:
        """Shows which addresses of ours a site has on a blocklist.

        The newest first, and 10,000 at most.
        """
        return Blacklist([_listed(path) for path in self._backoffs.blacklisted(self._now(), _MOST)])

    @operation("GET", "/v1/backoff", scope=Access.READ, tag="shaping", query=BackoffQuery, answer=BackoffList)
    def backoffs(self, call: Call) -> BackoffList:
        """Shows what is held back because a site complained or can't be reached.

        All of it, or what the query names.
        """
        query: BackoffQuery = call.query
        found = self._backoffs.listed(self._now(), query.scope(), query.limit + 1)
        return BackoffList([_shown(trouble) for trouble in found[: query.limit]], len(found) > query.limit)

    @operation("DELETE", "/v1/backoff", scope=Access.OPERATE, tag="shaping", query=EndQuery, answer=Ended)
    def end(self, call: Call) -> Ended:
        """Ends back-offs: mail goes on at once.

        Those that the query names, or `everything`.
        """
        query: EndQuery = call.query
        scope = query.scope()
        if (scope != Scope()) == query.everything:
            raise refusal(400, "InvalidArgument", "expected zone, site or address, or everything=true alone")
        return Ended(self._backoffs.end(scope, self._now()))


def _listed(path: Path) -> BlacklistEntry:
    seq = f"{path.seq:03x}" if path.id else ""
    return BlacklistEntry(path.id, seq, path.address, path.domain or path.site, path.reason, path.since)


def _shown(trouble: Trouble) -> BackoffShown:
    return BackoffShown(
        zone=trouble.zone,
        site=trouble.site,
        address=trouble.address,
        kind=trouble.kind,
        reason=trouble.reason,
        since=iso(trouble.since),
        until=iso(trouble.until),
        allowance=trouble.allowance,
    )


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise wrong("address", f"expected an IP address, got {shown(text)}") from None
