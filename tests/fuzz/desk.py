"""What a receiver says to the master: in any order, of what is, was and never was, as odd as frames can be."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, maybeDeferred

from relay.channel import reception as frames
from relay.channel.codec import FROM_RECEIVER, TO_RECEIVER, BadFrame, FrameReader, pack
from relay.channel.frames import CHUNK, Frame
from relay.config.schema import Listener
from relay.intake.desk import Desk
from relay.listener.door import VOUCHED, Refused
from relay.listener.session import LOCAL_ERROR
from relay.message.envelope import Envelope, Recipient
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.smtp.reply import reply
from tests.fuzz.choices import bit

#: Bytes of a step: what is said, of which number, which words of it, and what the master's door answers.
_STEP = 4
_SECTION = Listener(
    processes=12, max_connections=2, max_recipients=3, max_size=3 * CHUNK, xclient_networks=("192.0.2.2",)
)
_SMALL = Listener(processes=12, max_connections=2, max_recipients=3, max_size=CHUNK)
_ADDRESSES = ("192.0.2.1", "192.0.2.2", "::1", "nowhere")
_NO = reply(450, "4.7.0 not now")
_LINES = (b"0123456789abcd\r\n", b"\n23456789abcdef\r", b"\xe9" * 16, b"\0" * 16)
_PIECES = tuple(line * (CHUNK // 16) for line in _LINES)
_RESTS = (b"hi\r\n", b"", b"\n", b"\r", b"a\0\r\n", b"\xe9\r\n")
_HEADERS = (b"Subject: x\r\n", b"", b"A: b\r\n\r\nC: d\r\n", b"A: b\n", b"A: \xe9\r\n", b"\r\n", b"A: \0\r\n")
_WORDS = ("a@b.test", "", "\xe9@b.test", "a@b.test\r\nX: y", "x" * 5000, "\x7f")


def _one(choices: tuple[Any, ...], number: int) -> Any:
    return choices[number % len(choices)]


class _Submission:
    def __init__(self, door: _Door, id: str) -> None:
        self.door, self.id, self.body, self.ends = door, id, b"", 0

    def give(self, number: int, chunk: bytes) -> None:
        self.door.must(not self.ends and number * CHUNK == len(self.body), "a piece out of turn")
        self.body += chunk

    def wait(self) -> Deferred[None] | None:
        return self.door.answer(None, later=True) if bit(self.door.how, 2) else None

    def complete(self, envelope: Envelope, block: Any, text: Any) -> Any:
        """What is to be stored is sound, whoever says that it is."""
        self.ends += 1
        body, header = self.body + text.rest, block.raw
        self.door.must(text.header == header and text.body_size == len(body), "it is another text")
        for part in (header, body):
            stray = len(part.translate(None, b"\r\n\0")) != len(part) - 2 * part.count(b"\r\n")
            self.door.must(not stray, "bare line ends or NUL")
        whole = not header or (header.endswith(b"\r\n") and b"\r\n\r\n" not in b"\r\n" + header)
        self.door.must(whole, "a header that ends within, or not at all")
        most = self.door.section.max_size
        self.door.must(len(header) + len(body) <= most + most // 64 + 2, "too long")
        self.door.must(text.eight_bit or (header + body).isascii(), "eight bits that are said to be seven")
        recipients = envelope.recipients or ()
        self.door.must(len(recipients) <= self.door.section.max_recipients, "too many recipients")
        words = [envelope.sender, envelope.envid, *(one.address for one in recipients)]
        fit = all(word is not None and word.isprintable() and len(word) <= 4096 for word in words)
        self.door.must(fit, "odd words")
        return self.door.answer(Message(self.id, "", Origin("feeder", ""), 1, b"", 0, 0, 1), later=True)

    def abandon(self) -> None:
        self.ends += 1

    def reject(self, sender: str, refusal: object) -> None:
        self.door.must(sender.isprintable(), "an odd sender")
        self.ends += 1


class _Exchange:
    """A login; `over` when nothing more is to come of it."""

    def __init__(self, door: _Door) -> None:
        self.door, self.over = door, False

    def step(self, response: bytes | None) -> Deferred[Any]:
        self.door.must(not self.over, "a step of a login that is over")
        answer = b"challenge" if bit(self.door.how, 3) else User("me")
        return maybeDeferred(self.door.answer, answer).addBoth(self._said)

    def _said(self, answer: Any) -> Any:
        self.over = self.over or answer != b"challenge"
        return answer

    def cancel(self) -> None:
        self.door.must(not self.over, "a login that is over is cancelled")
        self.over = True


class _Door:
    """Says yes, no, or either later, as `how` has it; knows who is inside and what has become of all it opened."""

    def __init__(self, section: Listener) -> None:
        self.section = section
        self.how = 0
        self.inside: Counter[str] = Counter()
        self.waiting: list[tuple[Deferred[Any], Any]] = []
        self.submissions: list[_Submission] = []
        self.exchanges: list[_Exchange] = []
        self.users: list[User] = []
        self.wrong: list[str] = []

    def must(self, holds: bool, what: str) -> None:
        """What is raised here might be taken for a trouble of the door's."""
        if not holds:
            self.wrong.append(what)

    def answer(self, value: Any, later: bool = False) -> Any:
        what = _NO if bit(self.how, 0) else value
        if later or bit(self.how, 1):
            waiting: Deferred[Any] = Deferred()
            self.waiting.append((waiting, what))
            return waiting
        if what is _NO:
            raise Refused(_NO)
        return what

    def fire(self, which: int = 0) -> None:
        if self.waiting:
            waiting, what = self.waiting.pop(which % len(self.waiting))
            if what is _NO:
                waiting.errback(Refused(_NO))
            else:
                waiting.callback(what)

    def enter(self, address: str) -> Any:
        if bit(self.how, 0):
            raise Refused(_NO)
        self.inside[address] += 1
        return self.answer(None)

    def leave(self, address: str) -> None:
        self.inside[address] -= 1
        self.must(self.inside[address] >= 0, "somebody left twice")

    def authenticate(self, mechanism: str, client: object) -> _Exchange:
        if bit(self.how, 4):
            raise Refused(_NO)
        self.exchanges.append(_Exchange(self))
        return self.exchanges[-1]

    def admit(self, user: str, recipient: str) -> None:
        self.must(frames.fit((user, recipient)), "unfit words")
        if bit(self.how, 2):
            raise Refused(_NO)

    def open(self, origin: Origin, user: User | None, recipients: int) -> Any:
        self.must(recipients <= self.section.max_recipients, "too many recipients")
        self.must(origin.user == (user.name if user else ""), "two users")
        self.must(user is None or user in self.users, "a user who was never let in")
        if bit(self.how, 0):
            raise Refused(_NO)
        self.submissions.append(_Submission(self, f"{len(self.submissions):018x}"))
        return self.answer(self.submissions[-1])


