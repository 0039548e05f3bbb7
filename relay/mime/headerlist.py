"""The `headers` of a mail or of an attachment, in any of the forms that Nodemailer takes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from relay.mime.field import check_name, is_structured, structured, unstructured
from relay.mime.mailbox import address_field, mailboxes
from relay.mime.mailobject import Headers, HeaderValue, Prepared, Word
from relay.mime.unfit import Unfit, one_line

#: Fields of one mail or one part.
_MOST = 1000
#: What says how the content is to be read is written by who writes the content.
_OURS = {
    "content-type": "contentType of what it is about",
    "content-transfer-encoding": "contentTransferEncoding of what it is about",
}
#: Fields of addresses.
_ADDRESSES = frozenset((
    "from", "sender", "to", "cc", "bcc", "reply-to", "resent-from", "resent-sender", "resent-to", "resent-cc",
    "resent-reply-to", "disposition-notification-to", "return-receipt-to", "errors-to", "mail-followup-to",
    "mail-reply-to",
))  # fmt: skip
#: Fields that may be there once (RFC 5322 3.6, RFC 2369 3).
_ONCE = frozenset((
    "subject", "message-id", "in-reply-to", "references", "date", "list-unsubscribe", "list-unsubscribe-post",
    "list-id", "sender",
))  # fmt: skip


class Given(NamedTuple):
    """One header: where it stands, what it is called, what it says; and whether that is to be left as it is."""

    field: str
    name: str
    text: str
    prepared: bool

    @property
    def key(self) -> str:
        """The name in lower case."""
        return self.name.lower()

    def line(self) -> str:
        """As it is written. Raises Unfit."""
        if self.key in _ADDRESSES:
            return address_field(self.field, self.name, mailboxes(self.field, one_line(self.field, self.text), _MOST))
        write: Callable[[str, str, str], str] = (
            structured if self.prepared or is_structured(self.key) else unstructured
        )
        return write(self.field, self.name, self.text)


def read(field: str, headers: Headers) -> list[Given]:
    """All of them in order. Raises Unfit."""
    if not headers:
        return []
    found: list[Given] = []
    for place, name, value in _pairs(field, headers):
        name = check_name(place, name.strip())
        if name.lower() in _OURS:
            raise Unfit(place, f"is for the relay to write; give {_OURS[name.lower()]}")
        if name.lower() == "mime-version":
            continue
        for text, prepared in _values(value):
            if len(found) == _MOST:
                raise Unfit(field, f"more than {_MOST} headers")
            found.append(Given(place, name, text, prepared))
    seen: set[str] = set()
    for one in found:
        if one.key in _ONCE and one.key in seen:
            raise Unfit(one.field, f"expected {one.name} once")
        seen.add(one.key)
    return found


def _pairs(field: str, headers: Headers) -> Iterator[tuple[str, str, HeaderValue]]:
    if isinstance(headers, dict):
        for name, value in headers.items():
            yield f"{field}.{name}", name, value
    else:
        for number, one in enumerate(headers or ()):
            yield f"{field}[{number}]", one.key, one.value


def _values(value: HeaderValue) -> Iterator[tuple[str, bool]]:
    """The values of one header; nothing and "" are none."""
    for one in value if isinstance(value, list) else (value,):
        if isinstance(one, Prepared):
            yield _said(one.value), one.prepared
        elif one is not None:
            yield _said(one), False


def _said(word: Word) -> str:
    """As JavaScript writes it."""
    if isinstance(word, bool):
        return "true" if word else "false"
    return word if isinstance(word, str) else f"{word:g}" if isinstance(word, float) else str(word)
