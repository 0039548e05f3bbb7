"""One receiver's dealings with the master: what it has begun, and what it may say next.

Nothing of it is believed that can be looked at: who is let in, logs in, and how much may
be on its way is decided here, sizes and order are counted, and no text is stored whose lines
do not end as they have to.
"""

from __future__ import annotations

import hmac
import secrets
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar

import msgspec
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.channel import reception as frames
from relay.channel.codec import BadFrame
from relay.channel.frames import Frame
from relay.config.schema import Listener
from relay.intake.frontdoor import FrontDoor
from relay.intake.handover import Handover
from relay.intake.numbered import Numbered
from relay.intake.submission import Submission
from relay.listener.door import VOUCHED, Client, Exchange, Refused
from relay.listener.happening import HAPPENINGS
from relay.listener.session import LOCAL_ERROR
from relay.message.user import User
from relay.message.values import Message
from relay.smtp.reply import Reply

_log = Logger()


class _Login:
    """A login under way; `asked` while it is the master's turn."""

    __slots__ = ("asked", "exchange")

    def __init__(self) -> None:
        self.exchange: Exchange | None = None
        self.asked = True

    def cancel(self) -> None:
        if self.exchange is not None:
            self.exchange.cancel()


class Desk:
    """Where one receiver asks, and hands messages over."""

    def __init__(
        self,
        listener: str,
        section: Listener,
        door: FrontDoor,
        say: Callable[[Frame], None],
        counted: Callable[[str, int], None] = lambda happening, count: None,
    ) -> None:
        """`say` says something to the receiver; nothing when that is gone. `counted` is told what happened
        to clients there, and how often."""
        self._listener = listener
        self._section = section
        self._door = door
        self._say = say
        self._counted = counted
        most = frames.most_at_once(section.max_connections)
        self._visits: Numbered[str] = Numbered("client", most)
        self._logins: Numbered[_Login] = Numbered("login", most)
        self._handovers: Numbered[Handover] = Numbered("message", most)
        self._inside: Counter[str] = Counter()
        self._ahead = frames.pieces_ahead(section.processes)
        self._flying = 0
        self._trusted = [ip_network(text, strict=False) for text in section.xclient_networks]
        self._secret = secrets.token_bytes(32)

    def frame(self, frame: Frame) -> None:
        """Raises BadFrame for what may not be said now."""
        self._says[type(frame)](self, frame)

    def close(self) -> None:
        """The receiver is gone. What it handed over to the end is stored all the same."""
        for login in self._logins.end_all():
            login.cancel()
        for handover in self._handovers.end_all():
            handover.abandon()
        self._visits.end_all()
        for address in self._inside.elements():
            self._door.leave(address)
        self._inside.clear()

    # -- clients

    def _entered(self, frame: frames.Entered) -> None:
        number, address = frame.number, frame.address
        try:
            ip_address(address)
        except ValueError:
            raise BadFrame("a client without an address") from None
        self._visits.begin(number, address)
        try:
            waits = self._door.enter(address)
        except Exception:
            self._not_entered(Failure(), number)
            return
        if waits is None:
            self._may_stay(None, number, address)
        else:
            waits.addCallbacks(
                self._may_stay, self._not_entered, callbackArgs=(number, address), errbackArgs=(number,)
            )

    def _may_stay(self, _: None, number: int, address: str) -> None:
        if not self._visits.end(number):
            self._door.leave(address)  # Its receiver ended meanwhile.
            return
        self._inside[address] += 1
        self._say(frames.Pass(number))

    def _not_entered(self, failure: Failure, number: int) -> None:
        if self._visits.end(number):
            self._say(frames.Pass(number, self._refusal(failure)))

    def _left(self, frame: frames.Left) -> None:
        left = self._inside[frame.address] - 1
        if left < 0:
            raise BadFrame("a client left that never entered")
        if left:
            self._inside[frame.address] = left
        else:
            del self._inside[frame.address]
        self._door.leave(frame.address)

    def _happened(self, frame: frames.Happened) -> None:
        for happening, count in frame.counts.items():
            if happening not in HAPPENINGS:
                raise BadFrame("what nobody knows has happened")
            self._counted(happening, count)

    # -- logins

    def _login(self, frame: frames.Login) -> None:
        if frame.mechanism == VOUCHED and not self._trusts():
            raise BadFrame("nobody is there who may say who somebody is")
        login = _Login()
        self._logins.begin(frame.number, login)
        try:
            login.exchange = self._door.authenticate(
                frame.mechanism, Client(frame.address, frame.helo, frame.certificate)
            )
        except Exception:
            self._login_failed(Failure(), frame.number)
            return
        self._step(frame.number, login, login.exchange, frame.response)

    def _response(self, frame: frames.Response) -> None:
        login = self._logins.find(frame.number)
        if login is None:
            return
        if login.asked or login.exchange is None:
            raise BadFrame("a response without a challenge")
        self._step(frame.number, login, login.exchange, frame.response)

    def _step(self, number: int, login: _Login, exchange: Exchange, response: bytes | None) -> None:
        login.asked = True
        maybeDeferred(exchange.step, response).addCallbacks(
            self._answered, self._login_failed, callbackArgs=(number, login), errbackArgs=(number,)
        )

    def _answered(self, answer: bytes | User, number: int, login: _Login) -> None:
        if self._logins.find(number) is None:
            return  # It was cancelled.
        if isinstance(answer, User):
            self._logins.end(number)
            self._say(frames.Answer(number, user=msgspec.structs.replace(answer, seal=self._seal(answer))))
        else:
            login.asked = False
            self._say(frames.Answer(number, challenge=answer))

    def _login_failed(self, failure: Failure, number: int) -> None:
        if self._logins.end(number):
            self._say(frames.Answer(number, refusal=self._refusal(failure)))

    def _cancel(self, frame: frames.Cancel) -> None:
        login = self._logins.find(frame.number)
        if login is not None:
            self._logins.end(frame.number)
            login.cancel()

    def _trusts(self) -> bool:
        """Whether any client inside may name users."""
        trusted = self._trusted
        return bool(trusted) and any(
            ip_address(address) in network for address in self._inside for network in trusted
        )

    def _seal(self, user: User) -> bytes:
        """By which a user is known again who was let in here."""
        return hmac.digest(self._secret, msgspec.msgpack.encode(user), "sha256")

    def _known(self, sealed: User | None) -> User | None:
        """The user of a message. Raises BadFrame for one who wasn't let in here."""
        if sealed is None:
            return None
        user = msgspec.structs.replace(sealed, seal=b"")
        if not hmac.compare_digest(sealed.seal, self._seal(user)):
            raise BadFrame("a message of a user who has not logged in")
        return user

    # -- messages

    def _named(self, frame: frames.Named) -> None:
        if not frames.fit((frame.owner, frame.recipient)):
            raise BadFrame("a recipient with control characters, or over-long")
        refusal = None
        try:
            self._door.admit(frame.owner, frame.recipient)
        except Exception:
            refusal = self._refusal(Failure())
        self._say(frames.Admitted(frame.number, refusal))

    def _open(self, frame: frames.Open) -> None:
        user = self._known(frame.user)
        if frame.origin.listener != self._listener:
            raise BadFrame("a message of another listener")
        if frame.origin.user != (user.name if user is not None else ""):
            raise BadFrame("a message of two users")
        handover = Handover(self._section, frame)
        self._handovers.begin(frame.number, handover)
        try:
            opened: Any = self._door.open(frame.origin, user, frame.recipients)
        except Exception:
            self._not_opened(Failure(), frame.number)
            return
        if isinstance(opened, Deferred):
            opened.addCallbacks(
                self._opened,
                self._not_opened,
                callbackArgs=(frame.number, handover),
                errbackArgs=(frame.number,),
            )
        else:
            self._opened(opened, frame.number, handover)

    def _opened(self, submission: Submission, number: int, handover: Handover) -> None:
        if self._handovers.find(number) is None:
            submission.abandon()
            return
        handover.submission = submission
        self._say(frames.Opened(number, submission.id))

    def _not_opened(self, failure: Failure, number: int) -> None:
        if self._handovers.end(number):
            self._say(frames.Opened(number, "", self._refusal(failure)))

    def _piece(self, frame: frames.Piece) -> None:
        handover = self._handovers.find(frame.number)
        if handover is None:
            return
        if self._flying >= self._ahead:
            raise BadFrame(f"more than {self._ahead} pieces ahead")
        self._flying += 1
        wait = handover.piece(frame)
        if wait is None:
            self._taken(None, frame.number, handover)
        else:
            wait.addBoth(self._taken, frame.number, handover)

    def _taken(self, _: object, number: int, handover: Handover) -> None:
        """Said of messages that ended meanwhile too: the receiver counts what is on its way."""
        self._flying -= 1
        handover.taken += 1
        self._say(frames.Taken(number, handover.taken))

    def _to(self, frame: frames.To) -> None:
        handover = self._handovers.find(frame.number)
        if handover is not None:
            handover.to(frame.recipients)

    def _finish(self, frame: frames.Finish) -> None:
        handover = self._handovers.find(frame.number)
        if handover is None:
            return
        try:
            done = handover.finish(frame)
        except BadFrame:
            raise
        except Exception:
            done = fail()
        done.addCallbacks(
            self._stored, self._not_stored, callbackArgs=(frame.number,), errbackArgs=(frame.number,)
        )

    def _stored(self, message: Message, number: int) -> None:
        self._handovers.end(number)
        self._say(frames.Verdict(number, message.id, message.created))

    def _not_stored(self, failure: Failure, number: int) -> None:
        self._handovers.end(number)
        self._say(frames.Verdict(number, "", refusal=self._refusal(failure)))

    def _abandon(self, frame: frames.Abandon) -> None:
        handover = self._handovers.find(frame.number)
        if handover is not None:
            if handover.ended:
                raise BadFrame("a message was abandoned behind its end")
            handover.abandon(frame)
            self._handovers.end(frame.number)

    def _refusal(self, failure: Failure) -> Reply:
        if isinstance(failure.value, Refused):
            return failure.value.reply
        _log.failure("{listener}: a receiver got no answer", failure, listener=self._listener)
        return LOCAL_ERROR

    _says: ClassVar[dict[type, Callable[[Desk, Any], None]]] = {
        frames.Entered: _entered,
        frames.Left: _left,
        frames.Login: _login,
        frames.Response: _response,
        frames.Cancel: _cancel,
        frames.Named: _named,
        frames.Open: _open,
        frames.Piece: _piece,
        frames.To: _to,
        frames.Finish: _finish,
        frames.Abandon: _abandon,
        frames.Happened: _happened,
    }
