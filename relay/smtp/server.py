"""The server's side of an SMTP conversation, without a socket (RFC 5321): what each command does.

Which one is legal when is told by `states`, what is offered by `offers`, what a client may
try before it is sent away by `tally`, how messages come by `transactions`, and how events and
replies keep their order by `dialogue`.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable

from relay.config.schema import Listener
from relay.message.clock import WallClock
from relay.smtp import commands, grammar, words
from relay.smtp.dialogue import MAX_INPUT, MAX_OUTPUT, NOTHING
from relay.smtp.events import AuthCancelled, AuthContinued, Question, TlsWanted, XclientGiven
from relay.smtp.grammar import Malformed
from relay.smtp.input import MAX_AUTH_LINE, Input
from relay.smtp.offers import Offers
from relay.smtp.reply import Reply
from relay.smtp.states import COMMANDS, TABLE, State, Verb
from relay.smtp.transactions import Transactions

_CANCELLED = AuthCancelled()
_TLS_WANTED = TlsWanted()
_WALL = WallClock()


class Server(Transactions):
    """One session.

    Attributes:
        helo: what the client calls itself, "" before HELO or EHLO.
        extended: it said EHLO.
        authenticated: it has logged in, or a trusted client says so of it.
    """

    __slots__ = ("_client", "_hostname", "authenticated", "extended", "helo")

    def __init__(
        self,
        hostname: str,
        client: str,
        limits: Listener,
        *,
        starttls: bool = False,
        mechanisms: tuple[str, ...] = (),
        xclient: bool = False,
        now: Callable[[], int] = _WALL,
    ) -> None:
        """`client` is the peer's address as the reply to EHLO shows it.

        Args:
            starttls: TLS can be had, by STARTTLS.
            mechanisms: the ways to log in.
            xclient: the client is trusted to say by XCLIENT for whom it speaks.
            now: milliseconds since the epoch.
        """
        super().__init__(limits, Offers(limits, starttls, mechanisms, xclient), now)
        self.helo = ""
        self.extended = False
        self.authenticated = False
        self._hostname = hostname
        self._client = client

    # -- what the transport calls, beside what a dialogue has

    def greeting(self) -> None:
        """Say 220."""
        self._say(words.greeting(self._hostname))

    def challenge(self, data: bytes) -> None:
        """Instead of an answer to AuthBegun or AuthContinued: ask back (RFC 4954 4)."""
        if self.waiting:
            self.waiting = False
            self._question = NOTHING
            self.state = self._next
            self._output += b"334 " + b2a_base64(data, newline=False) + b"\r\n"

    def secured(self, mechanisms: tuple[str, ...]) -> None:
        """There is TLS now, after TlsWanted or from the first byte on: whatever was said before is
        forgotten (RFC 3207 4.2). `mechanisms`: the ways to log in, which a certificate may add to."""
        if self.state is not State.CLOSED:
            self._offers = self._offers.secured(mechanisms)
            self._input = Input()
            self._begin_anew()
            self._identified(False)

    # -- reading

    def _step(self) -> bool:
        state = self.state
        if state in COMMANDS:
            return self._read_command()
        if state is State.TEXT:
            return self._read_text()
        if state is State.CHUNK:
            return self._read_chunk()
        if state is State.LOGIN:
            return self._read_response()
        if state is State.CLOSED:
            self._input.take()
        return False

    def _read_command(self) -> bool:
        if self._skip:
            self._skip -= len(self._input.take_at_most(self._skip))
        line = self._input.line()
        if line is None:
            return False
        if isinstance(line, Reply):
            self._unrecognized(line)
        else:
            self._obey(line)
        return True

    def _read_response(self) -> bool:
        line = self._input.line(MAX_AUTH_LINE)
        if line is None:
            return False
        refusal = words.BAD_BASE64
        if line is words.LINE_TOO_LONG:
            refusal = words.AUTH_TOO_LONG
        elif line == b"*":
            refusal = words.AUTH_CANCELLED
        elif not isinstance(line, Reply):
            try:
                self._ask(AuthContinued(commands.decoded(line)), Verb.RESPONSE)
                return True
            except ValueError:
                pass  # BAD_BASE64 says so.
        self.state = State.READY
        self._events.append(_CANCELLED)
        self._refuse(refusal, Verb.AUTH)
        return True

    # -- commands

    def _obey(self, line: bytes) -> None:
        try:
            command = grammar.split(line)
        except Malformed:
            return self._unrecognized(words.CONTROL)
        verb = self._offers.verbs.get(command.verb)
        if verb is None:
            return self._not_offered(command)
        enough = self._tally.command(verb)
        if enough is not None:
            return self.close(enough)
        argument = command.argument
        cell = TABLE[self.state][verb]
        if isinstance(cell, Reply) and verb is not Verb.BDAT:
            return self._refuse(cell, verb)
        match verb:
            case Verb.MAIL:
                self._mail(argument)
            case Verb.RCPT:
                self._rcpt(argument)
            case Verb.DATA:
                self._data(argument)
            case Verb.BDAT:
                self._bdat(argument, cell)
            case Verb.HELO | Verb.EHLO:
                self._hello(argument, verb)
            case Verb.RSET:
                self._reset(argument)
            case Verb.QUIT:
                self.close(words.BYE)
            case Verb.NOOP:
                self._say(words.OK)
            case Verb.VRFY:
                self._say(words.VRFY)
            case Verb.HELP:
                self._say(words.HELP)
            case Verb.AUTH:
                self._auth(argument)
            case Verb.STARTTLS:
                self._begin_tls(argument)
            case Verb.XCLIENT:
                self._settle(commands.xclient(argument), verb)

    def _not_offered(self, command: grammar.Line) -> None:
        if command.verb == "BDAT":
            # Octets of a message follow, and nothing in them may be obeyed.
            self.close(words.BDAT_NOT_OFFERED)
        elif command.verb == "XCLIENT":
            self._refuse(words.XCLIENT_DENIED, Verb.XCLIENT)
        elif grammar.is_http(command):
            self.close(words.HTTP)
        else:
            self._unrecognized(words.UNKNOWN)

    def _hello(self, argument: str, verb: Verb) -> None:
        extended = verb is Verb.EHLO
        if not grammar.is_helo_name(argument):
            return self._refuse(words.EHLO_SYNTAX if extended else words.HELO_SYNTAX, verb)
        self._drop()
        self.helo = argument
        self.extended = extended
        if extended:
            lines = self._offers.lines(self.authenticated, self._now())
            self._say(words.extended_hello(self._hostname, self._client, lines))
        else:
            self._say(words.hello(self._hostname, self._client))

    def _auth(self, argument: str) -> None:
        offers = self._offers
        if self.authenticated:
            return self._refuse(words.NO_IDENTITY_CHANGES, Verb.AUTH)
        if not offers.mechanisms:
            return self._refuse(words.STARTTLS_BEFORE_AUTH if offers.starttls else words.AUTH_NEEDS_TLS, Verb.AUTH)
        self._settle(commands.auth(argument, offers.mechanisms), Verb.AUTH)

    def _begin_tls(self, argument: str) -> None:
        if self._offers.secure:
            return self._refuse(words.TLS_ALREADY, Verb.STARTTLS)
        if argument:
            return self._refuse(words.NO_ARGUMENT, Verb.STARTTLS)
        if self._input:
            # Somebody on the way may have put it there, to be obeyed as if it had come by TLS.
            return self.close(words.TEXT_BEHIND_STARTTLS)
        self.state = State.HANDSHAKE
        self._say(words.READY_FOR_TLS)
        self._events.append(_TLS_WANTED)

    # -- what is known of the client

    def _introduced(self, question: Question) -> None:
        if isinstance(question, XclientGiven):
            self._speaks_for(question.attributes)
        else:
            self.state = State.READY
            self._question = NOTHING
            self._identified(True)

    def _unknown(self, question: XclientGiven) -> None:
        """The user whom it names may not log in: all the rest is believed, and nobody has logged in."""
        self._speaks_for({**question.attributes, "LOGIN": ""})

    def _begin_anew(self) -> None:
        """The client has said nothing yet."""
        self._forget()
        self.state = State.NEW
        self.helo = ""
        self.extended = False

    def _identified(self, authenticated: bool) -> None:
        self.authenticated = authenticated
        self._tally.anonymous = self._limits.auth and not authenticated

    def _speaks_for(self, attributes: dict[str, str]) -> None:
        """Take a trusted client's word for who its client is; "" is what it doesn't know. Once it has
        said for which address it speaks, its word counts no more: proxies pass on what their client says."""
        self._begin_anew()
        self.helo = attributes.get("HELO", "")
        if "ADDR" in attributes:
            self._client = attributes["ADDR"] or self._client
            self._offers = self._offers.spoken_for()
        if "LOGIN" in attributes:
            self._identified(attributes["LOGIN"] != "")


__all__ = ["MAX_INPUT", "MAX_OUTPUT", "Server"]
