"""An entry of the list: who gets no mail, from whom, why, since when, and until when."""

from __future__ import annotations

import unicodedata
from typing import Literal, NamedTuple, get_args

import msgspec

Source = Literal["manual", "bounce", "complaint", "unsubscribe", "import"]
SOURCES: tuple[Source, ...] = get_args(Source)
#: What is kept of a reason (characters).
LONGEST_REASON = 300


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One entry.

    `whom` is an address or a domain (relay.suppression.whom). `tenant` is whose mail it stops: a tenant, or a user who
    has none, as flows know users (relay.message.flow); "": everybody's. `created` and `expires` are ms since the epoch,
    `expires` 0: never. `id` has 24 hex digits, and is "" of what isn't on the list yet.
    """

    whom: str
    tenant: str = ""
    reason: str = ""
    source: Source = "manual"
    created: int = 0
    expires: int = 0
    id: str = ""

    @property
    def address(self) -> str:
        """"" of an entry for a domain."""
        return self.whom if "@" in self.whom else ""

    @property
    def domain(self) -> str:
        """The domain, be it all or that of the address."""
        return self.whom.rpartition("@")[2]

    def words(self, tenant: str) -> str:
        """What has stopped some mail of a tenant ("": of none), and why, for people. Why an entry is everybody's is not
        for tenants to know: it may tell of another's mail."""
        what = f"{'address' if self.address else 'domain'} on the suppression list"
        if tenant and not self.tenant:
            return what
        what = f"{what}, {self.source}"
        return f"{what}: {self.reason}" if self.reason else what

    def outlasts(self, other: Entry) -> bool:
        """Whether it stops mail for longer than the other one."""
        return not self.expires or (bool(other.expires) and self.expires >= other.expires)


class Stop(NamedTuple):
    """What stops some mail: for whom an entry is, of which tenant, and its id. What else it says takes another read."""

    whom: str
    tenant: str
    id: str


def fit_reason(text: str) -> str:
    """A reason of bounded length in NFC, without control characters and blanks around it."""
    text = unicodedata.normalize("NFC", text[: 4 * LONGEST_REASON])[:LONGEST_REASON]
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return text.strip()
