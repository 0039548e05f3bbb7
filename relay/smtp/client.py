"""The client's side of an SMTP conversation, without a socket.

RFC 5321, 2920, 1870, 6152, 6531, 3461, 3030, 4954, 9422.

What the peer sends goes in by `receive`; what is to be sent in answer comes out of `take`,
and out of the orders `begin`, `text` and `end`. A transaction carries one message to one
recipient or several and ends in exactly one `Ending`, which tells how it went with each. The rule above all
others: a message counts as taken only by a 2xx that came after the final dot was handed over for sending, and in its
turn. Bytes nobody asked for prove nothing; they cost the connection.

What is said of the final dot holds for the last chunk (RFC 3030). With it there is no 354 by which
a reply too many would be found out; so only those hosts get chunks that have shown, in a transaction
with DATA before, that the enhanced codes of their replies tell MAIL and RCPT from the rest.

LMTP (RFC 2033) is the same but for its LHLO, and a reply to the dot for each recipient that was accepted.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from relay.message.envelope import Recipient
from relay.message.values import Result
from relay.smtp import client_states as steps
from relay.smtp.chunked import Chunked
from relay.smtp.client_states import Move, Step
from relay.smtp.ending import Ending
from relay.smtp.login import Choose, Login, LoginFailed
from relay.smtp.offered import NOTHING, read
from relay.smtp.opening import open_with
from relay.smtp.reply import Reply
from relay.smtp.reply_reader import BadReply, ReplyReader
from relay.smtp.roll import Roll, refused
from relay.smtp.stuffing import Stuffing

_CLOSING = 421
#: What is said of a command, and not of a message, where the command is BDAT behind recipients that were accepted.
_UNKNOWN = range(500, 505)


class Tls(enum.Enum):
    """Whether STARTTLS is said (RFC 3207)."""

    NEVER = "it isn't"
    MAY = "it is where it is offered; the mail goes without it, too"
    MUST = "no mail without it"


class Event(enum.Enum):
    """What the caller is asked for."""

    READY = "a transaction may begin"
    SECURE = "the TLS handshake is expected, and then `secured`"
    BODY = "the text is expected"
    SETTLED = "all that was sent of the text is taken"


class Conversation:
    """One connection's worth of SMTP, from the greeting on.

    Attributes:
        offered: what the host offers.
        transactions: how many were begun.
        secure: it goes on over TLS.
        replies: how many have come.
    """

    __slots__ = (
        "_awaited", "_choose", "_chunking", "_ending", "_framing", "_hello", "_in_text", "_interrupted", "_login",
        "_name", "_output", "_reader", "_roll", "_soiled", "_tells", "_tls", "_unsent", "offered", "replies", "secure",
        "transactions",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        tls: Tls = Tls.NEVER,
        secure: bool = False,
        chunking: bool = False,
        choose: Choose | None = None,
        lmtp: bool = False,
    ) -> None:
        """`name` is what we call ourselves in EHLO: a domain or an address literal. `tls` says whether STARTTLS is to
        be used; `secure`, that the connection is by TLS from its beginning; `chunking`, that texts may go in chunks.
        `choose` takes the way to log in; None: there is no login. `lmtp`: LMTP is spoken, by which no chunks go."""
        self._name = name
        self._hello = steps.LHLO if lmtp else steps.EHLO
        self._tls = tls
        self.secure = secure
        self._reader = ReplyReader()
        self._awaited: deque[Step] = deque((steps.BANNER,))
        self._unsent: deque[tuple[Step, bytes]] = deque()
        self._output = b""
        self._ending: Ending | None = None
        self._in_text = self._interrupted = False
        self._soiled = False
        self.offered = NOTHING
        self._framing: Stuffing | Chunked = Stuffing()
        self._chunking = chunking and not lmtp
        self._choose = choose
        self._login: Login | None = None
        # Whether replies tell by their codes what they reply to; None: not known yet.
        self._tells: bool | None = None
        self._roll = Roll()
        self.transactions = self.replies = 0

    # -- where it stands

    @property
    def extensions(self) -> Mapping[str, str]:
        """EHLO keywords in upper case with their parameters; empty after HELO."""
        return self.offered.extensions

    @property
    def stage(self) -> str:
        """The stage whose time-out applies now."""
        if self._awaited:
            return self._awaited[0].stage
        return "body" if self._in_text else "mail"

    @property
    def in_dot(self) -> bool:
        """The final dot of a message was handed over, and its reply isn't here."""
        return bool(self._awaited) and self._awaited[-1] in steps.ENDS

    @property
    def hurries(self) -> bool:
        """After `begin`: the whole text may go in the same write, by `end`, without waiting for BODY."""
        return self._chunked and not self._unsent and self._awaited[0] is steps.MAIL

    @property
    def refused(self) -> bool:
        """The message is refused, though not all replies to what was sent are here: no more of it is of use."""
        return self._ending is not None

    @property
    def settled(self) -> bool:
        """All that was sent is answered; with a text under way, only then may it end."""
        return not self._awaited

    @property
    def spent(self) -> bool:
        """The host takes no further transaction on this connection (MAILMAX, RFC 9422 4.1)."""
        return 0 < self.offered.max_transactions <= self.transactions

    def taken(self) -> Mapping[int, Ending]:
        """The recipients, by their places, whom the host has said to have taken the message for since this was asked
        last, while others wait for its word. An ending tells of them again."""
        taken = self._roll.taken
        if taken:
            self._roll.taken = {}
        return taken

    def take(self) -> bytes:
        """What is to be sent in answer to what was received."""
        output, self._output = self._output, b""
        return output

    # -- orders

    def begin(
        self,
        sender: str,
        recipient: str,
        size: int,
        eight_bit: bool,
        *,
        utf8_header: bool = False,
        require_tls: bool = False,
        ret: str = "",
        envid: str = "",
        notify: str = "",
        orcpt: str = "",
        fellows: Sequence[Recipient] = (),
    ) -> bytes | Ending:
        """Begin a transaction; only when READY, or after a reusable ending.

        Args:
            size: bytes of the whole message as it is sent, without stuffed dots.
            eight_bit: it has bytes beyond ASCII.
            utf8_header: its header has UTF-8, and was said to (RFC 6531 3.4).
            require_tls: it must not travel without TLS (RFC 8689 4.2).
            ret, envid, notify, orcpt: passed on to hosts that know DSN (RFC 3461 5.2).
            fellows: more recipients, in the same transaction; the places of all count from 0, that of `recipient`.

        Returns:
            What to send, or the ending of a message that this host can't be offered.
        """
        opening = open_with(
            self.offered,
            self.secure,
            sender,
            (Recipient(recipient, notify, orcpt), *fellows),
            size,
            eight_bit,
            utf8_header=utf8_header,
            require_tls=require_tls,
            ret=ret,
            envid=envid,
        )
        if isinstance(opening, Ending):
            return opening
        self.transactions += 1
        self._ending = None
        self._roll = Roll(opening.places, opening.unfit)
        chunked = self._chunking and self.offered.chunks and self._tells is True
        self._framing = Chunked() if chunked else Stuffing()
        soiled, self._soiled = self._soiled, True
        if self.offered.pipelining and not soiled and not chunked:
            self._awaited.append(steps.MAIL)
            self._awaited.extend((steps.RCPT,) * len(opening.rcpts))
            self._awaited.append(steps.DATA)
            return b"".join((opening.mail, *opening.rcpts, b"DATA\r\n"))
        if soiled:
            self._unsent.append((steps.RSET, b"RSET\r\n"))
        self._unsent.append((steps.MAIL, opening.mail))
        self._unsent.extend((steps.RCPT, rcpt) for rcpt in opening.rcpts)
        if not chunked:
            self._unsent.append((steps.DATA, b"DATA\r\n"))
        return self._send_next()

    def text(self, data: bytes) -> bytes:
        """A piece of the text that isn't the last, as it goes on the wire. Only after BODY, and not when it is
        refused."""
        if data and self._chunked:
            self._awaited.append(steps.CHUNK)
        return self._framing.piece(data)

    def end(self, data: bytes) -> bytes:
        """The last piece of the text with the final dot, to be sent in one write. Only after
        BODY and when it is settled, or when it hurries; from here on the host may have taken the message."""
        self._in_text = False
        self._interrupted = self._reader.pending
        end = steps.LAST_CHUNK if self._chunked else steps.DOT
        self._awaited.extend((end,) * (self._roll.accepted if self._hello is steps.LHLO else 1))
        return self._framing.end(data)

    def secured(self) -> bytes:
        """The TLS handshake is done: what to send now. All that the host has said before is forgotten, for anybody may
        have said it (RFC 3207 4.2)."""
        self.secure = True
        self.offered = NOTHING
        self._greet()
        return self.take()

    # -- what happens

    def receive(self, data: bytes) -> Event | Ending | None:
        """Take what the peer sent; what follows from it, if anything does yet.

        After an Ending that isn't reusable the connection is to be dropped. One that was
        `in_dot` and got no proper reply is `doubtful`.
        """
        self._reader.feed(data)
        try:
            while self._awaited:
                reply = self._reader.next()
                if reply is None:
                    return None
                event = self._replied(reply)
                if event is not None:
                    return event
            return self._unasked(self._reader.next())
        except BadReply as error:
            # What a host says that repeats a login may hold a part of it.
            return self._broken(str(error) if self._login is None else "no SMTP reply")

    def lost(self, reason: str) -> Ending:
        """The connection is gone."""
        return self._cut(reason, "network", stale=self._unheard)

    def timed_out(self, seconds: float) -> Ending:
        """The peer was silent for too long."""
        return self._cut(f"No reply within {seconds:g} s", "network", stale=False)

    # -- inside

    @property
    def _chunked(self) -> bool:
        """The text of this transaction goes in chunks."""
        return isinstance(self._framing, Chunked)

    @property
    def _unheard(self) -> bool:
        """A kept connection has said nothing yet about this transaction."""
        return self.transactions > 1 and bool(self._awaited) and self._awaited[0] in (steps.RSET, steps.MAIL)

    def _replied(self, reply: Reply) -> Event | Ending | None:
        """Make the move that `reply` to the oldest step leads to."""
        if reply.code == _CLOSING:
            return self._closing(reply)
        self.replies += 1
        step = self._awaited.popleft()
        move = step.moves[reply.code // 100]
        if reply.code < 300 and not self._fits(step, reply):
            move = Move.BROKEN
        early = not self._awaited and (self._reader.pending or self._interrupted)
        if step is steps.DOT and self._awaited and move is not Move.BROKEN and self._roll.dot(reply):
            return None
        if move is Move.TAKEN:
            self._soiled = False
            return Ending(
                Result.DELIVERED, "dot", str(reply), reply.code, reusable=not early, apart=self._roll.apart
            )
        if move is Move.UNLISTED:
            self._roll.refuse(reply)
            move = Move.REFUSED if self._roll.lost else Move.NEXT
        if move is Move.REFUSED:
            return self._refused(step, reply, early)
        if move is Move.BROKEN:
            self._awaited.appendleft(step)
            return self._broken(f"Reply makes no sense here: {reply}")
        if early:
            if move is Move.SECURE:
                self._awaited.appendleft(step)
            return self._broken("Host talks before it is asked")
        if move is Move.LISTED:
            self._roll.accept()
            move = Move.NEXT
        if move is Move.NEXT:
            if self._unsent and not self._awaited:
                self._output = self._send_next()
            elif not self._awaited:
                event = Event.SETTLED if self._in_text else Event.BODY
                self._in_text = True
                return event
        elif move is Move.BODY:
            self._in_text = True
            return Event.BODY
        elif move is Move.EHLO:
            self._greet()
        elif move is Move.HELO:
            self._say(steps.HELO, f"HELO {self._name}\r\n".encode("ascii", "replace"))
        elif move is Move.READY:
            if step is not steps.HELO:
                self.offered = read(reply.lines[1:])
            return self._greeted()
        elif move is Move.SECURE:
            return Event.SECURE
        elif move is Move.PLAIN:
            return self._plain(str(reply), reply.code, "reply")
        elif move is Move.ANSWER or move is Move.LOGGED_IN or move is Move.LOCKED_OUT:
            return self._logging_in(move, reply)
        elif move is Move.AWAY:
            return Ending(Result.DEFERRED, step.stage, str(reply), reply.code, "reply")
        elif move is Move.STALE:
            return Ending(Result.DEFERRED, step.stage, str(reply), reply.code, "reply", stale=True)
        elif move is Move.LONE_DOT:
            if self._hello is steps.LHLO:  # To a dot for nobody there is no reply.
                return self._broken("Host takes a text for nobody")
            self._say(steps.IGNORED_DOT, b".\r\n")
        elif not self._awaited:
            return self._ending
        return None

    def _fits(self, step: Step, reply: Reply) -> bool:
        """Whether a success can be that of this step: of those whose codes should tell. Without chunks the 354 has
        told, and it is noted whether the codes would have."""
        if step not in steps.TELLING:
            return True
        tells = reply.lines[0].startswith("2.1.") == (step in steps.ADDRESSED)
        if self._chunked:
            return tells
        if not tells:
            self._tells = False
        elif step is steps.DOT and self._tells is None:
            self._tells = True
        return True

    def _greet(self) -> None:
        word = "LHLO" if self._hello is steps.LHLO else "EHLO"
        self._say(self._hello, f"{word} {self._name}\r\n".encode("ascii", "replace"))

    def _greeted(self) -> Event | Ending | None:
        """The host has said what it offers: TLS comes first, then the login."""
        if self.secure or self._tls is Tls.NEVER:
            return self._log_in()
        if "STARTTLS" not in self.offered.extensions:
            return self._plain("The host does not offer TLS", 0, "tls")
        self._say(steps.STARTTLS, b"STARTTLS\r\n")
        return None

    def _plain(self, text: str, code: int, category: str) -> Event | Ending | None:
        """There is no TLS to be had."""
        if self._tls is Tls.MAY:
            return self._log_in()
        return Ending(Result.DEFERRED, "tls", text, code, category)

    def _log_in(self) -> Event | Ending | None:
        """Nothing else is left to do before the first transaction."""
        if self._choose is None:
            return Event.READY
        offered = self.offered.extensions.get("AUTH", "").split()
        try:
            self._login = Login(self._choose(offered, self.secure))
        except LoginFailed as error:
            return _locked_out(f"No login: {error}")
        self._say(steps.AUTH, self._login.begin())
        return None

    def _logging_in(self, move: Move, reply: Reply) -> Event | Ending | None:
        login = self._login
        assert login is not None
        failed = f"Login by {login.name} failed: "
        if move is Move.LOCKED_OUT:
            return _locked_out(failed + login.fit(reply), reply.code)
        try:
            if move is Move.ANSWER:
                self._say(steps.AUTH, login.answer(reply))
                return None
            login.finish()
        except LoginFailed as error:
            return _locked_out(failed + str(error))
        self._login = None
        return Event.READY

    def _refused(self, step: Step, reply: Reply, early: bool) -> Ending | None:
        """The message is refused. Replies still on their way are awaited first, and ignored."""
        self._in_text = False
        if step in (steps.CHUNK, steps.LAST_CHUNK) and reply.code in _UNKNOWN:
            # It has taken the text for commands.
            ending = Ending(Result.DEFERRED, step.stage, str(reply), reply.code, "protocol")
            return replace(ending, stale=not self._roll.heard, apart=self._roll.apart)
        ending = replace(refused(step.stage, reply), reusable=not early, apart=self._roll.apart)
        if self._roll.cut_short and step is steps.DATA:
            # Some refuse it to whoever had more recipients than they take (RFC 5321 4.5.3.1.10).
            ending = replace(ending, result=Result.DEFERRED)
        self._unsent.clear()
        if not self._awaited:
            return ending
        self._ending = ending
        self._awaited = deque(later.refused or later for later in self._awaited)
        return None

    def _closing(self, reply: Reply) -> Ending:
        """421: the host closes the connection, whatever was said (RFC 5321 3.8)."""
        text = str(reply) if self._login is None else self._login.fit(reply)
        return self._cut(text, "reply", stale=self._unheard, code=reply.code)

    def _unasked(self, reply: Reply | None) -> Ending | None:
        """What comes while nothing is awaited. In the midst of the text it may be a refusal: that
        holds, but what the host takes for text and what for commands is open from then on."""
        if reply is None:
            if self._in_text and self._reader.refusing:
                return None
        elif reply.code == _CLOSING:
            return self._closing(reply)
        elif self._in_text and reply.code >= 400:
            return replace(refused("body", reply), apart=self._roll.apart)
        return self._broken("Host talks before it is asked")

    def _broken(self, reason: str) -> Ending:
        """The peer doesn't speak SMTP, or not in turn. On a kept connection that is no fault of
        this message, as long as its text wasn't sent and none of its recipients refused."""
        kept = self.transactions > 1 and not self._in_text and not self.in_dot and not self._roll.heard
        return self._cut(reason, "protocol", stale=kept)

    def _cut(self, reason: str, category: str, stale: bool, code: int = 0) -> Ending:
        """The conversation ends here; a refusal that was heard before still holds."""
        if self._ending is not None:
            return self._ending.without_reuse()
        # Of several who wait for its word the host may have taken it for those behind the first.
        doubtful = self.in_dot and (not code or self._awaited.count(steps.DOT) > 1)
        apart = self._roll.apart
        return Ending(Result.DEFERRED, self.stage, reason, code, category, doubtful, False, stale, apart)

    def _say(self, step: Step, data: bytes) -> None:
        self._awaited.append(step)
        self._output = data

    def _send_next(self) -> bytes:
        """The commands to be sent now: all of them when the host takes them so, else one."""
        if not self.offered.pipelining:
            step, command = self._unsent.popleft()
            self._awaited.append(step)
            return command
        self._awaited.extend(step for step, _ in self._unsent)
        commands = b"".join(command for _, command in self._unsent)
        self._unsent.clear()
        return commands


def _locked_out(text: str, code: int = 0) -> Ending:
    """No login: nothing is said of any message."""
    return Ending(Result.DEFERRED, "auth", text, code, "auth")
