"""One message after the other: MAIL, RCPT, DATA or BDAT, and the text (RFC 5321 3.3, RFC 3030)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from relay.config.schema import Listener
from relay.smtp import commands, words
from relay.smtp.body import Body
from relay.smtp.chunks import MAX_SKIPPED, Chunks
from relay.smtp.commands import Chunk
from relay.smtp.dialogue import NOTHING, Dialogue
from relay.smtp.events import (
    AuthBegun,
    AuthContinued,
    DataBegun,
    DataEnded,
    MailGiven,
    Question,
    RcptGiven,
    Reset,
    Text,
    XclientGiven,
)
from relay.smtp.offers import Offers
from relay.smtp.reply import Reply
from relay.smtp.states import OPEN, State, Verb

#: What a recipient takes in memory, more or less (bytes), and how many are not worth counting.
RECIPIENT = 1024
FEW_RECIPIENTS = 16

_COMPLETE = DataEnded(None)
_NOBODY = MailGiven(None, None, False)
_RESET = Reset()
_NO_BODY = Body()
_NO_CHUNK = Chunk(0, False)


class Transactions(Dialogue):
    """The part of a session that is about messages; who the client is is told by `server`."""

    __slots__ = ("_body", "_chunk", "_mail_given", "_now", "_offers", "_recipients", "_skip")

    def __init__(self, limits: Listener, offers: Offers, now: Callable[[], int]) -> None:
        super().__init__(limits)
        self._offers = offers
        self._now = now
        self._mail_given = _NOBODY
        self._recipients: dict[str, RcptGiven] = {}
        self._body: Body | Chunks = _NO_BODY
        self._chunk = _NO_CHUNK
        self._skip = 0  # Octets of a refused chunk, which are no commands.

    @property
    def held(self) -> int:
        """Bytes in memory, more or less: input, output, recipients."""
        recipients = len(self._recipients)
        held = len(self._input) + len(self._output)
        return held if recipients <= FEW_RECIPIENTS else held + recipients * RECIPIENT

    def close(self, reply: Reply) -> None:
        """End the session with `reply`, whatever its state; `Closing` follows."""
        super().close(reply)
        self._recipients = {}

    # -- commands

    def _settle(self, given: MailGiven | RcptGiven | AuthBegun | XclientGiven | Reply, verb: Verb) -> None:
        """A command is a question, or wrong."""
        if isinstance(given, Reply):
            self._refuse(given, verb)
        else:
            self._ask(given, verb)

    def _mail(self, argument: str) -> None:
        limits, offers, tally = self._limits, self._offers, self._tally
        if limits.require_tls and not offers.secure:
            return self._refuse(words.STARTTLS_FIRST, Verb.MAIL)
        if tally.anonymous:
            return self._refuse(words.LOGIN_WANTED, Verb.MAIL)
        if tally.messages >= limits.max_messages:
            return self.close(words.TOO_MANY_MESSAGES)
        given = commands.mail(argument, offers, limits.max_size, self._now)
        if isinstance(given, MailGiven) and given.sender is None and limits.null_sender == "reject":
            given = words.NO_NULL_SENDER
        self._settle(given, Verb.MAIL)

    def _rcpt(self, argument: str) -> None:
        mail, known, limits = self._mail_given, self._recipients, self._limits
        given = commands.rcpt(argument, self._offers, mail.smtputf8)
        if known and isinstance(given, RcptGiven) and given.address.key not in known:
            # No fault of the client's, who sends to the others in another transaction.
            if len(known) >= limits.max_recipients:
                return self._say(words.TOO_MANY_RECIPIENTS)
            if mail.sender is None and limits.null_sender == "one-recipient":
                return self._say(words.ONE_RECIPIENT)
        self._settle(given, Verb.RCPT)

    def _data(self, argument: str) -> None:
        if argument:
            return self._refuse(words.NO_ARGUMENT, Verb.DATA)
        self._ask(DataBegun(self._mail_given, tuple(self._recipients.values())), Verb.DATA)

    def _bdat(self, argument: str, cell: State | Reply) -> None:
        """Octets follow, whether they are wanted or not (RFC 3030 2)."""
        chunk = commands.bdat(argument)
        if chunk is None:
            return self.close(words.BAD_CHUNK)
        self._chunk = chunk
        if isinstance(cell, Reply):
            return self._refuse_chunk(cell)
        body, most = self._body, self._limits.max_size
        before = body.size if self.state is State.CHUNKS else 0
        if chunk.size > MAX_SKIPPED and 0 < most < before + chunk.size:
            return self.close(words.CHUNK_TOO_BIG)
        if self.state is State.CHUNKS and isinstance(body, Chunks):
            self.state = cell
            return body.begin(*chunk)
        self._ask(DataBegun(self._mail_given, tuple(self._recipients.values())), Verb.BDAT)

    def _refuse_chunk(self, refusal: Reply) -> None:
        """Say no, and pass over the octets, or end the session when they are too many."""
        if self._chunk.size > MAX_SKIPPED:
            return self.close(refusal)
        self._skip = self._chunk.size
        self._refuse(refusal, Verb.BDAT)

    def _reset(self, argument: str) -> None:
        if argument:
            return self._refuse(words.NO_ARGUMENT, Verb.RSET)
        if self.state in OPEN:
            self._drop()
        self._say(words.FLUSHED)

    # -- answers

    @abstractmethod
    def _introduced(self, question: Question) -> None:
        """A question about the client itself got a positive answer."""

    @abstractmethod
    def _unknown(self, question: XclientGiven) -> None:
        """XCLIENT got a negative answer."""

    def _granted(self, reply: Reply) -> None:
        question = self._question
        if isinstance(question, DataEnded):
            self._forget()
            self._tally.accepted()
            return self._say(reply)
        self.state = self._next
        if isinstance(question, DataBegun):
            limits = self._limits
            if self.state is State.CHUNK:
                self._body = Chunks(limits.max_size, limits.bare_newlines)
                return self._body.begin(*self._chunk)
            self._body = Body(limits.max_size, limits.bare_newlines)
        elif isinstance(question, RcptGiven):
            # Given twice, in whatever case: one delivery, and the later spelling counts.
            self._recipients[question.address.key] = question
        elif isinstance(question, MailGiven):
            self._mail_given = question
        else:
            self._introduced(question)
        self._say(reply)

    def _denied(self, reply: Reply) -> None:
        question, verb = self._question, self._verb
        if isinstance(question, DataEnded):
            self._forget()
            if verb is Verb.CHUNK:
                self.state = State.SPOILED
        elif isinstance(question, AuthBegun | AuthContinued):
            self.state = State.READY  # The login is over.
            self._question = NOTHING
        elif isinstance(question, XclientGiven):
            self._unknown(question)
        elif verb is Verb.BDAT:
            self._forget()
            if not self._chunk.last:
                self.state = State.SPOILED
            return self._refuse_chunk(reply)
        self._refuse(reply, verb)

    # -- the text

    def _read_text(self) -> bool:
        body = self._body
        assert isinstance(body, Body)
        if body.over:
            problem = body.problem
            self._ask(_COMPLETE if problem is None else DataEnded(problem), Verb.DOT)
            return True
        data = self._input.take()
        if not data:
            return False
        text = body.feed(data)
        if text:
            self._events.append(Text(text))
        if body.over:
            self._input.add(body.rest)
        return True

    def _read_chunk(self) -> bool:
        chunks = self._body
        assert isinstance(chunks, Chunks)
        if chunks.left:
            data = self._input.take_at_most(chunks.left)
            text = chunks.feed(data)
            if text:
                self._events.append(Text(text))
            return bool(data)
        text = chunks.end()
        if text:
            self._events.append(Text(text))
            return True
        problem = chunks.problem
        if chunks.last:
            self._ask(_COMPLETE if problem is None else DataEnded(problem), Verb.LAST_CHUNK)
        elif problem is not None:
            self._ask(DataEnded(problem), Verb.CHUNK)
        else:
            self.state = State.CHUNKS
            self._say(words.chunk_taken(chunks.length))
        return True

    def _drop(self) -> None:
        """An open transaction is given up, and the next may begin."""
        if self.state in OPEN:
            self._events.append(_RESET)
        self._forget()

    def _forget(self) -> None:
        """No transaction is open any more (RFC 5321 4.1.1.5)."""
        self.state = State.READY
        self._mail_given = _NOBODY
        self._recipients = {}
        self._body = _NO_BODY
