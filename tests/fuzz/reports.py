"""TLS reports: the record that asks for them, and what answers those that were posted."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from relay.net.exchange import Exchange, NoAnswer
from relay.tlsrpt.record import LONGEST_URI, MOST, Mailbox, destination_of, record_of
from tests.fuzz.choices import bit, head, long, pieces


def tls_record(data: bytes) -> None:
    """Where a report goes can be said again, and can't end a line, a header or a request."""
    (options,), rest = head(data, 1)
    texts = long(rest, 8192).decode("ascii", "replace").split("\n")
    if bit(options, 0):
        texts = [f"v=TLSRPTv1; rua={texts[0]}", *texts[1:]]
    found = record_of(texts)
    assert len(found) <= MOST
    for destination in found:
        assert destination_of(destination.uri) == destination
        assert len(destination.uri) <= LONGEST_URI and not set(destination.uri) & set("\r\n\t <>\"!,;")
        if isinstance(destination, Mailbox):
            text = destination.address.text
            assert text.isascii() and text.isprintable() and "@" in text
        else:
            assert 0 < destination.port < 65536 and destination.target.startswith(("/", "?"))
            words = destination.host + destination.target
            assert words.isascii() and words.isprintable() and " " not in words
            assert not set(destination.host) & set("/?#@[]%")


class _Trusting:
    """A handshake of which nobody asks anything."""

    def distrust(self) -> str:
        return ""


def tls_answer(data: bytes) -> None:
    """A status or a refusal, the same in any split, and one of them when the connection is gone."""
    (first, second), rest = head(data, 2)
    wire = long(rest, 40_000)
    assert _result([wire]) == _result(pieces(wire, first, second))


def _result(parts: list[bytes]) -> Any:
    exchange: Any = Exchange(Clock(), b"", _Trusting())  # type: ignore[arg-type]
    exchange.transport = StringTransport()
    told: list[Any] = []
    exchange.answer.addCallbacks(
        lambda answer: told.append(answer.status), lambda failure: told.append(failure.trap(NoAnswer))
    )
    for part in parts:
        exchange.dataReceived(part)
    exchange.connectionLost()
    (result,) = told
    assert result is NoAnswer or 200 <= result < 600
    return result
