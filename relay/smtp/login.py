"""How the client logs in: one AUTH command with its challenges and responses (RFC 4954)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Protocol

from relay.smtp.reply import Reply, status_of

#: Longest AUTH command with a response in it (RFC 5321 4.5.3.1.4); a longer response waits to be asked for.
_LONGEST = 510
#: No mechanism takes more challenges.
_MOST = 4


class LoginFailed(Exception):
    """Why there is no login, without any secret."""


class Mechanism(Protocol):
    """A way to prove who we are (RFC 4422).

    Attributes:
        name: as it is offered.
        secret: what must not be told to anybody else.
    """

    name: str
    secret: str

    def first(self) -> bytes | None:
        """What is said without being asked; None: the host begins."""

    def step(self, challenge: bytes) -> bytes:
        """What is said to a challenge. Raises LoginFailed."""

    def finish(self) -> None:
        """The host says that it is content. Raises LoginFailed where it has yet to prove who it is."""


#: Which mechanism is taken of those that are offered, over TLS or not. Raises LoginFailed.
Choose = Callable[[Sequence[str], bool], Mechanism]


class Login:
    """One exchange."""

    __slots__ = ("_first", "_mechanism", "_said", "_steps")

    def __init__(self, mechanism: Mechanism) -> None:
        self._mechanism = mechanism
        self._first: bytes | None = None
        self._said = [mechanism.secret, _coded(mechanism.secret.encode())]
        self._steps = 0

    @property
    def name(self) -> str:
        """The mechanism's."""
        return self._mechanism.name

    def begin(self) -> bytes:
        """The command."""
        first = self._mechanism.first()
        if first is None:
            return f"AUTH {self.name}\r\n".encode()
        line = f"AUTH {self.name} {self._coded(first) or '='}"
        if len(line) > _LONGEST:
            self._first = first
            return f"AUTH {self.name}\r\n".encode()
        return f"{line}\r\n".encode()

    def answer(self, challenge: Reply) -> bytes:
        """What to say to a 334. Raises LoginFailed."""
        self._steps += 1
        if challenge.code != 334 or len(challenge.lines) != 1 or self._steps > _MOST:
            raise LoginFailed(f"no challenge that makes sense: {self.fit(challenge)}")
        try:
            asked = base64.b64decode(challenge.lines[0].strip(), validate=True)
        except ValueError:
            raise LoginFailed("a challenge that is not base64") from None
        first, self._first = self._first, None
        said = first if first is not None and not asked else self._mechanism.step(asked)
        return f"{self._coded(said)}\r\n".encode()

    def finish(self) -> None:
        """The host has let us in. Raises LoginFailed."""
        self._mechanism.finish()

    def fit(self, reply: Reply) -> Reply:
        """A reply as it can be told: of one that repeats what was said only its codes."""
        text = reply.text
        if any(said in text for said in self._said if said):
            return Reply(reply.code, (f"{status_of(reply)}(in words that repeat what it was told)",))
        return reply

    def _coded(self, said: bytes) -> str:
        coded = _coded(said)
        self._said.append(coded)
        return coded


def _coded(said: bytes) -> str:
    return base64.b64encode(said).decode("ascii")
