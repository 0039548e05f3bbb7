"""What a message is to those who hand it over under /v1, and what they are told of it."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from relay.message import labels
from relay.mime import mailobject
from relay.mime.body import MOST as MOST_ATTACHMENTS
from relay.mime.mailobject import MailObject, Person
from relay.mime.unfit import Unfit

#: Messages of one request.
MOST = 1000

Moment = Annotated[datetime, Meta(tz=True)]
Label = Annotated[str, Meta(pattern=labels.PATTERN)]


class Mailbox(Struct, frozen=True, forbid_unknown_fields=True):
    """A person by name and address."""

    address: str
    name: str = ""


People = str | Mailbox | list[str | Mailbox]


class Attachment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file, or with a `cid` an image that the HTML shows as `cid:…`."""

    content: Annotated[str, Meta(description="Base64")]
    filename: str = ""
    content_type: Annotated[str, Meta(description="By the end of the filename where it isn't given")] = ""
    cid: str = ""
    disposition: Literal["", "attachment", "inline"] = ""


class NewMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A message. Addresses are texts as in a header, `{address, name}`, or lists of these."""

    from_: People = field(default="", name="from")
    to: People = ""
    cc: People = ""
    bcc: Annotated[People, Meta(description="They get it, and nobody sees that")] = ""
    reply_to: People = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    attachments: Annotated[list[Attachment], Meta(max_length=MOST_ATTACHMENTS)] = []
    headers: Annotated[dict[str, str | list[str]], Meta(description="More fields of the header")] = {}
    envelope_from: Annotated[
        str | None, Meta(description='Where bounces go; "": nowhere. Else to the author')
    ] = None
    send_at: Annotated[
        Moment | None, Meta(description="No attempt before that; 365 days ahead at most")
    ] = None
    zone: Annotated[str, Meta(description="The sending zone; else as the rules have it")] = ""
    tags: Annotated[tuple[Label, ...], Meta(max_length=labels.MOST_TAGS)] = ()
    tenant: Annotated[str, Meta(description="Whose it is: for callers who are no tenant's")] = ""
    metadata: Annotated[
        dict[Label, Annotated[str, Meta(max_length=labels.LONGEST_VALUE)]], Meta(max_length=labels.MOST_METADATA)
    ] = {}


class Submission(NewMessage, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message, or several under `messages`."""

    messages: Annotated[list[NewMessage], Meta(max_length=MOST)] | None = None


class Posted(Struct, omit_defaults=True):
    """A recipient's part of a message. What became of it is told to who waited: `state` is the kind of the event that
    ended it or put it off, `queued` when there is none yet, `scheduled` when it isn't due before the wait is over."""

    id: str
    recipient: str
    state: str = ""
    reply: str = ""
    category: str = ""


class Refused(Struct, omit_defaults=True):
    """Why a message isn't taken, as problem+json has it."""

    status: int
    detail: str


class Accepted(Struct, omit_defaults=True):
    """A message that is on disk, with a delivery for each recipient; or why it isn't taken while others are."""

    id: str = ""
    deliveries: list[Posted] = []
    problem: Refused | None = None


class AllAccepted(Accepted, omit_defaults=True):
    """The one message, or what became of each of several under `messages`, in order. `waited`: seconds."""

    messages: list[Accepted] = []
    waited: float | None = None


def mail_of(message: NewMessage, date: int | None) -> MailObject:
    """As the writer takes it. `date`: of the header (ms since the epoch); None: that of when it is taken. Raises Unfit:
    `headers` has what is said by a field of its own."""
    for name in message.headers:
        own = _SAID.get(name.lower())
        if own is not None and getattr(message, own):
            raise Unfit(f"headers.{name}", f"{own.rstrip('_')} says it already")
    envelope = None
    if message.envelope_from is not None:
        envelope = mailobject.Envelope(from_=message.envelope_from)
    return MailObject(
        from_=_people(message.from_),
        to=_people(message.to),
        cc=_people(message.cc),
        bcc=_people(message.bcc),
        reply_to=_people(message.reply_to),
        subject=message.subject,
        text=message.text,
        html=message.html,
        attachments=[_content(one) for one in message.attachments],
        headers=message.headers,  # type: ignore[arg-type]  # it takes more
        envelope=envelope,
        date=date,
    )


#: Fields of the header that are said by fields here.
_SAID = {
    "from": "from_",
    "to": "to",
    "cc": "cc",
    "bcc": "bcc",
    "reply-to": "reply_to",
    "subject": "subject",
    "date": "send_at",
}


def _people(given: People) -> mailobject.People:
    if isinstance(given, str):
        return given
    if isinstance(given, Mailbox):
        return Person(given.name, given.address)
    return [one if isinstance(one, str) else Person(one.name, one.address) for one in given]


def _content(one: Attachment) -> mailobject.Content:
    return mailobject.Content(
        content=one.content,
        encoding="base64",
        filename=one.filename or None,
        content_type=one.content_type or None,
        content_disposition=one.disposition or None,
        cid=one.cid or None,
    )


_theirs = re.compile(r"\b(replyTo|contentType|contentDisposition|envelope\.from)\b").sub


def named(place: str) -> str:
    """A field as it is called here, of what the writer calls it."""
    if place == "sender":
        return "headers.Sender"
    return _theirs(lambda found: _OURS[found[0]], place)


_OURS = {
    "replyTo": "reply_to",
    "contentType": "content_type",
    "contentDisposition": "disposition",
    "envelope.from": "envelope_from",
}
