"""The child itself: clients in, frames out, and no word of success before the master has committed.

It listens once the master has let it in. When the channel is lost it leaves at once: whoever has
no 250 yet will not get one, and sends again. Asked to leave it takes no further message, answers
those under way, and goes.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from relay.channel import frames
from relay.channel import reception as words
from relay.channel.briefing import ReceiverBriefing
from relay.channel.frames import Frame
from relay.channel.link import Link
from relay.dkim.keys import KeyIndex
from relay.dkim.need import is_hashed
from relay.listener.entrance import entrance
from relay.listener.happening import Happening
from relay.listener.listener import ListenerFactory
from relay.net.tls import server_tls
from relay.reception.door import AskingDoor

_log = Logger()

#: How long the last frames get to leave (seconds).
_LAST_FRAMES = 1.0


class Receiver:
    """Owner of the link, and of the listener of this process."""

    def __init__(
        self, briefing: ReceiverBriefing, reactor: Any, adopt: Callable[[IProtocolFactory], Any]
    ) -> None:
        """`adopt` accepts clients on the listener's socket, and gives the port. Raises TlsUnusable."""
        self._briefing = briefing
        self._reactor = reactor
        self._adopt = adopt
        self._link: Link | None = None
        self._port: Any = None
        self._leaving = False
        self._ended = False
        keys = KeyIndex(briefing.dkim.keys, reactor)
        self._door = AskingDoor(briefing.section, self._say, lambda block: is_hashed(keys, block, briefing.dkim))
        tls = server_tls(briefing.section, reactor.seconds)
        self._happened: Counter[str] = Counter()
        self._factory = ListenerFactory(
            briefing.section, briefing.place, briefing.hostname, self._door, reactor, self._observe, tls
        )
        self.exit_code = 0

    # -- the link

    def link_made(self, link: Link) -> None:
        self._link = link
        briefing = self._briefing
        link.send(frames.Hello(frames.VERSION, briefing.secret, briefing.child, briefing.place, os.getpid()))

    def frame(self, link: Link, frame: Any) -> None:
        kind = type(frame)
        if kind is frames.Ping:
            link.send(frames.Pong(frame.number))
            self._tell_what_happened()
        elif kind is frames.Welcome:
            self._port = self._adopt(entrance(self._factory, self._reactor))
        elif kind is frames.Quit:
            self._quit()
        else:
            self._door.frame(frame)

    def link_lost(self, link: Link, reason: str) -> None:
        if self._link is None:
            self._end()  # It was we who closed it: all was said.
            return
        self._link = None
        self.leave(0, f"the channel is lost: {reason}")

    def _say(self, frame: Frame) -> None:
        if self._link is not None:
            self._link.send(frame)

    def _observe(self, happening: Happening) -> None:
        self._happened[happening] += 1

    def _tell_what_happened(self) -> None:
        """Now and then; what the master hasn't heard when we crash isn't counted."""
        if self._happened:
            self._say(words.Happened(dict(self._happened)))
            self._happened.clear()

    # -- the end

    def _quit(self) -> None:
        """Take nothing more, and leave when the last client is gone."""
        if self._leaving:
            return
        self._leaving = True
        if self._port is not None:
            self._port.stopListening()
        self._factory.stop().addCallback(self._emptied)

    def _emptied(self, _: None) -> None:
        self._tell_what_happened()
        link, self._link = self._link, None
        if link is not None:
            link.finish()
            self._reactor.callLater(_LAST_FRAMES, self._end)

    def leave(self, code: int, why: str) -> None:
        """Leave at once; clients are cut off."""
        if not self._ended:
            self.exit_code = code
            _log.info("leaving: {why}", why=why)
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._reactor.stop()
