"""Questions, answers and replies of one session in their order, whatever they are about.

Bytes go in by `receive`, events come out of `next_event`, and what is to be sent out of
`output`. Some events ask a question: until it is answered nothing further is read, so the
replies keep the order of the commands however long a check takes (RFC 2920 3.2). What the
client has sent meanwhile waits in a buffer, and `full` says when to stop reading the socket.
"""

from __future__ import annotations

from abc import abstractmethod

from relay.config.schema import Listener
from relay.smtp import words
from relay.smtp.events import Closing, DataEnded, Event, Question
from relay.smtp.input import Input
from relay.smtp.reply import MAX_TEXT, Reply, fit, without_status
from relay.smtp.states import TABLE, State, Verb
from relay.smtp.tally import Tally

#: Input that may wait in the buffer before `full` asks for a pause (bytes).
MAX_INPUT = 64 * 1024
#: Output that may wait before further commands do (bytes).
MAX_OUTPUT = 16 * 1024

#: In place of a question that holds a secret and was answered.
NOTHING = DataEnded(None)
_CLOSING = Closing()


class Dialogue:
    """The two-way side of a session; what is said in it is told by `server`.

    Attributes:
        state: where it stands.
        waiting: an event waits for its answer.
    """

    __slots__ = (
        "_events", "_input", "_limits", "_next", "_output", "_question", "_status", "_tally", "_verb",
        "state", "waiting",
    )  # fmt: skip

    def __init__(self, limits: Listener) -> None:
        self.state = State.NEW
        self.waiting = False
        self._limits = limits
        self._tally = Tally(limits)
        self._input = Input()
        self._output = b""
        # Seldom more than two; an empty deque has 760 bytes, and most sessions are idle.
        self._events: list[Event] = []
        # What waits for its answer, the command that asked it, and where a yes leads.
        self._question: Question = NOTHING
        self._verb = Verb.NOOP
        self._next = State.NEW
        self._status = "ENHANCEDSTATUSCODES" not in limits.without

    # -- what the transport calls

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
        A positive one to the first BDAT isn't said: its chunk has to come first.
        """
        if not self.waiting:
            return
        self.waiting = False
        if reply.code == 421:
            self.close(reply)
        elif reply.code >= 400:
            self._denied(reply)
        else:
            self._granted(reply)

    def close(self, reply: Reply) -> None:
        """End the session with `reply`, whatever its state; `Closing` follows."""
        if self.state is not State.CLOSED:
            self._say(reply)
            self.state = State.CLOSED
            self.waiting = False
            # Nobody asks for it any more, and the client may take its time to leave.
            self._input.take()
            self._events.append(_CLOSING)

    def output(self) -> bytes:
        """What is to be sent to the client; it is sent once."""
        output, self._output = self._output, b""
        return output

    @property
    def full(self) -> bool:
        """More input waits than should: read no more until some events have been answered."""
        return len(self._input) >= MAX_INPUT

    # -- what the conversation is made of

    @abstractmethod
    def _step(self) -> bool:
        """Read one command or what there is of the text. False: it needs more input."""

    @abstractmethod
    def _granted(self, reply: Reply) -> None:
        """The question got a positive answer."""

    @abstractmethod
    def _denied(self, reply: Reply) -> None:
        """It got a negative one."""

    def _ask(self, question: Question, verb: Verb) -> None:
        """`verb` is legal now: the table says where a yes leads."""
        self.waiting = True
        self._question = question
        self._verb = verb
        following = TABLE[self.state][verb]
        assert isinstance(following, State)
        self._next = following
        self._events.append(question)

    def _refuse(self, refusal: Reply, verb: Verb) -> None:
        """Say no. Bytes behind a refused DATA are a text sent too early, never commands."""
        self._say(refusal)
        if verb is Verb.DATA and self._input:
            self.close(words.TEXT_TOO_EARLY)
            return
        enough = self._tally.refused(verb)
        if enough is not None:
            self.close(enough)

    def _unrecognized(self, refusal: Reply) -> None:
        """Say that the line was no command."""
        enough = self._tally.unknown()
        if enough is not None:
            self.close(enough)
        else:
            self._say(refusal)

    def _say(self, reply: Reply) -> None:
        text = reply.lines[0]
        if self._status and len(reply.lines) == 1 and len(text) <= MAX_TEXT and text.isascii() and text.isprintable():
            self._output += f"{reply.code} {text}\r\n".encode()
            return
        reply = fit(reply)
        self._output += (reply if self._status else without_status(reply)).encode()
