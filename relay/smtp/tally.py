"""What a session has used up of the listener's patience since its last message."""

from __future__ import annotations

from relay.config.schema import Listener
from relay.smtp import words
from relay.smtp.reply import Reply
from relay.smtp.states import Verb

#: The session ends at this many lines that are no command.
MAX_UNKNOWN = 10
#: The same for commands of a client that should log in and doesn't.
MAX_ANONYMOUS = 10

#: What says who somebody is, or that he leaves.
_POLITE = frozenset({Verb.AUTH, Verb.STARTTLS, Verb.QUIT})


class Tally:
    """Counts, and says when it is enough: each count answers with a reply that ends the session.

    Attributes:
        messages: how many were accepted.
        anonymous: a login is wanted and has not come.
    """

    __slots__ = (
        "_bad_recipients", "_commands", "_errors", "_limits", "_most", "_nameless", "_unknown",
        "anonymous", "messages",
    )  # fmt: skip

    def __init__(self, limits: Listener) -> None:
        self._limits = limits
        self._most = limits.max_commands
        self._commands = self._errors = self._bad_recipients = self._unknown = self._nameless = 0
        self.messages = 0
        self.anonymous = limits.auth

    def command(self, verb: Verb) -> Reply | None:
        """A command has come. Recipients don't count: their number has limits of its own."""
        if verb is not Verb.RCPT:
            self._commands += 1
            if self._commands > self._most:
                return words.TOO_MANY_COMMANDS
        if self.anonymous and verb not in _POLITE:
            self._nameless += 1
            if self._nameless >= MAX_ANONYMOUS:
                return words.TOO_MANY_ANONYMOUS
        return None

    def unknown(self) -> Reply | None:
        """A line that is no command."""
        self._unknown += 1
        return words.TOO_MANY_UNKNOWN if self._unknown >= MAX_UNKNOWN else None

    def refused(self, verb: Verb) -> Reply | None:
        """A command got a 4xx or 5xx."""
        if verb is Verb.RCPT:
            self._bad_recipients += 1
            if self._bad_recipients >= self._limits.max_bad_recipients:
                return words.TOO_MANY_BAD_RECIPIENTS
            return None
        self._errors += 1
        return words.TOO_MANY_ERRORS if self._errors >= self._limits.max_errors else None

    def accepted(self) -> None:
        """A message was: all is forgiven."""
        self.messages += 1
        self._commands = self._errors = self._bad_recipients = self._unknown = 0
