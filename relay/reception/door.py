"""The door of a listener as it is in a receiver: it asks the master, so all its answers come later."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any, ClassVar

import msgspec
from twisted.internet.defer import Deferred, fail

from relay.channel import reception as frames
from relay.channel.frames import MAX_HEADER, Frame
from relay.config.schema import Listener
from relay.listener import door
from relay.listener.destination import refusal
from relay.listener.door import Client, Refused
from relay.listener.listener import TOO_MANY_CONNECTIONS
from relay.message.address import Address
from relay.message.headers import HeaderBlock
from relay.message.user import User
from relay.message.values import Origin
from relay.reception.login import Login
from relay.reception.submission import UNFIT, Submission
from relay.reception.window import Window
from relay.smtp.reply import Reply, reply

TOO_MUCH = reply(451, "4.3.2 Too much at once, try again later")


class AskingDoor:
    """Whoever comes, logs in and hands over here is the master's to judge.

    What was begun and hasn't ended is counted as the master counts it, so that no client can
    make us say what it would not hear.
    """

    def __init__(
        self, section: Listener, say: Callable[[Frame], None], hashes: Callable[[HeaderBlock], bool]
    ) -> None:
        """`say` says something to the master; nothing when the channel is lost. `hashes`: see Draft."""
        self._max_header = min(section.max_header, MAX_HEADER)
        self._say = say
        self._hashes = hashes
        self._most = frames.most_at_once(section.max_connections)
        self._window = Window(frames.pieces_ahead(section.processes))
        self._visits: dict[int, tuple[str, Deferred[None]]] = {}
        self._logins: dict[int, Login] = {}
        self._submissions: dict[int, Submission] = {}
        self._admissions: dict[int, Deferred[None]] = {}
        self._heeds = False
        self._opening: dict[int, tuple[Deferred[Any], Origin]] = {}
        self._visit_numbers, self._login_numbers, self._numbers = count(1), count(1), count(1)
        self._admission_numbers = count(1)

    def frame(self, frame: Frame) -> None:
        """What the master says of clients, logins and submissions."""
        self._hears[type(frame)](self, frame)

    # -- clients

    def enter(self, address: str) -> Deferred[None]:
        """A client has connected. Cancelled, it is gone before the answer came."""
        if len(self._visits) >= self._most:
            return fail(Refused(TOO_MANY_CONNECTIONS))
        number = next(self._visit_numbers)
        passed: Deferred[None] = Deferred()
        self._visits[number] = (address, passed)
        self._say(frames.Entered(number, address))
        return passed

    def leave(self, address: str) -> None:
        """A client that may stay is gone."""
        self._say(frames.Left(address))

    def _passed(self, frame: frames.Pass) -> None:
        address, passed = self._visits.pop(frame.number)
        if frame.refusal is not None:
            _tell(passed, Refused(frame.refusal))
        elif passed.called:
            self.leave(address)
        else:
            passed.callback(None)

    # -- logins

    def authenticate(self, mechanism: str, client: Client) -> Login:
        """Begin a login. Raises Refused."""
        if len(self._logins) >= self._most:
            raise Refused(TOO_MUCH)
        number = next(self._login_numbers)
        login = self._logins[number] = Login(number, mechanism, client, self._say, self._logins)
        return login

    def _answered(self, frame: frames.Answer) -> None:
        login = self._logins.get(frame.number)
        if login is not None:  # Else it was cancelled, and the answer crossed that.
            login.answered(frame)

    # -- recipients

    def admit(self, owner: str, recipient: str) -> Deferred[None] | None:
        """A recipient is named. Nobody is asked where the master has said that it would refuse none."""
        if not self._heeds:
            return None
        if len(self._admissions) >= self._most:
            raise Refused(TOO_MUCH)
        if not frames.fit((owner, recipient)):
            raise Refused(UNFIT)
        number = next(self._admission_numbers)
        admitted: Deferred[None] = Deferred()
        self._admissions[number] = admitted
        self._say(frames.Named(number, owner, recipient))
        return admitted

    def _admitted(self, frame: frames.Admitted) -> None:
        admitted = self._admissions.pop(frame.number)
        if frame.refusal is not None:
            admitted.errback(Refused(frame.refusal))
        else:
            admitted.callback(None)

    def _heed(self, frame: frames.Heed) -> None:
        self._heeds = frame.named

    # -- submissions

    def refusal(self, address: Address) -> Reply | None:
        """Why mail to a recipient isn't taken; None: it is."""
        return refusal(address)

    def open(self, origin: Origin, user: User | None, recipients: int) -> Deferred[door.Submission]:
        """Begin a submission. Fails with Refused."""
        if len(self._opening) + len(self._submissions) >= self._most:
            return fail(Refused(TOO_MUCH))
        if not frames.fit(msgspec.structs.astuple(origin)):
            return fail(Refused(UNFIT))
        number = next(self._numbers)
        opened: Deferred[door.Submission] = Deferred()
        self._opening[number] = (opened, origin)
        self._say(frames.Open(number, origin, user, recipients))
        return opened

    def _opened(self, frame: frames.Opened) -> None:
        opened, origin = self._opening.pop(frame.number)
        if frame.refusal is not None:
            _tell(opened, Refused(frame.refusal))
            return
        submission = self._submissions[frame.number] = Submission(
            frame.number,
            frame.id,
            origin,
            self._max_header,
            hashes=self._hashes,
            say=self._say,
            window=self._window,
            ended=self._submissions.pop,
        )
        if opened.called:
            submission.abandon()
        else:
            opened.callback(submission)

    def _taken(self, frame: frames.Taken) -> None:
        self._submissions[frame.number].landed()

    def _judged(self, frame: frames.Verdict) -> None:
        self._submissions[frame.number].judged(frame)

    _hears: ClassVar[dict[type, Callable[[AskingDoor, Any], None]]] = {
        frames.Pass: _passed,
        frames.Answer: _answered,
        frames.Admitted: _admitted,
        frames.Heed: _heed,
        frames.Opened: _opened,
        frames.Taken: _taken,
        frames.Verdict: _judged,
    }


def _tell(waiting: Deferred[Any], refused: Refused) -> None:
    if not waiting.called:  # It may have been cancelled.
        waiting.errback(refused)
