"""The conversation of the server as one table: in this state, this command leads there.

Two rules hold here. Everything that decides whether a command is allowed stands in `TABLE`,
and nothing in this file knows what a command does. A cell is either the state that follows
when the command gets a positive reply, or the reply that refuses it (RFC 5321 4.1.4). A
command that gets a negative reply leaves the state as it was; the end of the text is the
exception: whatever the verdict, the transaction is over (`server` sees to it).
"""

from __future__ import annotations

import enum

from relay.smtp.reply import Reply, reply


class State(enum.StrEnum):
    """Where a session stands."""

    NEW = "new"  # the client hasn't said who it is
    READY = "ready"  # it has; no transaction is open
    SENDER = "sender"  # MAIL was accepted
    RECIPIENTS = "recipients"  # at least one RCPT was accepted
    TEXT = "text"  # 354 was said: what comes is the message
    CLOSED = "closed"  # nothing is read any more


class Verb(enum.StrEnum):
    """What a client can say; DOT is the end of the text."""

    HELO = "HELO"
    EHLO = "EHLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    RSET = "RSET"
    NOOP = "NOOP"
    VRFY = "VRFY"
    HELP = "HELP"
    QUIT = "QUIT"
    DOT = "."


#: Verbs as they stand on a line; DOT is none.
VERBS = {verb.value: verb for verb in Verb if verb is not Verb.DOT}

HELLO_FIRST = reply(503, "5.5.1 Error: send HELO/EHLO first")
NESTED_MAIL = reply(503, "5.5.1 Error: nested MAIL command")
NEED_MAIL = reply(503, "5.5.1 Error: need MAIL command")
NEED_RCPT = reply(503, "5.5.1 Error: need RCPT command")


def _stay(state: State) -> dict[Verb, State | Reply]:
    """What can be said at any time and changes nothing."""
    return {Verb.NOOP: state, Verb.VRFY: state, Verb.HELP: state, Verb.QUIT: State.CLOSED}


TABLE: dict[State, dict[Verb, State | Reply]] = {
    State.NEW: {
        **_stay(State.NEW),
        Verb.HELO: State.READY,
        Verb.EHLO: State.READY,
        Verb.MAIL: HELLO_FIRST,
        Verb.RCPT: HELLO_FIRST,
        Verb.DATA: HELLO_FIRST,
        Verb.RSET: State.NEW,
    },
    State.READY: {
        **_stay(State.READY),
        Verb.HELO: State.READY,
        Verb.EHLO: State.READY,
        Verb.MAIL: State.SENDER,
        Verb.RCPT: NEED_MAIL,
        Verb.DATA: NEED_MAIL,
        Verb.RSET: State.READY,
    },
    State.SENDER: {
        **_stay(State.SENDER),
        Verb.HELO: State.READY,
        Verb.EHLO: State.READY,
        Verb.MAIL: NESTED_MAIL,
        Verb.RCPT: State.RECIPIENTS,
        Verb.DATA: NEED_RCPT,
        Verb.RSET: State.READY,
    },
    State.RECIPIENTS: {
        **_stay(State.RECIPIENTS),
        Verb.HELO: State.READY,
        Verb.EHLO: State.READY,
        Verb.MAIL: NESTED_MAIL,
        Verb.RCPT: State.RECIPIENTS,
        Verb.DATA: State.TEXT,
        Verb.RSET: State.READY,
    },
    State.TEXT: {Verb.DOT: State.READY},
    State.CLOSED: {},
}

#: States in which a transaction is open.
OPEN = frozenset({State.SENDER, State.RECIPIENTS, State.TEXT})
