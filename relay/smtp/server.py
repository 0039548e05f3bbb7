"""The server's side of an SMTP conversation, without a socket (RFC 5321).

Bytes go in by `receive`, events come out of `next_event`, and what is to be sent out of
`output`. Some events ask a question: until it is answered nothing further is read, so the
replies keep the order of the commands however long a check takes (RFC 2920 3.2). What the
client has sent meanwhile waits in a buffer, and `full` says when to stop reading the socket.
"""

from __future__ import annotations

from relay.config.schema import Listener
from relay.message.address import Address
from relay.smtp import commands, grammar, words
from relay.smtp.body import Body
from relay.smtp.events import (
    Closing,
    DataBegun,
    DataEnded,
    Event,
    MailGiven,
    Question,
    RcptGiven,
    Reset,
    Text,
)
from relay.smtp.grammar import Malformed
from relay.smtp.input import Input
from relay.smtp.reply import Reply
from relay.smtp.states import OPEN, TABLE, VERBS, State, Verb

#: Input that may wait in the buffer before `full` asks for a pause (bytes).
MAX_INPUT = 64 * 1024
#: Output that may wait before further commands do (bytes).
MAX_OUTPUT = 16 * 1024
#: Longest text of a reply line (RFC 5321 4.5.3.1.5: 512 with code and CRLF).
MAX_REPLY_TEXT = 500
#: What a recipient takes in memory, more or less (bytes), and how many are not worth counting.
RECIPIENT = 1024
FEW_RECIPIENTS = 16
#: The session ends at this many lines that are no command.
MAX_UNKNOWN = 10

_COMPLETE = DataEnded(None)
_NOBODY = MailGiven(None, None, False)
_RESET = Reset()
_CLOSING = Closing()


