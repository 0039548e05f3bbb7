"""Which of our local addresses are on this machine, looked at again and again.

An address that was moved to another machine, or was never here, can't be bound: an attempt from
there fails before it has begun. Better to leave by another one, and to say so.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from relay.zone.decision import Decision, Scope
from relay.zone.zones import WILDCARDS

_log = Logger()

#: How often it is looked (seconds).
EVERY = 30.0
#: What the system answers when the address, or its whole kind, isn't here.
_GONE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def reason_against(address: str) -> str:
    """Why `address` can't be bound, for it isn't here; "" when it can.

    Raises OSError when nobody can tell now, such as without a free descriptor.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        if error.errno in _GONE:
            return error.strerror or str(error)
        raise
    return ""


class Plumbed:
    """Watches addresses.

    Attributes:
        gone: those that can't be bound, as of the last look.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        decided: Callable[[Decision], None],
        clock: IReactorTime,
        now: Callable[[], int],
        against: Callable[[str], str] = reason_against,
    ) -> None:
        """`decided` is told of each address that goes (`address-gone`) or comes back (`address-back`), when
        `gone` says so already; `now` gives milliseconds since the epoch."""
        self.gone: frozenset[str] = frozenset()
        self._addresses = sorted(set(addresses) - set(WILDCARDS))
        self._decided = decided
        self._now = now
        self._against = against
        self._loop = LoopingCall(self.look)
        self._loop.clock = clock

    def start(self) -> None:
        """Look now, and every 30 s."""
        if self._addresses and not self._loop.running:
            self._loop.start(EVERY)

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def look(self) -> None:
        """See which are here. Of what can't be told now the last answer stays."""
        reasons: dict[str, str] = {}
        before = self.gone
        for address in self._addresses:
            try:
                reason = self._against(address)
            except OSError as error:
                _log.warn("can't see whether {address} is here: {why}", address=address, why=str(error))
                reason = "it was not here" if address in before else ""
            if reason:
                reasons[address] = reason
        self.gone = frozenset(reasons)
        for address in self._addresses:
            if address in reasons and address not in before:
                self._tell("address-gone", address, f"it can't be bound: {reasons[address]}")
            elif address in before and address not in reasons:
                self._tell("address-back", address, "it can be bound again")

    def _tell(self, kind: str, address: str, reason: str) -> None:
        try:
            self._decided(Decision(kind, Scope(address=address), reason, self._now()))
        except Exception:
            # A loop that raises would end, and nobody would look any more.
            _log.failure("a decision about {address} was not told", address=address)
