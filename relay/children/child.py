"""One child as the master sees it: its process and its link.

A child is gone only when its process has ended; then nothing of it can deliver or write its
journal any more, and only then may its leases be given to others. A child whose link is lost
gets a few seconds to finish final dots, then it is killed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.channel.briefing import Briefing
from relay.channel.codec import Tongue
from relay.channel.frames import Frame, Quit, Settled, Welcome
from relay.channel.link import Link

_log = Logger()

#: From the loss of the link to SIGKILL (seconds): longer than a child waits for final dots.
GRACE = 6.0
#: A spawned process that has not said hello by then is killed (seconds).
HELLO_WITHIN = 30.0
#: How long the link of a process that ended is read on: its last words may still lie there.
LAST_WORDS = 2.0
#: Acceptances on disk are told to the child at most this often (seconds).
_SETTLE_EVERY = 0.05
_LONGEST_LINE = 2000


class Child(ProcessProtocol):
    """A sender of one zone or a receiver of one listener, from its spawning to its end."""

    transport: IProcessTransport

    def __init__(
        self,
        briefing: Briefing,
        tongue: Tongue,
        welcome: Welcome,
        clock: IReactorTime,
        *,
        joined: Callable[[Child], None],
        said: Callable[[Child, Any], None],
        ended: Callable[[Child, bool], None],
    ) -> None:
        """`tongue` is what it speaks. `ended` is told once, and whether the end was a crash (neither
        asked for nor clean)."""
        self.id = briefing.child
        self.place = briefing.place
        self._briefing = briefing
        self._tongue = tongue
        self._welcome = welcome
        self._clock = clock
        self._joined = joined
        self._said = said
        self._ended = ended
        self._link: Link | None = None
        self._deadline: IDelayedCall | None = None
        self._exit: Failure | None = None
        self._settled = 0
        self._settling = False
        self._quitting = False
        self._torn = b""
        #: When it joined (the clock's seconds), None before.
        self.since: float | None = None

    # -- the process

    def connectionMade(self) -> None:
        self.transport.write(self._briefing.encode())
        self.transport.closeStdin()
        self._deadline = self._clock.callLater(HELLO_WITHIN, self.kill)

    @property
    def pid(self) -> int | None:
        pid: int | None = self.transport.pid
        return pid

    def outReceived(self, data: bytes) -> None:
        self.errReceived(data)

    def errReceived(self, data: bytes) -> None:
        """What the child writes is its log."""
        *lines, self._torn = (self._torn + data).split(b"\n")
        self._torn = self._torn[-_LONGEST_LINE:]
        for line in lines:
            _log.info("[{child}] {text}", child=self.id, text=line[:_LONGEST_LINE].decode("utf-8", "replace"))

    def kill(self) -> None:
        """End it for good."""
        try:
            self.transport.signalProcess(signal.SIGKILL)
        except ProcessExitedAlready:
            pass  # That is what was wanted; processEnded tells.

    def processEnded(self, reason: Failure) -> None:
        self._exit = reason
        self._cancel_deadline()
        if self._link is not None:
            self._deadline = self._clock.callLater(LAST_WORDS, self._link.drop)
        self._check_ended()

    def _check_ended(self) -> None:
        """Both ends have to be over: what the link still held was read first."""
        if self._exit is None or self._link is not None:
            return
        self._cancel_deadline()
        status = getattr(self._exit.value, "status", None)
        crashed = not self._quitting and status != 0
        why = self._exit.getErrorMessage()
        _log.info("child {child} of {place} ended: {why}", child=self.id, place=self.place, why=why)
        self._ended(self, crashed)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    # -- the link

    @property
    def linked(self) -> bool:
        return self._link is not None

    @property
    def heard(self) -> int:
        """Grows with everything the child says; 0 without a link."""
        return self._link.heard if self._link else 0

    def expects_link(self) -> bool:
        """Whether a hello with this id can be the child's."""
        return self.since is None and self._exit is None

    def link_made(self, link: Link) -> None:
        self._link = link
        link.hear(self._tongue)
        self.since = self._clock.seconds()
        self._cancel_deadline()
        link.send(self._welcome)
        self._joined(self)
        if self._quitting:
            link.send(Quit())

    def frame(self, link: Link, frame: Any) -> None:
        self._said(self, frame)

    def link_lost(self, link: Link, reason: str) -> None:
        self._link = None
        if self._exit is None:
            self._deadline = self._clock.callLater(GRACE, self.kill)
        self._check_ended()

    def send(self, frame: Frame) -> None:
        """Say something; nothing when the link is gone."""
        if self._link is not None:
            self._link.send(frame)

    def settle(self) -> None:
        """One more of its acceptances is on disk."""
        self._settled += 1
        if not self._settling:
            self._settling = True
            self._clock.callLater(_SETTLE_EVERY, self._tell_settled)

    def _tell_settled(self) -> None:
        self._settling = False
        self.send(Settled(self._settled))

    def quit(self) -> None:
        """Ask it to finish its final dots and leave."""
        self._quitting = True
        self.send(Quit())
