"""What is read before anybody is known: PROXY headers, logins, and what name servers say."""

from __future__ import annotations

import base64
import hashlib
import hmac
from functools import lru_cache

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from relay.access.mechanisms import Claim, External, Failed, Login, Password, Plain, Proven, Wanted
from relay.access.scram import Keys, Scram, derive, read_keys
from relay.config.schema import Dns
from relay.net.dns import DnsError, Resolver
from relay.net.dns_exchange import Server, Unanswered
from relay.net.dns_message import Kind, Question
from relay.net.proxy_protocol import ProxyError, ProxyHeader, encode_1, encode_2
from tests.fuzz.choices import bit, head, pieces

_SALT = b"salt"


def proxy(data: bytes) -> None:
    """A header in any split is the same, and what it states can be stated again."""
    (first, second), rest = head(data, 2)
    whole = _header([rest])
    assert whole == _header(list(pieces(rest, first, second)))
    if isinstance(whole, tuple) and whole[0] is not None:
        for encode in (encode_1, encode_2):
            assert _header([encode(whole[0]) + b"rest"]) == (whole[0], b"rest")


def _header(given: list[bytes]) -> object:
    """(client, rest), None when it isn't complete, or "error"."""
    header = ProxyHeader()
    try:
        for number, piece in enumerate(given, 1):
            if header.feed(piece):
                return header.client, header.rest + b"".join(given[number:])
    except ProxyError as error:
        # Which of its faults is named may be a matter of what has come of it.
        assert str(error).isprintable()
        return "error"
    return None


def login(data: bytes) -> None:
    """Each mechanism, step by step: a challenge, a question, or Failed."""
    (kind,), rest = head(data, 1)
    mechanism = (Plain, Login, External, lambda: Scram("nonce"))[kind % 4]()
    said = 0
    responses: list[bytes | None] = [*rest.split(b"\xff")]
    if bit(kind, 2):
        responses.insert(0, None)
    try:
        for response in responses:
            step = mechanism.step(response)
            assert not isinstance(step, Proven), "proven by nothing"
            if isinstance(step, Wanted):
                assert step.name and "\0" not in step.name
                step = mechanism.take(Keys(_SALT, 1, bytes(32), bytes(32)))  # type: ignore[union-attr]
            if isinstance(step, Password):
                assert 0 < len(step.name) <= 1024 and 0 < len(step.password) <= 1024 and "\0" not in step.name
                return
            if isinstance(step, Claim):
                assert "\0" not in step.name
                return
            assert isinstance(step, bytes)
            said += 1
    except Failed:
        pass


def scram(data: bytes) -> None:
    """Who knows the password gets in under any name and nonce that may be said, and nobody else does."""
    (options,), rest = head(data, 1)
    name, _, nonce = rest.partition(b"\xff")
    if b"," in name:
        return
    bare = b"n=" + name + b",r=" + nonce
    server = Scram("server")
    try:
        wanted = server.step(b"n,," + bare)
    except Failed:
        return
    assert isinstance(wanted, Wanted)
    challenge = server.take(_keys())
    without = b"c=biws,r=" + nonce.partition(b",")[0] + b"server"
    said = b",".join((bare, challenge, without))
    client = hmac.digest(_salted(), b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(client).digest(), said, "sha256")
    proof = bytes(a ^ b for a, b in zip(client, signature, strict=True))
    if options:
        proof = proof[:-1] + bytes([proof[-1] ^ options])
    final = without + b",p=" + base64.b64encode(proof)
    try:
        verdict = server.step(final)
    except Failed:
        assert options or len(final) > 2048
        return
    assert not options and isinstance(verdict, bytes) and verdict.startswith(b"v=")
    assert server.step(b"") == Proven(wanted.name)


@lru_cache(1)
def _keys() -> Keys:
    return derive("password", _SALT, 1)


@lru_cache(1)
def _salted() -> bytes:
    return hashlib.pbkdf2_hmac("sha256", b"password", _SALT, 1)


def scram_keys(data: bytes) -> None:
    """Keys as a users' file has them."""
    try:
        keys = read_keys("SCRAM-SHA-256$" + data.decode("utf-8", "replace"))
    except ValueError:
        return
    assert read_keys(str(keys)) == keys


class _Told(Resolver):
    """Asks nobody: what would come is given."""

    def __init__(self, wires: list[bytes], raw: bool) -> None:
        super().__init__(Clock(), Dns(nameservers=("192.0.2.53",)))  # type: ignore[arg-type]
        self.wires = wires
        self.raw = raw

    async def _exchange(self, server: Server, question: Question) -> None:
        if not self.wires:
            raise Unanswered("silence")
        wire = self.wires.pop(0)
        if not self.raw:
            # Its flags and counts, and our question with whatever else is behind it; without our OPT record.
            fixed = wire[:8].ljust(8, b"\0")
            asked = question.wire[12:-11]
            wire = bytes([fixed[0] & 7 | 0x80, fixed[1]]) + b"\0\1" + fixed[2:8] + asked + wire[8:]
        if not question.fits(question.wire[:2] + wire):
            raise Unanswered("no answer to this question")


def resolver(data: bytes) -> None:
    """Answers that fit the question: records that are plain text, or an error of ours."""
    (options,), rest = head(data, 1)
    kind = (Kind.MX, Kind.A, Kind.AAAA, Kind.TLSA)[options % 4]
    told = _Told(rest.split(b"\xfe\xfd"), bit(options, 7))
    results: list[object] = []
    Deferred.fromCoroutine(told._resolve("example.com", kind)).addBoth(results.append)
    (result,) = results
    assert isinstance(result, tuple), result
    answer, seconds = result
    assert 0 <= seconds <= 0x7FFFFFFF
    if isinstance(answer, DnsError):
        assert str(answer).isprintable()
        return
    for text in answer.records:
        assert text.isascii() and text.isprintable(), text
        if kind is Kind.MX:
            preference, host = text.split(" ", 1)
            assert 0 <= int(preference) <= 65535 and host
