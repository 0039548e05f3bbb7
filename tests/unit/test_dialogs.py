r"""Runs every script of tests/dialogs against a real listener, as written and byte by byte.

    C: text     the client sends a line; CRLF is added
    C| text     the client sends exactly this, no CRLF
    S: text     the server replies with this line; "..." at its end stands for anything
    S* 250      any further lines of a reply with this code
    S! closed   the server closes the connection
    S! tls      the server begins TLS; what follows is said within
    W: 2.5      so many seconds pass
    Q: a -> b   in the end this message was taken, from a to b (all of them, in order)
    T: text     and this was its text
    E: key=value    and this stood in its envelope (of one recipient: key@address) or its origin
    @ key = value   a key of the listener; or `client = <address>`, `certificate = <names>`
    @ user name password senders...     somebody who can log in
    @ as written    not byte by byte: it is about what stands in one packet
    # why, RFC section, row of the list of faults

\r \n \t \0 \\ and \xNN stand for bytes in C, C| and T; {x*70} for 70 times x. C lines that
follow each other go into one packet. It is 2027-01-15 08:00 UTC.
"""

from __future__ import annotations

import json
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
from relay.listener.listener import SWEEP, ListenerFactory
from relay.message.user import User
from relay.net import tls
from tests.unit.fake_intake import FakeIntake, FakeSubmission

NOW = 1_800_000_000_000
CIPHER = "TLSv1.3 TLS_AES_256_GCM_SHA384"
DIALOGS = Path(__file__).parent.parent / "dialogs"


class Turn(NamedTuple):
    """What the client sends in one packet after a while, and what comes back."""

    line: int
    sent: bytes
    replies: list[str]
    closed: bool = False
    tls: bool = False
    wait: float = 0.0


class Taken(NamedTuple):
    """A message that was taken."""

    envelope: str
    text: bytes | None = None
    known: tuple[str, ...] = ()


class Script(NamedTuple):
    turns: list[Turn]
    messages: list[Taken]
    options: dict[str, Any]
    users: dict[str, tuple[str, User]]
    client: str
    certificate: tuple[str, ...]
    as_written: bool


def unescape(text: str) -> bytes:
    text = re.sub(r"\{(.+?)\*(\d+)\}", lambda found: found[1] * int(found[2]), text)
    return text.encode("utf-8").decode("unicode_escape").encode("latin-1")


