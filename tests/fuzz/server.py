"""The server's side of a conversation: any bytes, in any split, with any answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import zip_longest

from relay.config.schema import Listener
from relay.smtp import body, words
from relay.smtp.events import (
    AuthBegun,
    AuthContinued,
    Closing,
    DataBegun,
    DataEnded,
    Event,
    MailGiven,
    RcptGiven,
    Text,
    TlsWanted,
    XclientGiven,
)
from relay.smtp.reply import Reply, reply
from relay.smtp.server import Server
from relay.smtp.states import State
from tests.fuzz.choices import bit, bound, head, long, pieces

_MECHANISMS = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL")
_YES: dict[type, Reply] = {
    MailGiven: words.ACCEPTED,
    RcptGiven: words.RECIPIENT_ACCEPTED,
    DataBegun: words.GO_AHEAD,
    DataEnded: reply(250, "2.0.0 Message queued as x"),
    AuthBegun: words.AUTHENTICATED,
    AuthContinued: words.AUTHENTICATED,
    XclientGiven: words.greeting("relay.example.com"),
}
_NO = (
    reply(451, "4.3.0 later"),
    reply(550, "5.7.1 no \u00e9 \r\n250 forged", "5.7.1 " + 600 * "x"),
    reply(535, "5.7.8 no"),
    reply(421, "4.3.2 gone"),
)
_line = re.compile(rb"[2-5][0-9][0-9][ -][ -~]*").fullmatch
#: Behind these it matters what stood in one packet with what (docs/smtp.md).
_packets = re.compile(rb"421 (?:4\.7\.0 )?Error: (?:text sent before 354|commands sent behind STARTTLS)").search


@lru_cache(1024)
def listener(options: int, more: int) -> Listener:
    small = bit(options, 5)
    return Listener(
        auth=bit(options, 0),
        insecure_auth=bit(more, 0),
        require_tls=bit(more, 1),
        bare_newlines="normalize" if bit(options, 3) else "reject",
        null_sender=("accept", "one-recipient", "reject", "accept")[more >> 2 & 3],
        without=(("ENHANCEDSTATUSCODES", "8BITMIME") if bit(more, 4) else ())
        + (("CHUNKING", "DSN", "SIZE") if bit(more, 5) else ()),
        max_size=(0 if bit(more, 6) else 100) if small else 30_000_000,
        max_recipients=2 if small else 1000,
        max_messages=2 if small else 10000,
        max_commands=20 if small else 1000,
        max_errors=3 if small else 20,
        max_bad_recipients=2 if small else 50,
    )


@bound(body, "MAX_LINE", 3000)
def server(data: bytes) -> None:
    """What any split says is the same, and what is said and taken is well-formed."""
    (options, more, plan, first, second), rest = head(data, 5)
    text = long(rest, 16384)
    one, said = _converse(options, more, plan, [text])
    two, also = _converse(options, more, plan, pieces(text, first, second))
    _sound(said)
    _texts(one)
    length = min(_comparable(said), _comparable(also))
    if length is _ALL:
        assert said == also, (said, also)
        one, two = _taken(one), _taken(two)
        assert one == two, (one, two)
    else:
        assert said[:length] == also[:length], (said, also)


_ALL = 1 << 60


def _comparable(said: bytes) -> int:
    found = _packets(said)
    return found.start() if found else _ALL


def _converse(options: int, more: int, plan: int, given: Iterable[bytes]) -> tuple[list[Event], bytes]:
    """Events, those of a text as one, and all that was said."""
    made = Server(
        "relay.example.com",
        "192.0.2.1",
        listener(options, more & 0x7F),
        starttls=bit(options, 1),
        mechanisms=_MECHANISMS if bit(options, 0) else (),
        xclient=bit(options, 2),
        now=lambda: 1_700_000_000_000,
    )
    if bit(options, 4):
        made.secured(_MECHANISMS)
    made.greeting()
    events: list[Event] = []
    said = made.output()
    asked = 0
    for piece in given:
        made.receive(piece)
        while True:
            event = made.next_event()
            if event is None:
                output = made.output()
                if not output:
                    break
                said += output
                continue
            assert not (events and isinstance(events[-1], Closing)), "an event behind the last"
            if isinstance(event, Text) and events and isinstance(events[-1], Text):
                events[-1] = Text(events[-1].data + event.data)
            else:
                events.append(event)
            if isinstance(event, TlsWanted):
                said += made.output()
                made.secured(_MECHANISMS)
            elif made.waiting:
                _answer(made, event, plan >> asked % 8 & 1, asked)
                asked += 1
        assert made.held >= 0
    assert (made.state is State.CLOSED) == bool(events and isinstance(events[-1], Closing))
    return events, said


def _answer(made: Server, event: Event, no: int, asked: int) -> None:
    if isinstance(event, DataEnded) and event.problem is not None:
        made.answer(event.problem)
    elif isinstance(event, AuthBegun | AuthContinued) and asked % 3 and not no:
        made.challenge(b"r=%d,s=c2FsdA==,i=4096" % asked)
    else:
        made.answer(_NO[asked % len(_NO)] if no else _YES[type(event)])


def _taken(events: list[Event]) -> list[Event]:
    """Without texts that were not taken: of these any part may have come out."""
    return [
        event
        for event, next in zip_longest(events, events[1:])
        if not isinstance(event, Text) or (isinstance(next, DataEnded) and next.problem is None)
    ]


def _sound(said: bytes) -> None:
    """Replies are whole lines, printable and no longer than RFC 5321 4.5.3.1.5 has it."""
    assert said.endswith(b"\r\n")
    for line in said[:-2].split(b"\r\n"):
        assert len(line) <= 510 and (_line(line) or line.startswith(b"334 ")), line


def _texts(events: list[Event]) -> None:
    """What was taken has nothing in it that somewhere else might end a line or a message."""
    text = b""
    for event in events:
        if isinstance(event, DataBegun):
            text = b""
            assert event.recipients
        elif isinstance(event, Text):
            text += event.data
        elif isinstance(event, DataEnded) and event.problem is None:
            assert b"\0" not in text
            assert text.count(b"\r\n") == text.count(b"\r") == text.count(b"\n"), text
