"""One offer on its way: whom it is still for, and what comes of it for each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from relay.channel.frames import Addressee, Offer
from relay.delivery.exchangers import NOWHERE
from relay.delivery.watcher import Outcomes
from relay.message.values import Outcome, Result
from relay.smtp.ending import Ending

if TYPE_CHECKING:
    from relay.delivery.contact import Contact

#: Longest response in an outcome (characters).
MAX_RESPONSE = 500


class Attempt:
    """See the module.

    Attributes:
        offer: what came.
        to: those whom it goes on for, in its order.
        started: when it began (seconds on the clock of the session).
        doubtful: a host may have taken it already, on a connection that is gone.
    """

    __slots__ = ("_noted", "doubtful", "offer", "started", "to")

    def __init__(self, offer: Offer, started: float) -> None:
        self.offer = offer
        self.to: tuple[Addressee, ...] = (offer, *offer.fellows)
        self.started = started
        self.doubtful = False
        self._noted: set[int] = set()

    @property
    def recipient(self) -> str:
        """The only one whom it is for, "" when it is for several."""
        return self.offer.recipient if len(self.to) == 1 else ""

    def leave_behind(self, many: int) -> Sequence[Addressee]:
        """Go on with the first so many; the others."""
        behind = self.to[many:]
        if behind:
            self.to = self.to[:many]
        return behind

    @property
    def strangers(self) -> Sequence[Addressee]:
        """Those who are of other domains than the first."""
        return [one for one in self.to[1:] if one.domain] if self.offer.fellows else ()

    def part(self, along: Collection[str] = (), most: int = 0) -> Sequence[Addressee]:
        """Go on without those who are of other domains than the first and than those `along`, and with so many domains
        at `most` (0: all). Those who are left behind."""
        domains = dict.fromkeys(one.domain for one in self.strangers if one.domain in along)
        staying = {"", *islice(domains, max(0, most - 1) if most else None)}
        behind = [one for one in self.to[1:] if one.domain not in staying]
        if behind:
            self.to = (self.to[0], *(one for one in self.to[1:] if one.domain in staying))
        return behind

    def postponed(self, ending: Ending) -> Sequence[Addressee]:
        """Those whom it ended for without a word about them."""
        return [one for place, one in enumerate(self.to) if ending.of(place).postponed]

    def outcomes(self, ending: Ending, call: Contact | None, now: float, unsigned: str) -> Outcomes:
        """How it ended on this call for each but those that are postponed. `unsigned` is why a signature is missing, ""
        where none is."""
        # Of what is our own fault the host may have heard nothing; the failures of one attempt are told together.
        failed = ending.result is not Result.DELIVERED or bool(ending.apart)
        told = call.dialogue(ending) if call is not None and failed and ending.category != "ours" else ""
        return [
            (one, self._outcome(ending.of(place), call, now, unsigned, told))
            for place, one in enumerate(self.to)
            if not ending.of(place).postponed
        ]

    def some(self, endings: Mapping[int, Ending], call: Contact, now: float, unsigned: str) -> Outcomes:
        """How it ended for those at these places, while others wait for the host's word."""
        return [(self.to[place], self._outcome(ending, call, now, unsigned)) for place, ending in endings.items()]

    def note(self, outcomes: Outcomes) -> Outcomes:
        """Those that the host has taken the message for, each once in the life of the attempt."""
        taken = [
            (one, outcome)
            for one, outcome in outcomes
            if outcome.result is Result.DELIVERED and one.lease not in self._noted
        ]
        self._noted.update(one.lease for one, _ in taken)
        return taken

    def _outcome(
        self, ending: Ending, call: Contact | None, now: float, unsigned: str, dialogue: str = ""
    ) -> Outcome:
        text = ending.text[:MAX_RESPONSE]
        if not text.isprintable():
            text = "".join(letter if letter.isprintable() else "?" for letter in text)
        host = NOWHERE if call is None else call.host
        return Outcome(
            ending.result,
            text,
            ending.code,
            ending.category,
            ending.stage,
            host.name,
            host.address,
            "" if call is None else call.bound or call.local_address,
            now - self.started,
            ending.doubtful or self.doubtful,
            "" if call is None else call.tls,
            unsigned[:MAX_RESPONSE],
            call is not None and call.dsn,
            "" if ending.result is Result.DELIVERED else dialogue,
            self.offer.sender,
        )
