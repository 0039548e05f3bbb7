"""The conversation of the client as one table: this reply to this step leads to that move.

Every answer a peer can give stands here, and nothing else does: what a move does is told in
`introduction` and `client`. A reply of a class without a move of its own breaks the conversation; 421 and
replies that nobody asked for are outside the table, because they can come at any time.
"""

from __future__ import annotations

import enum
from typing import NamedTuple


class Move(enum.Enum):
    """What follows from a reply."""

    EHLO = "the host greets: say EHLO"
    HELO = "it does not know EHLO: say HELO"
    READY = "a transaction can begin"
    SECURE = "TLS can begin"
    PLAIN = "it can't: go on without, if that may be"
    ANSWER = "the host asks for a response of the login"
    LOGGED_IN = "it lets us in"
    LOCKED_OUT = "it doesn't, whatever the message"
    AWAY = "the host turns us away, whatever the message"
    NEXT = "go on with the transaction"
    LISTED = "the host takes this recipient"
    UNLISTED = "the host refuses this recipient"
    BODY = "the text can be sent"
    TAKEN = "the host has taken the message"
    REFUSED = "the host has refused the message"
    STALE = "the connection can't be used again; nothing is said about the message"
    IGNORED = "it belongs to a message that is refused already"
    LONE_DOT = "a text is expected although the message is refused: there is none"
    BROKEN = "no reply that makes sense here"


class Event(enum.Enum):
    """What the caller is asked for."""

    READY = "a transaction may begin"
    SECURE = "the TLS handshake is expected, and then `secured`"
    BODY = "the text is expected"
    SETTLED = "all that was sent of the text is taken"


class Step(NamedTuple):
    """One thing said by us whose reply is to come; `moves` by the first digit of the reply."""

    stage: str
    moves: tuple[Move, ...]
    refused: Step | None = None


def _step(stage: str, ok: Move, go: Move, later: Move, never: Move, refused: Step | None = None) -> Step:
    """A row: the moves for 2xx, 3xx, 4xx and 5xx, and the step it becomes when the
    message is refused while the reply is under way (RFC 2920 3.1)."""
    return Step(stage, (Move.BROKEN, Move.BROKEN, ok, go, later, never), refused)


_ = Move.BROKEN

# fmt: off
#                    stage     2xx            3xx            4xx            5xx
BANNER       = _step("banner", Move.EHLO,     _,             Move.AWAY,     Move.AWAY)
EHLO         = _step("ehlo",   Move.READY,    _,             Move.AWAY,     Move.HELO)
HELO         = _step("ehlo",   Move.READY,    _,             Move.AWAY,     Move.AWAY)
LHLO         = _step("ehlo",   Move.READY,    _,             Move.AWAY,     Move.AWAY)
STARTTLS     = _step("tls",    Move.SECURE,   _,             Move.PLAIN,    Move.PLAIN)
AUTH         = _step("auth",   Move.LOGGED_IN, Move.ANSWER,  Move.LOCKED_OUT, Move.LOCKED_OUT)
IGNORED_RCPT = _step("rcpt",   Move.IGNORED,  _,             Move.IGNORED,  Move.IGNORED)
IGNORED_DATA = _step("data",   _,             Move.LONE_DOT, Move.IGNORED,  Move.IGNORED)
IGNORED_DOT  = _step("dot",    Move.IGNORED,  _,             Move.IGNORED,  Move.IGNORED)
IGNORED_BDAT = _step("body",   Move.IGNORED,  _,             Move.IGNORED,  Move.IGNORED)
RSET         = _step("mail",   Move.NEXT,     _,             Move.STALE,    Move.STALE)
MAIL         = _step("mail",   Move.NEXT,     _,             Move.REFUSED,  Move.REFUSED)
RCPT         = _step("rcpt",   Move.LISTED,   _,             Move.UNLISTED, Move.UNLISTED, IGNORED_RCPT)
DATA         = _step("data",   _,             Move.BODY,     Move.REFUSED,  Move.REFUSED, IGNORED_DATA)
DOT          = _step("dot",    Move.TAKEN,    _,             Move.REFUSED,  Move.REFUSED)
CHUNK        = _step("body",   Move.NEXT,     _,             Move.REFUSED,  Move.REFUSED, IGNORED_BDAT)
LAST_CHUNK   = _step("dot",    Move.TAKEN,    _,             Move.REFUSED,  Move.REFUSED, IGNORED_DOT)
# fmt: on

#: Steps behind which the host has all of the text, and may have taken it.
ENDS = (DOT, LAST_CHUNK)
