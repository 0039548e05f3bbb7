"""The client's side of an SMTP conversation, without a socket.

RFC 5321, 2920, 1870, 6152, 6531, 3461, 3030, 4954, 9422.

What the peer sends goes in by `receive`; what is to be sent in answer comes out of `take`,
and out of the orders `begin`, `text` and `end`. A transaction carries one message to one
recipient or several and ends in exactly one `Ending`, which tells how it went with each. The rule above all
others: a message counts as taken only by a 2xx that came after the final dot was handed over for sending, and in its
turn. Bytes nobody asked for prove nothing; they cost the connection.

What is said of the final dot holds for the last chunk (RFC 3030); chunks go to hosts whose replies tell what they
reply to (`telling`).

LMTP (RFC 2033) is the same but for its LHLO, and a reply to the dot for each recipient that was accepted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from relay.message.envelope import Recipient
from relay.message.values import Result
from relay.smtp import client_states as steps
from relay.smtp.chunked import Chunked
from relay.smtp.client_states import Event, Move, Step
from relay.smtp.ending import Ending
from relay.smtp.introduction import Introduction, Said, Tls
from relay.smtp.login import Choose
from relay.smtp.minutes import HIDDEN, Minutes, without_secrets
from relay.smtp.offered import Offered
from relay.smtp.opening import open_with
from relay.smtp.reply import Reply
from relay.smtp.reply_reader import BadReply, ReplyReader
from relay.smtp.roll import Roll, refused
from relay.smtp.stuffing import Stuffing
from relay.smtp.telling import Telling

_CLOSING = 421
#: What is said of a command, and not of a message, where the command is BDAT behind recipients that were accepted.
_UNKNOWN = range(500, 505)

__all__ = ["Conversation", "Event", "Tls"]


class Conversation:
    """One connection's worth of SMTP, from the greeting on.

    Attributes:
        transactions: how many were begun.
        replies: how many have come.
    """

    __slots__ = (
        "_awaited", "_chunked", "_chunking", "_ending", "_framing", "_in_text", "_interrupted", "_introduction",
        "_lmtp", "_minutes", "_output", "_reader", "_roll", "_soiled", "_telling", "_unsent", "replies", "transactions",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        tls: Tls = Tls.NEVER,
        secure: bool = False,
        chunking: bool = False,
        choose: Choose | None = None,
        lmtp: bool = False,
        minutes: Minutes | None = None,
    ) -> None:
        """`name` is what we call ourselves in EHLO: a domain or an address literal. `tls` says whether STARTTLS is to
        be used; `secure`, that the connection is by TLS from its beginning; `chunking`, that texts may go in chunks.
        `choose` takes the way to log in; None: there is no login. `lmtp`: LMTP is spoken, by which no chunks go.
        `minutes` are taken of all that is said, but for logins and texts."""
        self._introduction = Introduction(name, tls, secure, choose, lmtp)
        self._lmtp = lmtp
        self._minutes = minutes or Minutes()
        self._reader = ReplyReader()
        self._awaited: deque[Step] = deque((steps.BANNER,))
        self._unsent: deque[tuple[Step, bytes]] = deque()
        self._output = b""
        self._ending: Ending | None = None
        self._in_text = self._interrupted = False
        self._soiled = False
        self._framing: Stuffing | Chunked = Stuffing()
        self._chunking = chunking and not lmtp
        self._chunked = False
        self._telling = Telling()
        self._roll = Roll()
        self.transactions = self.replies = 0

    # -- where it stands

    @property
    def offered(self) -> Offered:
        """What the host offers."""
        return self._introduction.offered

    @property
    def secure(self) -> bool:
        """It goes on over TLS."""
        return self._introduction.secure

    @property
    def keeps_tls(self) -> bool:
        """The host sees to it that mail with REQUIRETLS goes on over TLS (RFC 8689 2)."""
        return self.secure and "REQUIRETLS" in self.offered.extensions

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
        self._minutes.began()
        offered = self._introduction.offered
        opening = open_with(
            offered,
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
        # Whether the text of this transaction goes in chunks.
        self._chunked = chunked = self._chunking and offered.chunks and self._telling.shown
        self._framing = Chunked() if chunked else Stuffing()
        soiled, self._soiled = self._soiled, True
        if offered.pipelining and not soiled and not chunked:
            self._awaited.append(steps.MAIL)
            self._awaited.extend((steps.RCPT,) * len(opening.rcpts))
            self._awaited.append(steps.DATA)
            commands = b"".join((opening.mail, *opening.rcpts, b"DATA\r\n"))
            self._minutes.note(commands)
            return commands
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
        self._awaited.extend((end,) * (self._roll.accepted if self._lmtp else 1))
        self._minutes.note("[text]")
        return self._framing.end(data)

    def secured(self) -> bytes:
        """The TLS handshake is done: what to send now."""
        self._minutes.note("[TLS]")
        self._say(self._introduction.secured())
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
                told = self._introduction.fit(reply)
                # A login needs to hear all of it, and nobody else does.
                login = self._awaited[0] is steps.AUTH
                self._minutes.note(Reply(reply.code, (HIDDEN,)) if login and reply.code < 400 else told)
                event = self._replied(reply if login else told)
                if event is not None:
                    return event
            reply = self._reader.next()
            if reply is not None:
                reply = self._introduction.fit(reply)
                self._minutes.note(reply)
            return self._unasked(reply)
        except BadReply as error:
            # What a host says that repeats a login may hold a part of it.
            return self._broken("no SMTP reply" if self._introduction.guarded else str(error))

    def lost(self, reason: str) -> Ending:
        """The connection is gone."""
        return self._cut(reason, "network", stale=self._unheard)

    def timed_out(self, seconds: float) -> Ending:
        """The peer was silent for too long."""
        return self._cut(f"No reply within {seconds:g} s", "network", stale=False)

    # -- inside

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
        if reply.code < 300 and not self._telling.fits(step, reply, self._chunked):
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
        elif move is Move.STALE:
            return Ending(Result.DEFERRED, step.stage, str(reply), reply.code, "reply", stale=True)
        elif move is Move.LONE_DOT:
            if self._lmtp:  # To a dot for nobody there is no reply.
                return self._broken("Host takes a text for nobody")
            self._say(Said(steps.IGNORED_DOT, b".\r\n"))
        elif move is not Move.IGNORED:
            return self._introduced(step, move, reply)
        elif not self._awaited:
            return self._ending
        return None

    def _introduced(self, step: Step, move: Move, reply: Reply) -> Event | Ending | None:
        """A reply on the way to the first transaction."""
        following = self._introduction.replied(step, move, reply)
        if not isinstance(following, Said):
            return following
        self._say(following)
        return None

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
        return self._cut(str(self._introduction.fit(reply)), "reply", stale=self._unheard, code=reply.code)

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

    def _say(self, said: Said) -> None:
        self._minutes.note(without_secrets(said.line) if said.step is steps.AUTH else said.line)
        self._awaited.append(said.step)
        self._output = said.line

    def _send_next(self) -> bytes:
        """The commands to be sent now: all of them when the host takes them so, else one."""
        if not self.offered.pipelining:
            step, command = self._unsent.popleft()
            self._awaited.append(step)
            self._minutes.note(command)
            return command
        self._awaited.extend(step for step, _ in self._unsent)
        commands = b"".join(command for _, command in self._unsent)
        self._unsent.clear()
        self._minutes.note(commands)
        return commands
