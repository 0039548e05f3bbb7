"""Logins as the mail log tells of them: who, from where, how, and what came of it."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from relay.access.exchange import LoginExchange
from relay.listener.door import Client, Refused
from relay.logs.maillog import MailLog
from relay.message.user import User


class LoggedLogin:
    """An exchange that leaves a line when it ends; none when its client gave it up."""

    __slots__ = ("_client", "_exchange", "_listener", "_log", "_mechanism")

    def __init__(
        self, exchange: LoginExchange, log: MailLog, listener: str, mechanism: str, client: Client
    ) -> None:
        self._exchange = exchange
        self._log = log
        self._listener = listener
        self._mechanism = mechanism
        self._client = client

    def step(self, response: bytes | None) -> Deferred[bytes | User]:
        """See relay.access.login.Exchange."""
        return self._exchange.step(response).addCallbacks(self._stepped, self._failed)

    def cancel(self) -> None:
        """See relay.access.login.Exchange."""
        self._exchange.cancel()

    def _stepped(self, result: bytes | User) -> bytes | User:
        if isinstance(result, User):
            self._write("authsuccess", result.name, "")
        return result

    def _failed(self, failure: Failure) -> Failure:
        refused = failure.value
        if isinstance(refused, Refused):
            self._write("authfail", self._exchange.name, f"{refused.reply.code} {refused.reply.text}")
        return failure

    def _write(self, step: str, user: str, reply: str) -> None:
        # It belongs to no message.
        self._log.write(
            step,
            "-",
            listener=self._listener,
            client=self._client.address,
            helo=self._client.helo,
            mechanism=self._mechanism,
            user=user,
            reply=reply,
        )
