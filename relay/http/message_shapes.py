"""A message and its deliveries as `/message` shows them: the fields that clients of ZoneMTA know."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from relay.http.answer import Milliseconds
from relay.message.addresslist import parse_list
from relay.message.dialogue import HOST, WE, Spoken
from relay.message.headers import HeaderBlock
from relay.message.values import Message

_ADDRESSES = 10_000
_ENDS = {HOST: "server", WE: "client"}


class LogLine(msgspec.Struct, frozen=True):
    """A line of the dialogue of a failure."""

    time: Milliseconds
    level: str
    tnx: Annotated[str, Meta(description="Who has said it: server, client, or network")]
    message: str


class Lock(msgspec.Struct, frozen=True, rename="camel"):
    """Who has a delivery in hand."""

    key: str
    zone: str
    domain: str
    lock_owner: str
    created: Milliseconds


class Deferral(msgspec.Struct, frozen=True):
    """What has failed so far, and when it is tried again."""

    first: Milliseconds
    count: int
    last: Milliseconds
    next: Milliseconds
    response: str
    category: str
    log: list[LogLine]


class DeliveryRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A delivery. `held` says why it was put aside."""

    id: str
    seq: str
    zone: str
    recipient: str
    status: Literal["QUEUED", "DEFERRED", "HELD"]
    held: str = ""
    lock: Lock | None = None
    deferred: Deferral | None = None


class BodyDigest(msgspec.Struct, frozen=True, rename="camel"):
    """The hash of the body, as DKIM makes it (relaxed), in base64."""

    hash_algo: str
    body_hash: str


class HeaderLine(msgspec.Struct, frozen=True):
    """A field of the header: its name in lower case, and all of it."""

    key: str
    line: str


class HeaderAddresses(msgspec.Struct, frozen=True, rename="camel"):
    """The addresses in the header."""

    from_: list[str] = field(name="from")
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    sender: list[str]


class MessageMeta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """What is stored of a message besides its text. `from` and `to` are the envelope."""

    id: str
    interface: str
    from_: str = field(name="from")
    to: list[str]
    origin: str
    originhost: str
    transhost: str
    transtype: str
    time: Milliseconds
    created: Milliseconds
    dkim: BodyDigest
    headers: list[HeaderLine]
    parsed_envelope: HeaderAddresses
    message_id: str
    date: str
    body_size: int
    user: str = ""
    tls: str = ""
    fbl: str = ""


class MessageShown(msgspec.Struct, frozen=True):
    """A message, and each delivery of it that hasn't ended."""

    meta: MessageMeta
    messages: list[DeliveryRow]


def logged(one: Spoken) -> LogLine:
    """A line that was spoken."""
    level, end = ("debug", _ENDS[one.who]) if one.who in _ENDS else ("info", "network")
    return LogLine(one.time, level, end, one.text)


def described(message: Message, recipients: list[str], body_hash: bytes) -> MessageMeta:
    """The `meta` of a message."""
    origin, block = message.origin, HeaderBlock(message.headers)
    return MessageMeta(
        id=message.id,
        interface=origin.listener,
        from_=message.sender,
        to=recipients,
        origin=origin.address,
        originhost=origin.host or f"[{origin.address}]",
        transhost=origin.helo or "localhost",
        transtype=origin.transport,
        time=message.created,
        created=message.created,
        dkim=BodyDigest("sha256", b64encode(body_hash).decode("ascii")),
        headers=[HeaderLine(key, line) for key, line in block.fields()],
        parsed_envelope=HeaderAddresses(
            *(_addresses(block, name) for name in ("From", "To", "Cc", "Bcc", "Reply-To", "Sender"))
        ),
        message_id=message.message_id,
        date=block.get("Date") or "",
        body_size=message.body_size,
        user=origin.user,
        tls=origin.tls,
        fbl=message.fbl,
    )


def _addresses(block: HeaderBlock, name: str) -> list[str]:
    try:
        return [address.text for address in parse_list(", ".join(block.all(name)), _ADDRESSES)]
    except ValueError:
        return []
