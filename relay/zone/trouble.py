"""Trouble between us and a site, as values: what it is, and what is kept of it. Pure."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

import msgspec

Kind = Literal["rate", "block", "blacklist"]

#: How much of a peer's words is kept (characters).
QUOTED = 300

_Name = Annotated[str, msgspec.Meta(max_length=512)]
_Words = Annotated[str, msgspec.Meta(max_length=QUOTED)]
#: Milliseconds since the epoch, some hundred thousand years of them.
_Moment = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_Level = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class Witness(NamedTuple):
    """The delivery that was told: its queue id, its number, and its recipient's domain."""

    id: str = ""
    seq: int = 0
    domain: str = ""


class Trouble(msgspec.Struct, frozen=True):
    """What is in force. `kind` is `rate`, `block`, `blacklist` or `unreachable` (then there is no address);
    `reason` is the peer's reply. Times are ms since the epoch: `since` is when the present pause began,
    `until` when the allowance next changes. `allowance` is how many connections there may be now; that
    of an unreachable site is 1 while it is probed or may be."""

    zone: str
    site: str
    address: str
    kind: str
    reason: str
    since: int
    until: int
    allowance: int


class Path(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One address that has trouble with a site. It is suspended from `since` to `until`, and climbs then.
    `level` is how many complaints lengthen the next pause; `climbing`, whether that was told; `first`, when the
    first complaint came, or the last mail was taken since; it hasn't recovered."""

    zone: _Name
    site: _Name
    address: _Name
    kind: Kind
    reason: _Words
    since: _Moment
    until: _Moment
    level: _Level
    id: _Name = ""
    seq: Annotated[int, msgspec.Meta(ge=0, le=1 << 32)] = 0
    domain: _Name = ""
    climbing: bool = False
    first: _Moment = 0


class Outage(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A site that didn't answer: left alone from `since` to `until`, and tried by one probe then.
    `probed` is when that began, 0 when there is none; `first`, when it was first found not to answer."""

    zone: _Name
    site: _Name
    reason: _Words
    since: _Moment
    until: _Moment
    level: _Level
    probed: _Moment = 0
    first: _Moment = 0


class Saved(NamedTuple):
    """What outlives a restart, the oldest first."""

    paths: list[Path]
    outages: list[Outage]


def quoted(text: str, most: int = QUOTED) -> str:
    """A peer's words, bounded and fit to be shown."""
    text = " ".join(text[: 2 * most].split())[:most]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
