"""One AUTH command between the conversation and the door, from its first word to its verdict."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.listener.door import Client, Door, Exchange, Refused
from relay.message.user import User
from relay.smtp.reply import Reply, reply

TROUBLE = reply(454, "4.7.0 Temporary authentication failure")

_log = Logger()


class Login:
    """Asks the door step by step, and tells what each came to: a challenge, the user, or a refusal."""

    __slots__ = ("_exchange", "_told")

    def __init__(self, told: Callable[[bytes | User | Reply], None]) -> None:
        """Nothing is told any more after the user, a refusal, or `cancel`."""
        self._told = told
        self._exchange: Exchange | None = None

    def begin(self, door: Door, mechanism: str, client: Client, initial: bytes | None) -> None:
        """`initial`: what the client has said with the command, None for nothing."""
        try:
            self._exchange = door.authenticate(mechanism, client)
        except Exception:
            self._failed(Failure())
        else:
            self.respond(initial)

    def respond(self, response: bytes | None) -> None:
        """The client's response to a challenge."""
        exchange = self._exchange
        if exchange is None:
            return
        try:
            stepped = exchange.step(response)
        except Exception:
            self._failed(Failure())
            return
        stepped.addCallbacks(self._stepped, self._failed)

    def cancel(self) -> None:
        """The client gave up, or is gone."""
        exchange, self._exchange = self._exchange, None
        self._told = _nobody
        if exchange is not None:
            exchange.cancel()

    def _stepped(self, result: bytes | User) -> None:
        if isinstance(result, User):
            self._exchange = None
        self._told(result)

    def _failed(self, failure: Failure) -> None:
        self._exchange = None
        refused = failure.value
        if isinstance(refused, Refused):
            self._told(refused.reply)
        elif self._told is not _nobody:  # Else it is but what cancelling leads to.
            _log.failure("a login could not be checked", failure)
            self._told(TROUBLE)


def _nobody(result: bytes | User | Reply) -> None:
    """Nobody waits for it any more."""