class _Receiver:
    """Says one thing after the other, and hears whether the answers are ones that it may get."""

    def __init__(self, section: Listener) -> None:
        self.door = _Door(section)
        self.desk = Desk("feeder", section, self.door, self.hear)  # type: ignore[arg-type]
        self.reader, self.ears = FrameReader(FROM_RECEIVER), FrameReader(TO_RECEIVER)
        self.begun: set[tuple[type, int]] = set()
        self.pieces: Counter[int] = Counter()
        self.user: User | None = None

    def say(self, frame: Frame) -> None:
        for read in self.reader.feed(pack(frame)):
            if type(read) is not frames.Pong:
                self.desk.frame(read)

    def hear(self, frame: Frame) -> None:
        (heard,) = self.ears.feed(pack(frame))
        self.door.must(getattr(heard, "refusal", None) != LOCAL_ERROR, "something was raised")
        match heard:
            case frames.Answer(user=User() as user):
                self.user = user
                self.door.users.append(msgspec.structs.replace(user, seal=b""))
            case frames.Taken() | frames.Answer(challenge=bytes()):
                return
        asked = (type(heard), heard.number)
        self.door.must(asked in self.begun, "an answer to no question")
        self.begun.discard(asked)

    def begins(self, answer: type, frame: Any) -> None:
        """Its answer may come at once, and comes once at most."""
        self.begun.add((answer, frame.number))
        self.say(frame)

    def step(self, kind: int, number: int, choice: int, how: int) -> None:
        self.door.how = how
        number %= 16
        word = _one(_WORDS, choice >> 3)
        match kind % 14:
            case 1 if bit(how, 7):
                self.begins(frames.Admitted, frames.Named(number, _one(("", "me", word[:4096]), choice), word[:4096]))
            case 0 | 1:
                self.begins(frames.Pass, frames.Entered(number, _one(_ADDRESSES, choice)))
            case 2:
                self.say(frames.Left(_one(_ADDRESSES, choice)))
            case 3:
                mechanism = _one(("PLAIN", VOUCHED, "odd"), choice)
                self.begins(frames.Answer, frames.Login(number, mechanism, "192.0.2.1", word[:4096], (), None))
            case 4:
                self.say(frames.Response(number, b"x" * choice))
            case 5:
                self.say(frames.Cancel(number))
            case 6 | 7:
                user = _one((None, self.user, User("me")), choice)
                listener = "other" if choice == 7 else "feeder"
                origin = Origin(listener, "192.0.2.1", word, user=user.name if user else "")
                self.begins(frames.Opened, frames.Open(number, origin, user, 9 if choice == 254 else how >> 5 & 3))
            case 8:
                chunk = self.pieces[number] + (choice == 255)
                self.pieces[number] += 1
                self.say(frames.Piece(number, chunk, _one(_PIECES, choice >> 6)))
            case 9:
                self.say(frames.To(number, (Recipient(word),) * (choice & 7)))
            case 10 | 11:
                rest, header = _one(_RESTS, choice), _one(_HEADERS, choice >> 4)
                chunks = self.pieces[number] + bit(how, 6)
                recipients = (Recipient("c@d.test"),) * (choice & 3)
                envelope = Envelope(None if choice == 255 else word, recipients, envid=word)
                size = chunks * CHUNK + len(rest) + bit(how, 7)
                self.begins(
                    frames.Verdict,
                    frames.Finish(number, envelope, header, size, chunks, rest, bit(how, 4), b"h" * (choice & 32)),
                )
            case 12:
                self.say(frames.Abandon(number, word[:4096], None if bit(choice, 0) else _NO))
            case 13:
                self.door.fire(choice)


def desk(data: bytes) -> None:
    """BadFrame or nothing; each question is answered once at most; what is stored is sound; and when the
    receiver is gone, nobody is inside, no login goes on, and each message was kept or was given up, once."""
    receiver = _Receiver(_SMALL if data[:1] > b"\x7f" else _SECTION)
    door, rest = receiver.door, data[1:]
    try:
        for at in range(0, len(rest) - _STEP + 1, _STEP):
            receiver.step(*rest[at : at + _STEP])
    except BadFrame as error:
        assert str(error).isprintable()
    receiver.desk.close()
    while door.waiting:
        door.fire()
    door.must(not +door.inside, "somebody is inside")
    door.must(all(exchange.over for exchange in door.exchanges), "a login goes on")
    door.must(all(submission.ends == 1 for submission in door.submissions), "a message ended twice, or never")
    assert not door.wrong, door.wrong