class Server:
    """One session.

    Attributes:
        state: where it stands.
        helo: what the client calls itself, "" before HELO or EHLO.
        extended: it said EHLO.
        waiting: an event waits for its answer.
    """

    __slots__ = (
        "_body",
        "_client",
        "_events",
        "_hostname",
        "_input",
        "_limits",
        "_mail_given",
        "_next",
        "_output",
        "_question",
        "_recipients",
        "_unknown",
        "extended",
        "helo",
        "state",
        "waiting",
    )

    def __init__(self, hostname: str, client: str, limits: Listener) -> None:
        """`client` is the peer's address as the reply to EHLO shows it."""
        self.state = State.NEW
        self.helo = ""
        self.extended = False
        self.waiting = False
        self._hostname = hostname
        self._client = client
        self._limits = limits
        self._input = Input()
        self._output = b""
        # Seldom more than two; an empty deque has 760 bytes, and most sessions are idle.
        self._events: list[Event] = []
        self._question: Question = _COMPLETE
        self._next = State.NEW
        self._mail_given = _NOBODY
        self._recipients: dict[str, RcptGiven] = {}
        self._body = Body()
        self._unknown = 0

    # -- what the transport calls

    def greeting(self) -> None:
        """Say 220."""
        self._say(words.greeting(self._hostname))

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; ask for `next_event` then, until there is none."""
        self._input.add(data)

    def next_event(self) -> Event | None:
        """What the client wants; None when more input, an answer, or a call of `output` is needed."""
        while not self._events:
            if self.waiting or len(self._output) >= MAX_OUTPUT or not self._step():
                return None
        return self._events.pop(0)

    def answer(self, reply: Reply) -> None:
        """Reply to the event that waits. 421 ends the session (RFC 5321 3.8).

        An answer that comes after the end of the session is too late and says nothing.
        """
        if not self.waiting:
            return
        self.waiting = False
        question = self._question
        if reply.code == 421:
            self.close(reply)
        elif question.__class__ is DataEnded:
            self._forget()
            self._say(reply)
        elif reply.code >= 400:
            self._refuse(reply, question.__class__ is DataBegun)
        else:
            self._say(reply)
            self.state = self._next
            if isinstance(question, RcptGiven):
                # Given twice, in whatever case: one delivery, and the later spelling counts.
                self._recipients[_key(question.address)] = question
            elif isinstance(question, MailGiven):
                self._mail_given = question
            else:
                self._body = Body(self._limits.max_size, self._limits.bare_newlines)

    def close(self, reply: Reply) -> None:
        """End the session with `reply`, whatever its state; `Closing` follows."""
        if self.state is not State.CLOSED:
            self._say(reply)
            self.state = State.CLOSED
            self.waiting = False
            # Nobody asks for them any more, and the client may take its time to leave.
            self._input.take()
            self._recipients = {}
            self._events.append(_CLOSING)

    def output(self) -> bytes:
        """What is to be sent to the client; it is sent once."""
        output, self._output = self._output, b""
        return output

    @property
    def full(self) -> bool:
        """More input waits than should: read no more until some events have been answered."""
        return len(self._input) >= MAX_INPUT

    @property
    def held(self) -> int:
        """Bytes in memory, more or less: input, output, recipients."""
        recipients = len(self._recipients)
        held = len(self._input) + len(self._output)
        return held if recipients <= FEW_RECIPIENTS else held + recipients * RECIPIENT

    # -- reading

    def _step(self) -> bool:
        """Read one command or what there is of the text. False: it needs more input."""
        if self.state is State.TEXT:
            return self._read_text()
        if self.state is State.CLOSED:
            self._input.take()
            return False
        line = self._input.line()
        if line is None:
            return False
        if isinstance(line, Reply):
            self._unrecognized(line)
        else:
            self._obey(line)
        return True

    def _read_text(self) -> bool:
        body = self._body
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

    # -- commands

    def _obey(self, line: bytes) -> None:
        try:
            command = grammar.split(line)
        except Malformed:
            return self._unrecognized(words.CONTROL)
        verb = VERBS.get(command.verb)
        if verb is None:
            if grammar.is_http(command):
                return self.close(words.HTTP)
            return self._unrecognized(words.UNKNOWN)
        cell = TABLE[self.state][verb]
        if isinstance(cell, Reply):
            return self._refuse(cell, verb is Verb.DATA)
        match verb:
            case Verb.MAIL:
                self._mail(command.argument)
            case Verb.RCPT:
                self._rcpt(command.argument)
            case Verb.DATA:
                self._data(command.argument)
            case Verb.HELO | Verb.EHLO:
                self._hello(command.argument, verb is Verb.EHLO)
            case Verb.RSET:
                self._reset(command.argument)
            case Verb.QUIT:
                self.close(words.BYE)
            case Verb.NOOP:
                self._say(words.OK)
            case Verb.VRFY:
                self._say(words.VRFY)
            case Verb.HELP:
                self._say(words.HELP)

    def _unrecognized(self, refusal: Reply) -> None:
        self._unknown += 1
        if self._unknown >= MAX_UNKNOWN:
            self.close(words.TOO_MANY_UNKNOWN)
        else:
            self._say(refusal)

    def _refuse(self, refusal: Reply, data: bool) -> None:
        """Say no. Bytes behind a refused DATA are a text sent too early, never commands."""
        self._say(refusal)
        if data and self._input:
            self.close(words.TEXT_TOO_EARLY)

    def _hello(self, argument: str, extended: bool) -> None:
        if not grammar.is_helo_name(argument):
            return self._say(words.EHLO_SYNTAX if extended else words.HELO_SYNTAX)
        if self.state in OPEN:
            self._events.append(_RESET)
        self._forget()
        self.helo = argument
        self.extended = extended
        if extended:
            self._say(words.extended_hello(self._hostname, self._client, self._limits.max_size))
        else:
            self._say(words.hello(self._hostname, self._client))

    def _mail(self, argument: str) -> None:
        given = commands.mail(argument, self._limits.max_size)
        if isinstance(given, Reply):
            return self._say(given)
        self._ask(given, Verb.MAIL)

    def _rcpt(self, argument: str) -> None:
        given = commands.rcpt(argument)
        if isinstance(given, Reply):
            return self._say(given)
        known = self._recipients
        if len(known) >= self._limits.max_recipients and _key(given.address) not in known:
            return self._say(words.TOO_MANY_RECIPIENTS)
        self._ask(given, Verb.RCPT)

    def _data(self, argument: str) -> None:
        if argument:
            return self._refuse(words.NO_ARGUMENT, True)
        self._ask(DataBegun(self._mail_given, tuple(self._recipients.values())), Verb.DATA)

    def _reset(self, argument: str) -> None:
        if argument:
            return self._say(words.NO_ARGUMENT)
        if self.state in OPEN:
            self._events.append(_RESET)
            self._forget()
        self._say(words.FLUSHED)

    # -- the ends of it all

    def _ask(self, question: Question, verb: Verb) -> None:
        self.waiting = True
        self._question = question
        following = TABLE[self.state][verb]
        assert isinstance(following, State)
        self._next = following
        self._events.append(question)

    def _forget(self) -> None:
        """No transaction is open any more (RFC 5321 4.1.1.5)."""
        self.state = State.READY
        self._mail_given = _NOBODY
        self._recipients = {}

    def _say(self, reply: Reply) -> None:
        for line in reply.lines:
            if len(line) > MAX_REPLY_TEXT or not (line.isascii() and line.isprintable()):
                reply = Reply(reply.code, tuple(map(_clean, reply.lines)))
                break
        self._output += reply.encode()


def _key(address: Address) -> str:
    """What tells recipients apart: case doesn't, not even in the local part."""
    return address.text.lower()


def _clean(line: str) -> str:
    """Reply text from somewhere else, fit to be sent: one line, bounded, printable ASCII."""
    text = line[:MAX_REPLY_TEXT].encode("ascii", "replace").decode("ascii")
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
