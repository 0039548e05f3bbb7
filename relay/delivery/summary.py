"""What a header says, in a few values of JSON, for whoever doesn't want to read mail to know whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import getaddresses

import msgspec

from relay.message.headers import HeaderBlock
from relay.message.words import decoded

#: A field that is longer isn't told (characters): the message itself has it.
_LONGEST = 16 * 1024
_LISTS = {"from": "From", "to": "To", "cc": "Cc", "bcc": "Bcc"}
_ADDRESSES = {"reply_to": "Reply-To", "sender": "Sender"}
_TEXTS = {"in_reply_to": "In-Reply-To", "references": "References", "date": "Date", "message_id": "Message-ID"}


def summary(headers: bytes) -> Iterator[tuple[str, str]]:
    """Name and JSON of each value that there is: lists of `{"name", "address"}` for `from`, `to`, `cc` and `bcc`, one
    of these for `reply_to` and `sender`, strings for the others. Words are decoded (RFC 2047); what can't be made
    out is left out, or as it stands."""
    block = HeaderBlock(headers)
    for name, field in _LISTS.items():
        if found := _addresses(block, field):
            yield name, _json(found)
    for name, field in _ADDRESSES.items():
        if found := _addresses(block, field):
            yield name, _json(found[0])
    for name, field in _TEXTS.items():
        value = block.get(field)
        if value and len(value) <= _LONGEST:
            yield name, _json(value)
    subject = block.get("Subject")
    if subject and len(subject) <= _LONGEST:
        yield "subject", _json(decoded(subject))


def _addresses(block: HeaderBlock, field: str) -> list[dict[str, str]]:
    values = block.all(field)
    if sum(map(len, values)) > _LONGEST:
        return []
    try:
        found = getaddresses(values)
    except (ValueError, IndexError, RecursionError):
        return []
    return [{"name": decoded(name), "address": address} for name, address in found if address]


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
