"""A mail as Nodemailer's users write it in JSON: the fields that mean something here, and of what type they are. Pure.

Whatever else an object has is left alone, as Nodemailer does: `dkim`, as the relay has keys of its own,
`disableFileAccess`, as there is no such access, options of transports.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import field

from relay.mime.unfit import Unfit

_T = TypeVar("_T")
_where = re.compile(r"(.*) - at `(?:key in )?\$\.?(.*)`", re.DOTALL).fullmatch


class Fields(msgspec.Struct, frozen=True, rename="camel"):
    """Of all these objects."""


class Blob(Fields, frozen=True):
    """Octets as JSON has a Buffer of Node, or a file or URL to read, which is refused."""

    data: list[int] | None = None
    path: str | None = None
    href: str | None = None


Word = str | int | float | bool


class Prepared(Fields, frozen=True):
    """The value of a header that is to be written as it is."""

    value: Word
    prepared: bool = False


HeaderValue = Word | Prepared | list[Word | Prepared] | None


class Header(Fields, frozen=True):
    """One of a list of headers."""

    key: str
    value: HeaderValue = None


Headers = dict[str, HeaderValue] | list[Header] | None


class Content(Fields, frozen=True):
    """An attachment, an alternative, or a text with more to say than the text."""

    content: str | Blob | None = None
    path: str | bool | None = None
    href: str | bool | None = None
    raw: str | Blob | None = None
    encoding: str | None = None
    content_type: str | None = None
    content_disposition: str | None = None
    content_transfer_encoding: str | bool | None = None
    filename: str | bool | None = None
    cid: str | None = None
    headers: Headers = None
    method: str | None = None
    # A Buffer where an object could be too.
    data: list[int] | None = None


class Person(Fields, frozen=True):
    """A mailbox or a group."""

    name: str | None = None
    address: str | None = None
    group: list[str | Person] | None = None


People = str | Person | list[str | Person | list[str | Person]] | None


class Envelope(Fields, frozen=True):
    """Who it is from and who gets it, whatever the header says."""

    from_: str | bool | Person | list[str | Person] | None = field(default=None, name="from")
    to: People = None
    cc: People = None
    bcc: People = None


class Url(Fields, frozen=True):
    """One of a List- header."""

    url: str
    comment: str | None = None


Urls = str | Url | list[str | Url | list[str | Url]] | None
Text = str | Content | None


class MailObject(Fields, frozen=True):
    """The whole of it."""

    from_: People = field(default=None, name="from")
    sender: People = None
    to: People = None
    cc: People = None
    bcc: People = None
    reply_to: People = None
    subject: str | None = None
    text: Text = None
    html: Text = None
    watch_html: Text = None
    amp: Text = None
    ical_event: Text = None
    alternatives: list[Content] | None = None
    attachments: list[Content] | None = None
    headers: Headers = None
    envelope: Envelope | None = None
    raw: str | Content | None = None
    message_id: str | None = None
    in_reply_to: str | None = None
    references: str | list[str] | None = None
    date: str | int | float | None = None
    priority: str | None = None
    list_: dict[str, Urls] | None = field(default=None, name="list")
    encoding: str | None = None
    text_encoding: str | None = None
    attach_data_urls: bool | None = None
    x_mailer: str | bool | None = None


def decoded(decode: Callable[[], _T]) -> _T:
    """What `decode`, by msgspec, makes of a body. Raises Unfit; its field is "" where it is no JSON."""
    try:
        return decode()
    except msgspec.ValidationError as error:
        found = _where(str(error))
        text, where = found.groups() if found else (str(error), "")
        raise Unfit(where, text[:1].lower() + text[1:]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unfit("", f"Invalid JSON: {error}") from None
