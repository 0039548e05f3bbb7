"""One login on its way: its mechanism says what has to be found out, and all logins' one place finds it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from relay.access.login import Client
from relay.access.mechanisms import Claim, Failed, Password, Proven, Vouched, Wanted
from relay.access.refused import Refused
from relay.message.user import User
from relay.smtp.reply import reply

if TYPE_CHECKING:
    from relay.access.access import Access

WRONG = reply(535, "5.7.8 Error: Invalid username or password")


class Wrong(Exception):
    """A guess that was wrong, and counted; after `pause` seconds from its beginning that may be told."""

    def __init__(self, pause: float) -> None:
        super().__init__()
        self.pause = pause


class LoginExchange:
    """One login on its way: see relay.access.login.Exchange. `name` is whom the client means to be,
    as far as it has said."""

    def __init__(self, access: Access, mechanism: Any, client: Client) -> None:
        self._access = access
        self._mechanism = mechanism
        self._client = client
        self.name = ""
        self._running: Deferred[bytes | User] | None = None

    def step(self, response: bytes | None) -> Deferred[bytes | User]:
        """The client's next word, None for none."""
        self._running = Deferred.fromCoroutine(self._step(response))
        return self._running

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._running is not None:
            self._running.cancel()

    async def _step(self, response: bytes | None) -> bytes | User:
        begun = self._access.seconds()
        try:
            return await self._judged(response)
        except Wrong as wrong:
            await self._access.told_late(wrong, begun)
            raise Refused(WRONG) from None

    async def _judged(self, response: bytes | None) -> bytes | User:
        """Raises Refused and Wrong."""
        access, client = self._access, self._client
        if self.name:
            # Of many exchanges begun together the first may have used up all guesses.
            access.allow(client, self.name)
        try:
            said = self._mechanism.step(response)
        except Failed as failed:
            raise access.wrong(client, self.name, str(failed)) from None
        if isinstance(said, bytes):
            return said
        if isinstance(said, Password):
            self.name = said.name
            return await access.guess(client, said)
        if isinstance(said, Vouched):
            self.name = said.name
            return access.by_word(said.name)
        if not isinstance(said, Proven):
            self.name = said.name or next(iter(client.certificate), "")
            access.allow(client, self.name)
        if isinstance(said, Wanted):
            challenge: bytes = self._mechanism.take(access.keys(said.name))
            return challenge
        user = access.by_certificate(client, said.name) if isinstance(said, Claim) else access.by_name(said.name)
        if user is None:
            raise access.wrong(client, self.name, "no such user, or no certificate of theirs")
        access.succeeded(client, user.name)
        return user
