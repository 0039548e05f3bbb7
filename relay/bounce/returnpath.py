"""The addresses that mail comes back to: how a sender is rewritten, and what an address of ours stands for. Pure.

    bounces+<token>@domain          of one delivery: whatever its host says later
    unsubscribe+<token>@domain      of one delivery: its recipient wants no more
    SRS0=...@domain                 of a sender, for whom it is sent on
    <complaints>@domain             where feedback loops report
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from relay.bounce.srs import Srs
from relay.bounce.token import Named, Purpose, Tokens
from relay.config.schema import Returns
from relay.message.address import Address, parse

#: What is done to a sender when mail leaves.
Rewriting = Literal["", "verp", "srs"]


class Place(NamedTuple):
    """What an address is for: the word before `+` with the delivery, "complaints", or "sender" and who that is."""

    purpose: Literal["bounces", "unsubscribe", "complaints", "sender"]
    delivery: Named | None = None
    sender: str = ""


class ReturnPaths:
    """Those of one domain."""

    def __init__(
        self, domain: str, secrets: Sequence[bytes], *, keep: Sequence[str] = (), complaints: str = "", days: int = 21
    ) -> None:
        """`keep`: domains whose senders stay as they are, in lower case. `complaints`: a local part, "" for none.
        `days`: for how long what SRS makes is believed."""
        self._domain = domain.lower()
        self._keep = frozenset((self._domain, *keep))
        self._complaints = complaints.lower()
        self._srs = Srs(secrets, self._domain, days)
        self.tokens = Tokens(secrets)

    def rewritten(self, rewriting: Rewriting, sender: str, id: str, seq: int, now: int) -> str:
        """The sender that a delivery goes out with, as of `now` (ms since the epoch). The null sender stays it."""
        if not (rewriting and sender) or sender.rpartition("@")[2].lower() in self._keep:
            return sender
        if rewriting == "verp":
            return self.address("bounces", id, seq)
        try:
            found = self._srs.rewritten(parse(sender), now)
        except ValueError:
            return sender
        return sender if found is None else found.text

    def address(self, purpose: Purpose, id: str, seq: int) -> str:
        """One of a delivery."""
        return f"{purpose}+{self.tokens.make(purpose, id, seq)}@{self._domain}"

    def place(self, address: Address, now: int) -> Place | None:
        """What it is for; None: nothing, it is none of ours."""
        if address.domain != self._domain:
            return None
        local = address.local
        if self._complaints and local.lower() == self._complaints:
            return Place("complaints")
        word, plus, token = local.partition("+")
        purpose = word.lower()
        if plus and (purpose == "bounces" or purpose == "unsubscribe"):
            named = self.tokens.read(purpose, token)  # type: ignore[arg-type]
            return None if named is None else Place(purpose, named)  # type: ignore[arg-type]
        sender = self._srs.original(local, now)
        return None if sender is None else Place("sender", sender=sender.text)

    def found(self, text: str) -> Named | None:
        """The delivery that an address of ours, or a place to unsubscribe at, names somewhere in a text."""
        for word in text.replace(",", " ").split():
            word = word.strip("<>").partition("?")[0]
            if word.startswith("https:"):
                named = self.tokens.read("unsubscribe", word.rpartition("/")[2])
            else:
                named = self._delivery(word.removeprefix("mailto:"))
            if named is not None:
                return named
        return None

    def _delivery(self, text: str) -> Named | None:
        try:
            place = self.place(parse(text), 0)
        except ValueError:
            return None
        return None if place is None else place.delivery


def return_paths(section: Returns, secrets: Sequence[bytes]) -> ReturnPaths:
    """Those that the configuration wants; the first secret signs."""
    return ReturnPaths(
        section.domain,
        secrets,
        keep=[domain.lower() for domain in section.keep_domains],
        complaints=section.complaints,
        days=int(section.srs_age // 86400),
    )
