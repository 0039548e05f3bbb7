"""Messages that a relay may spoil, each with its Date and Message-ID, so that nothing has to be added.

Whatever a next hop gets has to be one of these, byte by byte, below its Received lines.
"""

from __future__ import annotations

import re
from typing import NamedTuple


def _text(name: str, body: bytes, *more: bytes) -> bytes:
    head = (
        b"From: =?utf-8?q?S=C3=A9nder?= <sender@src.test>",
        b"To: a list of people:;",
        b"Subject: " + name.encode() + b", which is folded\r\n\tinto a second line\r\n   and a third",
        b"Date: Sun, 22 Nov 2026 03:58:10 +0100",
        b"Message-ID: <" + name.encode() + b"@src.test>",
        b"X-Audit-Id: " + name.encode(),
        b"x-oDD:  two blanks, then a tab\t",
        *more,
    )
    return b"\r\n".join(head) + b"\r\n\r\n" + body


#: By name, which is also in `X-Audit-Id`.
TEXTS = {
    name: _text(name, body)
    for name, body in {
        "plain": b"Hello.\r\n",
        "empty": b"",
        "blank": b"\r\n\r\n\r\n",
        "dots": b".\r\n..\r\n...\r\n.a\r\na.\r\n\r\n.\r\n. \r\n..a\r\n.\r\n",
        "spaces": b"behind \r\nand \t\r\n \r\n\t\r\n before\r\n",
        "eight-bit": bytes(range(0x80, 0x100)) + b"\r\n" + "Grüße, 世界\r\n".encode(),
        "longest": (b"x" * 998 + b"\r\n") * 20 + b"." * 998 + b"\r\n" + b"y" * 997 + b"\r\n",
        "piece": (b"z" * 70 + b"\r\n") * 910,  # about one chunk of the queue
        "large": b"".join(b".%07d " % n + b"l" * 60 + b"\r\n" for n in range(30_000)),  # 2 MB
    }.items()
}

#: A Received line of ours: layout and folding are fixed.
RECEIVED = re.compile(
    rb"Received: from (?P<hello>\S+) (?P<client>\[[0-9.]+\])\r\n"
    rb" by (?P<by>\S+) \((?P<product>\w+)\) with (?P<transport>\w+)"
    rb" id (?P<id>[0-9a-f]{18})\.(?P<seq>[0-9a-f]{3,})\r\n"
    rb" for <(?P<to>[^>\r\n]+)>;\r\n"
    rb" (?P<date>\w{3}, \d\d? \w{3} \d{4} \d\d:\d\d:\d\d \+0000)\r\n"
)


class Arrived(NamedTuple):
    """A text that went through the relay: what others put above, our Received line, the rest."""

    above: bytes
    received: dict[str, str]
    text: bytes


def arrived(text: bytes) -> Arrived:
    """Takes a text apart. Raises AssertionError when it has no line of ours, or several."""
    found = list(RECEIVED.finditer(text))
    if len(found) != 1:
        raise AssertionError(f"{len(found)} Received lines of the relay in {text[:600]!r}")
    (line,) = found
    received = {name: value.decode("ascii") for name, value in line.groupdict().items()}
    return Arrived(text[: line.start()], received, text[line.end() :])


def audit_id(text: bytes) -> str:
    """The name of one of TEXTS that arrived, maybe in some other shape."""
    found = re.search(rb"^X-Audit-Id: (\S+)\r$", text, re.MULTILINE)
    return found[1].decode() if found else ""
