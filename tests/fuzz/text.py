"""The text of a message on its way in and out, against the rules in their plainest form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Literal

from relay.dkim import canon
from relay.dkim.canon import RelaxedBody
from relay.message import longlines
from relay.message.envelope import Recipient
from relay.message.fitting import PRIVATE, Fitted, fitted
from relay.message.headers import HeaderBlock, HeaderCollector, HeaderTooLong
from relay.message.lines import CrlfLines
from relay.message.longlines import LineBreaker, LineTooLong, folded
from relay.message.trail import Trail, hops
from relay.smtp import body as bodies
from relay.smtp.body import Body
from relay.smtp.chunks import Chunks
from relay.smtp.stuffing import Stuffing
from tests.fuzz.choices import bit, bound, crlf, head, long, pieces

_NAMES = ("Bcc", "X-Sending-Zone", "Message-ID", "Date", "From", "Subject", "Received")
_RECIPIENTS = (Recipient("c@d.example"), Recipient("e@d.example"))
_TRAIL = Trail(["relay.example.com"], "ef01")
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
    unsure = False
    if bit(options, 0):
        # What follows a bare line end in the header might be taken for a field of it.
        unsure = _stray((b"\r\n" + text).partition(b"\r\n\r\n")[0]) is not None
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    wrong = (
        b"\0" in text
        or unsure
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
    assert hops(block) == len(block.all("Received"))
    assert not _TRAIL.loops(block, ["c@d.example"]) or hops(block) > 1
    try:
        done = _fitted(block, 1_700_000_000_000)
    except LineTooLong:
        return
    header = HeaderBlock(done.header)
    assert all(header.all(name) == [] for name in PRIVATE)
    assert all(header.get(name) for name in ("Date", "Message-ID", "From", "To"))
    assert done.header.endswith(b"\r\n") and max(map(len, done.header.split(b"\r\n"))) <= 998
    assert (header.get("Message-ID") or "")[:998] == done.message_id
    assert _fitted(header, 0).header == done.header


def _fitted(block: HeaderBlock, now: int) -> Fitted:
    return fitted(
        block,
        sender="a@b.example",
        recipients=_RECIPIENTS,
        hostname="relay.example.com",
        client="",
        add=("message-id", "date", "from", "to", "mime-version"),
        now=now,
    )


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
    """Bare line ends become CRLF in any split, but for a bare CR in the header."""
    (first, second), rest = head(data, 2)
    text = long(rest)
    reader = CrlfLines()
    made = b"".join(map(reader.feed, pieces(text, first, second))) + reader.end()
    rest, last = (text[:-1], b"\r\n") if text.endswith(b"\r") else (text, b"")
    empty = re.match(rb"\r?\n", rest) or re.search(rb"\n\r?\n", rest)
    end = empty.end() if empty else len(rest)
    header = rest[:end].replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
    assert made == header + rest[end:].replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n") + last


@bound(longlines, "LIMIT", 20)
@bound(longlines, "_SURE", 17)
@bound(longlines, "_WITH_END", 22)
def long_lines(data: bytes) -> None:
    """Lines of a body are broken at the same places in any split, and nothing is lost."""
    (first, second), rest = head(data, 2)
    text = crlf(rest)
    made = [_broken([text]), _broken(pieces(text, first, second))]
    assert made[0] == made[1], made
    assert max(map(len, made[0].split(b"\r\n"))) <= 20
    assert made[0].replace(b"\r\n ", b"") == text.replace(b"\r\n ", b"")
    if _is_utf8(text):
        assert _is_utf8(made[0]), "a character was broken"
    if text.endswith(b"\r\n"):
        try:
            header = folded(text)
        except LineTooLong:
            return
        assert max(map(len, header.split(b"\r\n"))) <= 20
        assert header.endswith(b"\r\n") or not text.strip(), "nothing is left of a long line of blanks alone"
        assert header.split() == text.split() and folded(header) == header
        assert b"\n\r\n" in b"\n" + text or b"\n\r\n" not in b"\n" + header, "a line became the end of the header"


def _is_utf8(text: bytes) -> bool:
    try:
        return bool(text.decode()) or not text
    except UnicodeDecodeError:
        return False


def _broken(given: Iterable[bytes]) -> bytes:
    breaker = LineBreaker()
    return b"".join(map(breaker.feed, given)) + breaker.end()


@bound(canon, "_MAX_HELD", 8)
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
