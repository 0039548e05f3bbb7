"""The text of a message on its way in and out, against the rules in their plainest form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Literal

from relay.dkim import canon
from relay.dkim.canon import RelaxedBody
from relay.message.headers import HeaderBlock, HeaderCollector, HeaderTooLong, completed
from relay.message.lines import CrlfLines
from relay.smtp import body as bodies
from relay.smtp.body import Body
from relay.smtp.chunks import Chunks
from relay.smtp.stuffing import Stuffing
from tests.fuzz.choices import bit, bound, crlf, head, long, pieces

_NAMES = ("Bcc", "X-Sending-Zone", "Message-ID", "Date", "From", "Subject", "Received")
#: The longest line of a message here (bytes).
_LINE = 80
_stray = re.compile(rb"\r(?!\n)|(?<!\r)\n").search


def _newlines(options: int) -> Literal["reject", "normalize"]:
    return "normalize" if bit(options, 0) else "reject"


@bound(bodies, "MAX_LINE", _LINE)
def body(data: bytes) -> None:
    """DATA: only CRLF.CRLF ends the text, in any split, and dots come off where they were put on."""
    (options, first, second), rest = head(data, 3)
    wire, most = rest, 300 if bit(options, 1) else 0
    whole = _decoded(Body(most, _newlines(options)), [wire])
    split = _decoded(Body(most, _newlines(options)), pieces(wire, first, second))
    assert whole == split, (whole, split)
    lines, end, behind = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    assert whole[0] == bool(end)
    if end:
        assert whole[1] == behind
        text = (lines + b"\r\n").replace(b"\r\n.", b"\r\n")[2:]
        _judged(text, options, most, whole[2], whole[3])


def _judged(text: bytes, options: int, most: int, problem: object, decoded: bytes) -> None:
    """`decoded` is `text`, or there is a `problem` with it."""
    if bit(options, 0):
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    wrong = (
        b"\0" in text
        or _stray(text) is not None
        or 0 < most < len(text)
        or max(map(len, text.split(b"\r\n"))) > _LINE
    )
    assert (problem is not None) == wrong, problem
    assert wrong or decoded == text, (decoded, text)


def _decoded(decoder: Body, given: Iterable[bytes]) -> tuple[bool, bytes, object, bytes]:
    """Whether it has ended, what came behind, what is wrong, and the text if nothing is."""
    text = rest = b""
    for piece in given:
        if decoder.over:
            rest += piece
        else:
            text += decoder.feed(piece)
    problem = decoder.problem if decoder.over else None
    return decoder.over, decoder.rest + rest, problem, b"" if problem or not decoder.over else text


@bound(bodies, "MAX_LINE", _LINE)
def stuffing(data: bytes) -> None:
    """What was stuffed in any split is decoded to what it was."""
    (first, second, third), rest = head(data, 3)
    text = crlf(rest)
    encoder = Stuffing()
    wire = b"".join(map(encoder.piece, pieces(text, first, second))) + encoder.end(b"")
    assert wire.count(b"\r\n.\r\n") + wire.startswith(b".\r\n") == 1 and wire.endswith(b".\r\n")
    over, behind, problem, decoded = _decoded(Body(), pieces(wire, third, first))
    assert over and not behind
    if problem is None:
        assert decoded == (text if not text or text.endswith(b"\r\n") else text + b"\r\n")
    else:
        assert max(map(len, text.split(b"\r\n"))) > _LINE


@bound(bodies, "MAX_LINE", _LINE)
def chunks(data: bytes) -> None:
    """BDAT: the same text and verdict, whatever its chunks and their splits."""
    (options, size, first, second), rest = head(data, 4)
    text, most = rest, 300 if bit(options, 1) else 0
    cut = list(pieces(text, size, second)) or [b""]
    if bit(options, 2):
        cut.append(b"")
    decoder = Chunks(most, _newlines(options))
    decoded = b""
    for number, chunk in enumerate(cut, 1):
        decoder.begin(len(chunk), number == len(cut))
        decoded += b"".join(map(decoder.feed, pieces(chunk, first, second)))
        assert decoder.left == 0
    decoded += decoder.end()
    _judged(text, options, most, decoder.problem, decoded)


def headers(data: bytes) -> None:
    """The header ends where it ends in any split; what is made of it has what it needs."""
    (options, first, second), rest = head(data, 3)
    text, limit = crlf(long(rest)), 100 if bit(options, 0) else 1 << 20
    whole = _collected([text], limit)
    split = _collected(list(pieces(text, first, second)), limit)
    assert whole == split, (whole, split)
    if whole is None:
        return
    raw, body = whole
    assert raw + b"\r\n" + body in (text, text + b"\r\n", text + b"\r\n\r\n", b"\r\n" + text)
    block = HeaderBlock(raw)
    for name in _NAMES:
        values = block.all(name)
        assert block.get(name) == (values[0] if values else None)
        assert not any("\r" in value or "\n" in value for value in values)
        assert block.without(name).all(name) == []
    assert len(block.fields()) == len(re.findall(rb"\r\n(?![ \t])", raw))
    done, message_id = completed(block, "example.com", 1_700_000_000_000)
    assert done.all("Bcc") == done.all("X-Sending-Zone") == []
    assert done.get("Date") and (done.get("Message-ID") or "")[:998] == message_id
    assert done.raw.endswith(b"\r\n")
    again, same = completed(done, "example.com", 0)
    assert again.raw == done.raw and same == message_id


def _collected(given: list[bytes], limit: int) -> tuple[bytes, bytes] | None:
    """Header and body; None: it is too long."""
    collector = HeaderCollector(limit)
    try:
        for number, piece in enumerate(given, 1):
            found = collector.feed(piece)
            if found is not None:
                return found[0].raw, found[1] + b"".join(given[number:])
        block, body = collector.end()
    except HeaderTooLong:
        return None
    return block.raw, body


def lines(data: bytes) -> None:
    """Bare line ends become CRLF in any split."""
    (first, second), rest = head(data, 2)
    text = long(rest)
    reader = CrlfLines()
    made = b"".join(map(reader.feed, pieces(text, first, second))) + reader.end()
    assert made == text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


@bound(canon, "_MAX_HELD", 40)
def dkim_body(data: bytes) -> None:
    """The body hash in any split is that of the relaxed body (RFC 6376 3.4.4)."""
    (first, second), rest = head(data, 2)
    text = crlf(rest)
    reader = RelaxedBody()
    for piece in pieces(text, first, second):
        reader.update(piece)
    plain = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in text.split(b"\r\n")]
    while plain and not plain[-1]:
        plain.pop()
    assert reader.digest() == hashlib.sha256(b"".join(line + b"\r\n" for line in plain)).digest()
