r"""Runs every script of tests/dialogs against a real listener, as written and byte by byte.

    C: text     the client sends a line; CRLF is added
    C| text     the client sends exactly this, no CRLF
    S: text     the server replies with this line; "..." at its end stands for anything
    S! closed   the server closes the connection
    Q: a -> b   in the end this message was taken, from a to b (all of them, in order)
    T: text     and this was its text
    @ key = value   a key of the listener; or `client = <address>`
    @ as written    not byte by byte: it is about what stands in one packet
    # why, RFC section, row of the list of faults

\r \n \t \0 \\ and \xNN stand for bytes in C, C| and T; {x*70} for 70 times x. C lines that
follow each other go into one packet.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase

from relay.config.schema import Listener
from relay.listener.listener import ListenerFactory
from tests.unit.fake_intake import FakeIntake

DIALOGS = Path(__file__).parent.parent / "dialogs"


class Turn(NamedTuple):
    """What the client sends in one packet, and what comes back."""

    line: int
    sent: bytes
    replies: list[str]
    closed: bool


class Script(NamedTuple):
    turns: list[Turn]
    messages: list[tuple[str, bytes | None]]
    options: dict[str, Any]
    client: str
    as_written: bool


def unescape(text: str) -> bytes:
    text = re.sub(r"\{(.+?)\*(\d+)\}", lambda found: found[1] * int(found[2]), text)
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1")


def read(path: Path) -> Script:
    turns = [Turn(0, b"", [], False)]
    messages: list[tuple[str, bytes | None]] = []
    options: dict[str, Any] = {}
    client, as_written = "127.0.0.1", False
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        kind, text = line[:2], line[3:]
        if not line.strip() or line.startswith("#"):
            continue
        if kind in ("C:", "C|"):
            sent = unescape(text) + (b"\r\n" if kind == "C:" else b"")
            last = turns[-1]
            if last.sent and not last.replies and not last.closed:
                turns[-1] = last._replace(sent=last.sent + sent)
            else:
                turns.append(Turn(number, sent, [], False))
        elif kind == "S:":
            turns[-1].replies.append(text)
        elif line == "S! closed":
            turns[-1] = turns[-1]._replace(closed=True)
        elif kind == "Q:":
            messages.append((text, None))
        elif kind == "T:":
            messages[-1] = (messages[-1][0], unescape(text))
        elif line == "@ as written":
            as_written = True
        elif line.startswith("@ client = "):
            client = line[11:]
        elif line.startswith("@ "):
            key, _, value = line[2:].partition(" = ")
            options[key] = int(value) if value.isdigit() else value
        else:
            raise ValueError(f"{path.name}:{number}: {line}")
    return Script(turns, messages, options, client, as_written)


def matches(pattern: str, line: str) -> bool:
    return line.startswith(pattern[:-3]) if pattern.endswith("...") else line == pattern


class DialogTests(TestCase):
    def play(self, script: Script, byte_by_byte: bool) -> None:
        intake = FakeIntake()
        config = msgspec.convert(script.options, Listener)
        factory = ListenerFactory(config, "feeder", "relay.example.com", intake.door(), Clock())
        protocol = factory.buildProtocol(None)
        transport = StringTransport(peerAddress=IPv4Address("TCP", script.client, 40000))
        protocol.makeConnection(transport)
        for turn in script.turns:
            pieces = [turn.sent[i : i + 1] for i in range(len(turn.sent))] if byte_by_byte else [turn.sent]
            for piece in pieces:
                if piece and not transport.disconnecting:
                    protocol.dataReceived(piece)
            replies = transport.value().decode("ascii").split("\r\n")[:-1]
            transport.clear()
            fits = len(replies) == len(turn.replies) and all(map(matches, turn.replies, replies))
            self.assertTrue(fits, f"line {turn.line}: expected {turn.replies}, got {replies}")
            self.assertEqual(transport.disconnecting, turn.closed, f"line {turn.line}: closed")
        taken = [
            f"{message.sender or '<>'} -> {' '.join(message.recipients or ())}" for message in intake.taken
        ]
        self.assertEqual(taken, [envelope for envelope, _ in script.messages])
        for message, (_, text) in zip(intake.taken, script.messages, strict=True):
            if text is not None:
                self.assertEqual(message.text, text)

    def test_a_wrong_script_fails(self) -> None:
        script = read(DIALOGS / "end-in-pieces.txt")
        last = script.turns[-1]
        for wrong in [
            script._replace(turns=[*script.turns[:-1], last._replace(replies=["250 2.0.0 other"])]),
            script._replace(turns=[*script.turns[:-1], last._replace(closed=True)]),
            script._replace(messages=[]),
            script._replace(messages=[(script.messages[0][0], b"other")]),
        ]:
            self.assertRaises(self.failureException, self.play, wrong, False)


def _test(path: Path, byte_by_byte: bool) -> Callable[[DialogTests], None]:
    def test(self: DialogTests) -> None:
        self.play(read(path), byte_by_byte)

    test.__doc__ = str(path)
    return test


for _path in sorted(DIALOGS.glob("*.txt")):
    _name = _path.stem.replace("-", "_")
    setattr(DialogTests, f"test_{_name}_as_written", _test(_path, False))
    if not read(_path).as_written:
        setattr(DialogTests, f"test_{_name}_byte_by_byte", _test(_path, True))
