"""The client's side of a conversation: whatever a host says, whenever it says it."""

from __future__ import annotations

import base64

from relay.access.proving import STRENGTH, Credentials, Scram
from relay.message.envelope import Recipient
from relay.message.values import Result
from relay.smtp.client import Conversation, Event
from relay.smtp.ending import Ending
from relay.smtp.login import Mechanism
from relay.smtp.opening import MAX_COMMAND
from relay.smtp.reply_reader import BadReply, ReplyReader
from tests.fuzz.choices import bit, head, long, pieces

_SENDERS = ("", "a@example.com", "a b@example.com", "ä@example.com")
_DSN = {"ret": "FULL", "envid": "x+20y", "notify": "NEVER", "orcpt": "rfc822;b@example.net"}
_FELLOWS = (Recipient("c@example.net", "NEVER"), Recipient("ä@example.net"), Recipient("d@example.net"))
_PASSWORD = "pencil in the pocket"
_TEXT = b"Subject: x\r\n\r\n.dot\r\n"


def client(data: bytes) -> None:
    """A message counts as taken only by a 2xx that came behind its final dot, or its last chunk."""
    (options, first, second), rest = head(data, 3)
    fellows = _FELLOWS[: options >> 4 & 3]
    # What is cut into long pieces may also go in chunks.
    talk = Conversation("relay.example.com", chunking=bit(first, 7), lmtp=bool(options & 8))
    came = ended_at = transactions = 0
    begun_no = False
    in_body = False
    for piece in pieces(long(rest), first, second):
        came += len(piece)
        what = talk.receive(piece)
        if in_body and (what is Event.SETTLED or (what is None and talk.settled)):
            # All chunks are taken. Or the host talks while the text is on its way: all it has said is the beginning
            # of a no.
            in_body = False
            begun_no = what is None
            _finish(talk, options)
            ended_at, what = came, None
        while what is not None:
            _printable(talk.take())
            if isinstance(what, Ending):
                for place in range(1 + len(fellows)):
                    _sound(talk, what.of(place), came, ended_at)
                if not what.reusable:
                    return
                assert not begun_no, "used again after a reply out of turn"
            elif what is Event.BODY:
                in_body = bit(options, 7)
                if in_body:
                    _whole(talk.text(_TEXT))
                else:
                    _finish(talk, options)
                    ended_at = came
                break
            if transactions == 3:
                return
            transactions += 1
            ended_at = 0
            begun = talk.begin(
                _SENDERS[options & 3], "b@example.net", 1000 * options, bit(options, 2), fellows=fellows, **_DSN
            )
            if isinstance(begun, bytes):
                _printable(begun)
                if talk.hurries and bit(second, 7):
                    _finish(talk, options)
                    ended_at = came
                break
            what = begun
        _printable(talk.take())
        assert talk.stage in ("banner", "ehlo", "auth", "mail", "rcpt", "data", "body", "dot")
    taken = talk.taken()
    last = talk.timed_out(300) if bit(options, 3) else talk.lost("closed")
    assert last.result is not Result.DELIVERED
    assert not last.doubtful or ended_at
    assert not taken or (ended_at and all(last.of(place) is one for place, one in taken.items()))


def _finish(talk: Conversation, options: int) -> None:
    at = options >> 4 & 7
    sent = talk.end(_TEXT[at:])
    assert talk.in_dot
    _whole(sent)


def _whole(sent: bytes) -> None:
    """A chunk with all its octets, or lines of a text, of which one at most is the dot, the last."""
    if sent.startswith(b"BDAT "):
        command, _, text = sent.partition(b"\r\n")
        assert int(command.split()[1]) == len(text)
    elif b"\r\n.\r\n" in sent:
        assert sent.endswith(b"\r\n.\r\n") and sent.count(b"\r\n.\r\n") == 1


def _sound(talk: Conversation, ending: Ending, came: int, ended_at: int) -> None:
    if ending.result is Result.DELIVERED:
        assert ended_at and came > ended_at, "taken before the dot"
        assert 200 <= ending.code < 300 and ending.stage == "dot"
    if ending.result is Result.BOUNCED:
        assert 500 <= ending.code < 600 or ending.category == "message"
    if ending.doubtful:
        assert ended_at and talk.in_dot and not ending.reusable
    assert not (ending.stale and ending.result is not Result.DEFERRED)


def _printable(commands: bytes) -> None:
    """Whole lines, each of them one command."""
    if commands:
        assert commands.endswith(b"\r\n")
        for line in commands[:-2].split(b"\r\n"):
            assert len(line) <= MAX_COMMAND and line.decode().isprintable(), line


def client_login(data: bytes) -> None:
    """Nobody is logged in without a success, nor with one from a host that has proven nothing; no secret is told."""
    (number, first, second), rest = head(data, 3)
    name = STRENGTH[number % len(STRENGTH)]
    mechanism: Mechanism
    if name.startswith("SCRAM"):
        mechanism = Scram("user", _PASSWORD, name, "client")
    else:
        mechanism = Credentials("user", _PASSWORD, (name,)).choose((name,), True)
    talk = Conversation("relay.example.com", secure=True, choose=lambda offered, secure: mechanism)
    talk.receive(b"220 hi\r\n")
    talk.receive(b"250 mx\r\n")
    talk.take()
    assert talk.receive(b"") is None
    for piece in pieces(rest, first, second):
        what = talk.receive(piece)
        _printable(talk.take())
        if isinstance(what, Ending):
            assert what.result is Result.DEFERRED and not what.reusable and not what.doubtful
            assert _PASSWORD not in what.text and base64.b64encode(_PASSWORD.encode()).decode() not in what.text
            return
        if what is not None:
            assert what is Event.READY and b"2" in rest
            if name.startswith("SCRAM"):
                mechanism.finish()
            return


def reply_reader(data: bytes) -> None:
    """Any split gives the same replies, and then the same complaint."""
    (first, second), rest = head(data, 2)
    text = long(rest)
    whole = _replies([text])
    assert _replies(list(pieces(text, first, second))) == whole


def _replies(given: list[bytes]) -> list[object]:
    reader = ReplyReader()
    found: list[object] = []
    try:
        for piece in given:
            reader.feed(piece)
            while (reply := reader.next()) is not None:
                assert 200 <= reply.code < 600 and reply.lines
                found.append(reply)
    except BadReply as error:
        found.append(str(error))
    else:
        found.append(reader.pending)
    return found
