"""Mail that came back, and the addresses that it comes to."""

from __future__ import annotations

from relay.bounce.reading import read
from relay.bounce.returned import Kind
from relay.bounce.returnpath import ReturnPaths
from relay.message.address import parse
from tests.fuzz.choices import bit, crlf, head, long

_PATHS = ReturnPaths("back.test", [b"a secret of some length"], keep=["kept.test"], complaints="fbl")
_ID = "18f0a1b2c3d4e5f607"
_DAY = 86_400_000
_LONGEST = 2000


def returned(data: bytes) -> None:
    """Nothing raises, and nothing that is told could end a line or fill a page."""
    (options,), rest = head(data, 1)
    found = read(crlf(long(rest)), null_sender=bit(options, 0))
    original = found.original
    texts = [found.about, found.sender, original.message_id, original.recipient, *original.senders, *original.received]
    for notice in found.notices:
        texts += [*notice.recipients, notice.status, notice.reply, notice.host]
    assert all(text.isprintable() and len(text) <= _LONGEST for text in texts)
    assert bool(found.notices) == (found.kind is Kind.REPORT)


def return_path(data: bytes) -> None:
    """What we didn't make is none of ours; a sender comes back."""
    (options, day), rest = head(data, 2)
    text = rest.decode("utf-8", "replace")
    assert _PATHS.found(text) is None
    try:
        address = parse(text, utf8=True)
    except ValueError:
        return
    now = 1024 * _DAY * (1 + (options >> 4)) + day * _DAY
    place = _PATHS.place(address, now)
    assert place is None or address.local.lower() == "fbl"
    assert _PATHS.rewritten("verp", address.text, _ID, 1, now) == address.text or address.domain != "kept.test"
    away = _PATHS.rewritten("srs", address.text, _ID, 1, now)
    if away == address.text or address.local[:5].lower() in ("srs1=", "srs1+", "srs1-"):
        return
    changed = away.lower() if bit(options, 0) else away.upper() if bit(options, 1) else away
    back = _PATHS.place(parse(changed), now)
    assert back is not None and back.sender.lower() == address.text.lower()
