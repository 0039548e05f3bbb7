"""Whom of other domains a message takes along on a connection that was made for its first recipient's.

The master thinks that they have the same hosts; whether this host is one of theirs, and the connection as safe as each
of them asks, is found out here, by their own records. Those of whom that isn't known in time go by themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec.structs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger

from relay.channel.frames import Addressee, Offer
from relay.delivery.contact import Contact
from relay.delivery.exchangers import Host, Unroutable
from relay.delivery.security import Approach

_log = Logger()

#: How long the answers are waited for (seconds).
PATIENCE = 2.0

#: How safe a connection to a host has to be for an offer, None: it isn't for that. May raise Unroutable.
Also = Callable[[Offer, Host], Awaitable[Approach | None]]


class Company:
    """Asks for one session.

    Attributes:
        decided: it is told who goes along on the connection that there is.
    """

    __slots__ = ("_also", "_asked", "_told", "decided")

    def __init__(self, also: Also) -> None:
        self.decided = False
        self._also = also
        self._asked: list[Deferred[str]] = []
        self._told: Callable[[frozenset[str]], None] | None = None

    @property
    def asking(self) -> bool:
        """Answers are waited for."""
        return self._told is not None

    def ask(
        self, offer: Offer, strangers: Sequence[Addressee], call: Contact, told: Callable[[frozenset[str]], None]
    ) -> None:
        """`told` is called once, maybe within this call, unless it is stopped: with those domains of the strangers
        whose mail may go on this connection."""
        self._told, self.decided = told, False
        domains = dict.fromkeys(one.domain for one in strangers)
        offers = [msgspec.structs.replace(offer, domain=domain, fellows=()) for domain in domains]
        self._asked = [Deferred.fromCoroutine(self._ask(one, call)) for one in offers]
        DeferredList(self._asked).addCallback(self._answered)

    def give_up(self) -> None:
        """No further answer is waited for."""
        for asked in self._asked:
            asked.cancel()

    def stop(self) -> None:
        """The connection is none any more, and nobody wants to know."""
        self.decided = False
        self._told = None
        self.give_up()

    async def _ask(self, offer: Offer, call: Contact) -> str:
        """Its domain, "" when it doesn't go along."""
        try:
            need = await self._also(offer, call.host)
        except (CancelledError, Unroutable):
            return ""
        except Exception:
            _log.failure("Finding hosts failed", queue_id=offer.id, domain=offer.domain)
            return ""
        return offer.domain if need is not None and call.satisfies(need) else ""

    def _answered(self, answers: list[tuple[bool, str]]) -> None:
        told, self._told = self._told, None
        self._asked = []
        if told is not None:
            self.decided = True
            told(frozenset(domain for _, domain in answers if domain))
