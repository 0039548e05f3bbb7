"""The conversation of the server as one table: in this state, this command leads there.

Two rules hold here. Everything that decides whether a command is allowed stands in `TABLE`,
and nothing in this file knows what a command does. A cell is either the state that follows
when the command gets a positive reply, or the reply that refuses it (RFC 5321 4.1.4). A
command that gets a negative reply leaves the state as it was, but for three: the end of the
text, a chunk and a login, after which the transaction or the login is over, whatever the
verdict (`server` sees to it). What isn't offered at all is no command: see `offers`.
"""

from __future__ import annotations

import enum

from relay.smtp.reply import Reply, reply


class State(enum.StrEnum):
    """Where a session stands."""

    NEW = "new"  # the client hasn't said who it is
    READY = "ready"  # it has; no transaction is open
    LOGIN = "login"  # 334 was said: what comes is a response
    HANDSHAKE = "handshake"  # 220 was said to STARTTLS: nothing is read until there is TLS
    SENDER = "sender"  # MAIL was accepted
    RECIPIENTS = "recipients"  # at least one RCPT was accepted
    TEXT = "text"  # 354 was said: what comes is the message
    CHUNK = "chunk"  # BDAT was accepted: so many octets of the message come
    CHUNKS = "chunks"  # a chunk was taken, and it wasn't the last
    SPOILED = "spoiled"  # a chunk was refused: nothing but RSET helps (RFC 3030 3)
    CLOSED = "closed"  # nothing is read any more


class Verb(enum.StrEnum):
    """What a client can say. Those in lower case are no commands: its response to a challenge,
    the end of the text, the end of a chunk and that of the last one."""

    HELO = "HELO"
    EHLO = "EHLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    RSET = "RSET"
    NOOP = "NOOP"
    VRFY = "VRFY"
    HELP = "HELP"
    QUIT = "QUIT"
    AUTH = "AUTH"
    STARTTLS = "STARTTLS"
    XCLIENT = "XCLIENT"
    RESPONSE = "response"
    DOT = "dot"
    CHUNK = "chunk"
    LAST_CHUNK = "last chunk"


#: Verbs as they stand on a line.
VERBS = {verb.value: verb for verb in Verb if verb.value.isupper()}

HELLO_FIRST = reply(503, "5.5.1 Error: send HELO/EHLO first")
NESTED_MAIL = reply(503, "5.5.1 Error: nested MAIL command")
NEED_MAIL = reply(503, "5.5.1 Error: need MAIL command")
NEED_RCPT = reply(503, "5.5.1 Error: need RCPT command")
NEED_LAST = reply(503, "5.5.1 Error: need BDAT command, the text has begun with it")
NEED_RSET = reply(503, "5.5.1 Error: need RSET command, a chunk was refused")
IN_MAIL = reply(503, "5.5.1 Error: not while a mail transaction is open")


def _at_any_time(state: State) -> dict[Verb, State | Reply]:
    """What can be said at any time and changes nothing but, maybe, the end of it all."""
    return {Verb.NOOP: state, Verb.VRFY: state, Verb.HELP: state, Verb.QUIT: State.CLOSED}


def _in_transaction(state: State) -> dict[Verb, State | Reply]:
    """The same, and what ends an open transaction or has to wait for its end."""
    return {
        **_at_any_time(state),
        Verb.HELO: State.READY,
        Verb.EHLO: State.READY,
        Verb.RSET: State.READY,
        Verb.MAIL: NESTED_MAIL,
        Verb.AUTH: IN_MAIL,
        Verb.STARTTLS: IN_MAIL,
        Verb.XCLIENT: IN_MAIL,
    }


TABLE: dict[State, dict[Verb, State | Reply]] = {
    State.NEW: {
        **_at_any_time(State.NEW),
        Verb.HELO: State.READY,
        Verb.EHLO: State.READY,
        Verb.RSET: State.NEW,
        Verb.MAIL: HELLO_FIRST,
        Verb.RCPT: HELLO_FIRST,
        Verb.DATA: HELLO_FIRST,
        Verb.BDAT: HELLO_FIRST,
        Verb.AUTH: HELLO_FIRST,
        Verb.STARTTLS: HELLO_FIRST,
        Verb.XCLIENT: State.NEW,
    },
    State.READY: {
        **_at_any_time(State.READY),
        Verb.HELO: State.READY,
        Verb.EHLO: State.READY,
        Verb.RSET: State.READY,
        Verb.MAIL: State.SENDER,
        Verb.RCPT: NEED_MAIL,
        Verb.DATA: NEED_MAIL,
        Verb.BDAT: NEED_MAIL,
        Verb.AUTH: State.LOGIN,
        Verb.STARTTLS: State.HANDSHAKE,
        Verb.XCLIENT: State.NEW,
    },
    State.SENDER: {
        **_in_transaction(State.SENDER),
        Verb.RCPT: State.RECIPIENTS,
        Verb.DATA: NEED_RCPT,
        Verb.BDAT: NEED_RCPT,
    },
    State.RECIPIENTS: {
        **_in_transaction(State.RECIPIENTS),
        Verb.RCPT: State.RECIPIENTS,
        Verb.DATA: State.TEXT,
        Verb.BDAT: State.CHUNK,
    },
    State.CHUNKS: {
        **_in_transaction(State.CHUNKS),
        Verb.RCPT: NEED_LAST,
        Verb.DATA: NEED_LAST,
        Verb.BDAT: State.CHUNK,
    },
    State.SPOILED: {
        **_in_transaction(State.SPOILED),
        Verb.MAIL: NEED_RSET,
        Verb.RCPT: NEED_RSET,
        Verb.DATA: NEED_RSET,
        Verb.BDAT: NEED_RSET,
    },
    State.LOGIN: {Verb.RESPONSE: State.LOGIN},
    State.TEXT: {Verb.DOT: State.READY},
    State.CHUNK: {Verb.CHUNK: State.CHUNKS, Verb.LAST_CHUNK: State.READY},
    State.HANDSHAKE: {},
    State.CLOSED: {},
}

#: States in which commands are read.
COMMANDS = frozenset(state for state, row in TABLE.items() if Verb.NOOP in row)
#: States in which a transaction is open.
OPEN = frozenset({State.SENDER, State.RECIPIENTS, State.TEXT, State.CHUNK, State.CHUNKS, State.SPOILED})
