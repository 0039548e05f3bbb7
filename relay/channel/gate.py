"""The master's end of the data channel: who may come in.

A stranger gets a few seconds, one frame, and one of a few places; when all are taken the
longest there makes room, so that a flood keeps no child out, which says hello at once. Its
first frame has to be a hello of this protocol's version with this start's secret and the id
of a child that is expected and not yet here; anything else and the line is cut without a word.
Until then nothing but a hello is read; afterwards what its owner says.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from relay.channel.codec import STRANGER, FrameReader
from relay.channel.frames import VERSION, Hello
from relay.channel.link import Link, Owner

_log = Logger()

_STRANGERS = 64
_DEADLINE = 5.0

#: Gives the owner of a child that said hello, None to refuse it. Told of the link, it has to say
#: what it hears by it (Link.hear).
Admit = Callable[[Hello, Link], Owner | None]


class Gate(Factory):
    """Listens for children."""

    noisy = False

    def __init__(self, secret: str, admit: Admit, clock: IReactorTime) -> None:
        self._secret = secret
        self._admit = admit
        self._clock = clock
        self._strangers: dict[Link, IDelayedCall] = {}

    def buildProtocol(self, addr: IAddress | None) -> Link:
        return Link(self, FrameReader(STRANGER))

    def link_made(self, link: Link) -> None:
        if len(self._strangers) >= _STRANGERS:
            self._turn_away(next(iter(self._strangers)), "makes room for others")
        self._strangers[link] = self._clock.callLater(_DEADLINE, self._too_slow, link)

    def _too_slow(self, link: Link) -> None:
        self._turn_away(link, "said no hello in time")

    def frame(self, link: Link, frame: Any) -> None:
        if type(frame) is not Hello:
            return self._turn_away(link, "did not begin with hello")
        if frame.version != VERSION:
            return self._turn_away(link, f"speaks version {frame.version}")
        if not hmac.compare_digest(frame.secret.encode(), self._secret.encode()):
            return self._turn_away(link, "does not know the secret")
        owner = self._admit(frame, link)
        if owner is None:
            return self._turn_away(link, "claims an id that is not expected")
        self._forget(link)
        link.owner = owner
        owner.link_made(link)
        return None

    def _turn_away(self, link: Link, why: str) -> None:
        _log.warn("channel: a stranger {why}", why=why)
        self._forget(link)
        link.drop()

    def _forget(self, link: Link) -> None:
        deadline = self._strangers.pop(link, None)
        if deadline is not None and deadline.active():
            deadline.cancel()

    def link_lost(self, link: Link, reason: str) -> None:
        self._forget(link)

    def stop(self) -> None:
        """Cut off whoever has not said hello."""
        for link in list(self._strangers):
            self._forget(link)
            link.drop()
