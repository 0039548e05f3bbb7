"""A login that the master judges: steps are handed on as they come."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

from twisted.internet.defer import Deferred, fail

from relay.channel import reception as frames
from relay.channel.frames import Frame
from relay.listener.door import Client, Refused
from relay.message.user import User
from relay.smtp.reply import reply

#: What the channel takes: longest response (bytes), and names in a certificate.
_LONGEST = 16 * 1024
_NAMES = 100

TOO_LONG = reply(500, "5.5.6 Error: authentication exchange line is too long")


class Login:
    """One AUTH command on its way."""

    __slots__ = ("_begun", "_client", "_logins", "_mechanism", "_number", "_say", "_step")

    def __init__(
        self,
        number: int,
        mechanism: str,
        client: Client,
        say: Callable[[Frame], None],
        logins: MutableMapping[int, Login],
    ) -> None:
        """It takes itself out of `logins` when it ends."""
        self._number = number
        self._mechanism = mechanism
        self._client = client
        self._say = say
        self._logins = logins
        self._begun = False
        self._step: Deferred[bytes | User] | None = None

    def step(self, response: bytes | None) -> Deferred[bytes | User]:
        """The client's response; see relay.listener.door.Exchange."""
        if response is not None and len(response) > _LONGEST:
            self.cancel()
            return fail(Refused(TOO_LONG))
        number, client = self._number, self._client
        step = self._step = Deferred()
        if self._begun:
            self._say(frames.Response(number, response or b""))
        else:
            self._begun = True
            names = client.certificate[:_NAMES]
            self._say(frames.Login(number, self._mechanism, client.address, client.helo, names, response))
        return step

    def cancel(self) -> None:
        """The client gave up, or is gone."""
        self._step = None
        if self._logins.pop(self._number, None) is not None and self._begun:
            self._say(frames.Cancel(self._number))

    def answered(self, answer: frames.Answer) -> None:
        """What the master says of the last step."""
        step, self._step = self._step, None
        if answer.challenge is None:
            del self._logins[self._number]
        if step is None or step.called:
            return
        if answer.refusal is not None:
            step.errback(Refused(answer.refusal))
        elif answer.user is not None:
            step.callback(answer.user)
        else:
            step.callback(answer.challenge or b"")
