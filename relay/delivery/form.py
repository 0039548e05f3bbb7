"""A message as the form that is posted, the fields of ZoneMTA's HTTP delivery (RFC 7578, 2046 5.1).

The message itself is its last part, so that all before and behind it is known beforehand, and with it the length
of the whole.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from relay.channel.frames import Offer
from relay.delivery.summary import summary


class Form:
    """Names are ours, values are anybody's: nothing of a message stands in a line of the form itself.

    Attributes:
        before, after: what goes before the message, and behind it.
    """

    __slots__ = ("_boundary", "after", "before")

    def __init__(self, offer: Offer, head: bytes) -> None:
        """`head` is all of the message that goes before the body, the empty line included."""
        # Nobody who writes a message can know it, so it is in none.
        self._boundary = boundary = f"zonerelay-{secrets.token_hex(16)}"
        parts = [_part(boundary, name, value) for name, value in _fields(offer, head)]
        file = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="message"; filename="{offer.id}.eml"\r\n'
            "Content-Type: message/rfc822\r\n\r\n"
        )
        self.before = b"".join((*parts, file.encode("ascii")))
        self.after = f"\r\n--{boundary}--\r\n".encode("ascii")

    @property
    def kind(self) -> bytes:
        """The value of Content-Type."""
        return f"multipart/form-data; boundary={self._boundary}".encode("ascii")


def _fields(offer: Offer, head: bytes) -> Iterator[tuple[str, str]]:
    yield "id", f"{offer.id}.{offer.seq:03x}"
    yield "from", offer.sender
    yield "to", offer.recipient
    for name, value in summary(offer.headers):
        yield f"headers[{name}]", value
    yield "mail_to_http[from]", offer.sender
    yield "mail_to_http[rcpt]", offer.recipient
    yield "mail_to_http[real_length]", str(len(head) + offer.body_size)


def _part(boundary: str, name: str, value: str) -> bytes:
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
