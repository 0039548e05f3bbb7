"""A client's first moments: the door lets it in, a while may have to pass, then it is greeted."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.listener.door import Door, Refused
from relay.smtp.reply import Reply, reply

LOCAL_ERROR = reply(421, "4.3.0 Local error in processing")

_log = Logger()


class Arrival:
    """Between connecting and the greeting; and afterwards it knows that the door has to be told of the end.

    Attributes:
        at_door: the door has not answered yet.
        patient: the client has to wait before it speaks.
    """

    __slots__ = ("_address", "_door", "_gone", "_greet", "_inside", "_refuse", "_wait", "at_door", "patient")

    def __init__(self, door: Door, address: str, greet: Callable[[], None], refuse: Callable[[Reply], None]) -> None:
        """One of `greet` and `refuse` is called, once, unless the client is `gone` before."""
        self._door = door
        self._address = address
        self._greet = greet
        self._refuse = refuse
        self._wait: IDelayedCall | None = None
        self._inside = self._gone = False
        self.at_door = True
        self.patient = False

    def begin(self, delay: float, later: Callable[[float, Callable[[], None]], IDelayedCall]) -> None:
        """Ask the door; `delay` (seconds) is how long the client has to wait at least."""
        if delay:
            self.patient = True
            self._wait = later(delay, self._waited)
        try:
            entering = self._door.enter(self._address)
        except Exception:
            self._not_entered(Failure())
            return
        if entering is None:
            self._entered(None)
        else:
            entering.addCallbacks(self._entered, self._not_entered)

    def gone(self) -> None:
        """The connection is no more; the door is told, once, if it has let the client in."""
        self._gone = True
        self.stop()
        if self._inside:
            self._inside = False
            self._door.leave(self._address)

    def stop(self) -> None:
        """Greet nobody any more."""
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.cancel()

    def _waited(self) -> None:
        self._wait = None
        self.patient = False
        self._may_greet()

    def _entered(self, _: None) -> None:
        self.at_door = False
        self._inside = True
        if self._gone:
            self.gone()
        else:
            self._may_greet()

    def _not_entered(self, failure: Failure) -> None:
        self.at_door = False
        refused = failure.value
        if not isinstance(refused, Refused):
            _log.failure("{client} could not be let in", failure, client=self._address)
        if not self._gone:
            self.stop()
            self._refuse(refused.reply if isinstance(refused, Refused) else LOCAL_ERROR)

    def _may_greet(self) -> None:
        if not self.at_door and not self.patient:
            self._greet()