def value_of(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read(path: Path) -> Script:
    turns = [Turn(0, b"", [])]
    messages: list[Taken] = []
    options: dict[str, Any] = {}
    users: dict[str, tuple[str, User]] = {}
    client, as_written = "127.0.0.1", False
    certificate: tuple[str, ...] = ()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        kind, text = line[:2], line[3:]
        if not line.strip() or line.startswith("#"):
            continue
        if kind in ("C:", "C|"):
            sent = unescape(text) + (b"\r\n" if kind == "C:" else b"")
            last = turns[-1]
            if last.sent and not (last.replies or last.closed or last.tls):
                turns[-1] = last._replace(sent=last.sent + sent)
            else:
                turns.append(Turn(number, sent, []))
        elif kind == "W:":
            turns.append(Turn(number, b"", [], wait=float(text)))
        elif kind == "S:":
            turns[-1].replies.append(text)
        elif kind == "S*":
            turns[-1].replies.append(f"*{text}")
        elif line == "S! closed":
            turns[-1] = turns[-1]._replace(closed=True)
        elif line == "S! tls":
            turns[-1] = turns[-1]._replace(tls=True)
        elif kind == "Q:":
            messages.append(Taken(text))
        elif kind == "T:":
            messages[-1] = messages[-1]._replace(text=unescape(text))
        elif kind == "E:":
            messages[-1] = messages[-1]._replace(known=(*messages[-1].known, text))
        elif line == "@ as written":
            as_written = True
        elif line.startswith("@ client = "):
            client = line[11:]
        elif line.startswith("@ certificate = "):
            certificate = tuple(line[16:].split())
        elif line.startswith("@ user "):
            name, password, *senders = line[7:].split()
            users[name] = (password, User(name, tuple(senders)))
        elif line.startswith("@ "):
            key, _, value = line[2:].partition(" = ")
            options[key] = value_of(value)
        else:
            raise ValueError(f"{path.name}:{number}: {line}")
    return Script(turns, messages, options, users, client, certificate, as_written)


def matches(pattern: str, line: str) -> bool:
    return line.startswith(pattern[:-3]) if pattern.endswith("...") else line == pattern


def fit(patterns: list[str], lines: list[str]) -> bool:
    """Whether these are the lines that were expected."""
    at = 0
    for pattern in patterns:
        if pattern.startswith("*"):
            while at < len(lines) and lines[at].startswith(pattern[1:]):
                at += 1
        elif at < len(lines) and matches(pattern, lines[at]):
            at += 1
        else:
            return False
    return at == len(lines)


def known_of(message: FakeSubmission) -> dict[str, str]:
    """What can be asked for by E."""
    envelope, origin = message.envelope, message.origin
    assert envelope is not None and envelope.recipients is not None
    known: dict[str, object] = {name: getattr(origin, name) for name in origin.__struct_fields__}
    known |= {name: getattr(envelope, name) for name in ("smtputf8", "require_tls", "ret", "envid", "due")}
    for recipient in envelope.recipients:
        known[f"notify@{recipient.address}"] = recipient.notify
        known[f"orcpt@{recipient.address}"] = recipient.orcpt
    return {name: str(value) for name, value in known.items()}


class Transport(StringTransport):
    """Notes that TLS was begun."""

    secure = False

    def startTLS(self, options: object) -> None:
        assert isinstance(options, Options)
        self.secure = True


class Options:
    """Stands for a server's TLS."""

    @property
    def options(self) -> Options:
        return self


class DialogTests(TestCase):
    def play(self, script: Script, byte_by_byte: bool) -> None:
        intake, clock = FakeIntake(), Clock()
        door = intake.door()
        door.users = script.users
        self.patch(tls, "description", lambda transport: CIPHER if transport.secure else "")
        self.patch(tls, "certificate_names", lambda transport: script.certificate if transport.secure else ())
        config = msgspec.convert(script.options, Listener)
        factory = ListenerFactory(
            config,
            "feeder",
            "relay.example.com",
            door,
            clock,
            tls=None if config.tls == "off" else Options(),  # type: ignore[arg-type]
            now=lambda: NOW,
        )
        protocol = factory.buildProtocol(None)
        transport = Transport(peerAddress=IPv4Address("TCP", script.client, 40000))
        transport.secure = config.tls == "implicit"
        protocol.makeConnection(transport)
        for turn in script.turns:
            clock.pump([SWEEP / 10] * round(turn.wait / SWEEP * 10))
            was_secure = transport.secure
            pieces = [turn.sent[i : i + 1] for i in range(len(turn.sent))] if byte_by_byte else [turn.sent]
            for piece in pieces:
                if piece and not transport.disconnecting:
                    protocol.dataReceived(piece)
            replies = transport.value().decode("ascii").split("\r\n")[:-1]
            transport.clear()
            self.assertTrue(
                fit(turn.replies, replies), f"line {turn.line}: expected {turn.replies}, got {replies}"
            )
            self.assertEqual(transport.disconnecting, turn.closed, f"line {turn.line}: closed")
            self.assertEqual(transport.secure and not was_secure, turn.tls, f"line {turn.line}: TLS")
            if turn.tls:
                protocol.handshakeCompleted()  # type: ignore[attr-defined]
        taken = [
            f"{message.sender or '<>'} -> {' '.join(message.recipients or ())}" for message in intake.taken
        ]
        self.assertEqual(taken, [message.envelope for message in script.messages])
        for message, expected in zip(intake.taken, script.messages, strict=True):
            if expected.text is not None:
                self.assertEqual(message.text, expected.text)
            known = known_of(message)
            for entry in expected.known:
                key, _, value = entry.partition("=")
                self.assertEqual(known[key], value, entry)

    def test_a_wrong_script_fails(self) -> None:
        script = read(DIALOGS / "end-in-pieces.txt")
        last = script.turns[-1]
        for wrong in [
            script._replace(turns=[*script.turns[:-1], last._replace(replies=["250 2.0.0 other"])]),
            script._replace(turns=[*script.turns[:-1], last._replace(closed=True)]),
            script._replace(messages=[]),
            script._replace(messages=[script.messages[0]._replace(text=b"other")]),
            script._replace(messages=[script.messages[0]._replace(known=("ret=FULL",))]),
            script._replace(turns=[*script.turns[:-1], last._replace(tls=True)]),
            script._replace(turns=[*script.turns[:-1], last._replace(replies=[*last.replies, "*250", "250 2"])]),
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
