"""The client's way from the greeting to the first transaction: who we are, TLS, and the login, without a socket.

RFC 5321 3.1, 2033, 3207, 4954. One thing is said at a time, and its reply leads to the next.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from relay.message.values import Result
from relay.smtp import client_states as steps
from relay.smtp.client_states import Event, Move, Step
from relay.smtp.ending import Ending
from relay.smtp.login import Choose, Login, LoginFailed
from relay.smtp.offered import NOTHING, read
from relay.smtp.reply import Reply


class Tls(enum.Enum):
    """Whether STARTTLS is said (RFC 3207)."""

    NEVER = "it isn't"
    MAY = "it is where it is offered; the mail goes without it, too"
    MUST = "no mail without it"


class Said(NamedTuple):
    """A whole line to say, whose reply is one to `step`."""

    step: Step
    line: bytes


class Introduction:
    """See the module.

    Attributes:
        offered: what the host offers.
        secure: it goes on over TLS.
    """

    __slots__ = ("_choose", "_hello", "_login", "_name", "_past", "_tls", "offered", "secure")

    def __init__(self, name: str, tls: Tls, secure: bool, choose: Choose | None, lmtp: bool) -> None:
        """As in relay.smtp.client.Conversation."""
        self._name = name
        self._hello = steps.LHLO if lmtp else steps.EHLO
        self._tls = tls
        self._choose = choose
        # The login under way, and the one that is over.
        self._login: Login | None = None
        self._past: Login | None = None
        self.offered = NOTHING
        self.secure = secure

    @property
    def guarded(self) -> bool:
        """There was a login, or one is under way: what the host says may hold a part of it."""
        return self._login is not None or self._past is not None

    def fit(self, reply: Reply) -> Reply:
        """A reply as it can be told."""
        login = self._login or self._past
        return reply if login is None else login.fit(reply)

    def secured(self) -> Said:
        """The TLS handshake is done. All that the host has said before is forgotten, for anybody may have said it
        (RFC 3207 4.2)."""
        self.secure = True
        self.offered = NOTHING
        return self._greet()

    def replied(self, step: Step, move: Move, reply: Reply) -> Said | Event | Ending:
        """What follows from the reply to `step`, by the `move` that it leads to; one of those on the way to READY."""
        if move is Move.EHLO:
            return self._greet()
        if move is Move.HELO:
            return Said(steps.HELO, f"HELO {self._name}\r\n".encode("ascii", "replace"))
        if move is Move.READY:
            if step is not steps.HELO:
                self.offered = read(reply.lines[1:])
            return self._greeted()
        if move is Move.SECURE:
            return Event.SECURE
        if move is Move.PLAIN:
            return self._plain(str(reply), reply.code, "reply")
        if move is Move.AWAY:
            return Ending(Result.DEFERRED, step.stage, str(reply), reply.code, "reply")
        return self._logging_in(move, reply)

    def _greet(self) -> Said:
        word = "LHLO" if self._hello is steps.LHLO else "EHLO"
        return Said(self._hello, f"{word} {self._name}\r\n".encode("ascii", "replace"))

    def _greeted(self) -> Said | Event | Ending:
        """The host has said what it offers: TLS comes first, then the login."""
        if self.secure or self._tls is Tls.NEVER:
            return self._log_in()
        if "STARTTLS" not in self.offered.extensions:
            return self._plain("The host does not offer TLS", 0, "tls")
        return Said(steps.STARTTLS, b"STARTTLS\r\n")

    def _plain(self, text: str, code: int, category: str) -> Said | Event | Ending:
        """There is no TLS to be had."""
        if self._tls is Tls.MAY:
            return self._log_in()
        return Ending(Result.DEFERRED, "tls", text, code, category)

    def _log_in(self) -> Said | Event | Ending:
        """Nothing else is left to do before the first transaction."""
        if self._choose is None:
            return Event.READY
        offered = self.offered.extensions.get("AUTH", "").split()
        try:
            self._login = Login(self._choose(offered, self.secure))
        except LoginFailed as error:
            return _locked_out(f"No login: {error}")
        return Said(steps.AUTH, self._login.begin())

    def _logging_in(self, move: Move, reply: Reply) -> Said | Event | Ending:
        login = self._login
        assert login is not None
        failed = f"Login by {login.name} failed: "
        if move is Move.LOCKED_OUT:
            return _locked_out(f"{failed}{login.fit(reply)}", reply.code)
        try:
            if move is Move.ANSWER:
                return Said(steps.AUTH, login.answer(reply))
            login.finish()
        except LoginFailed as error:
            return _locked_out(failed + str(error))
        self._login, self._past = None, login
        return Event.READY


def _locked_out(text: str, code: int = 0) -> Ending:
    """No login: nothing is said of any message."""
    return Ending(Result.DEFERRED, "auth", text, code, "auth")
