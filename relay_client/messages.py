"""Handing over mail."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Literal, TypeVar

from msgspec import Struct, field

from relay_client.ask import Ask, do
from relay_client.edge import E, Group, asks

T = TypeVar("T")


class Mailbox(Struct, frozen=True):
    """A person by name and address."""

    address: str
    name: str = ""


People = str | Mailbox | Sequence[str | Mailbox]


class Attachment(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file, or with a `cid` an image that the HTML shows as `cid:…`."""

    content: bytes
    filename: str = ""
    content_type: str = ""
    cid: str = ""
    disposition: Literal["", "attachment", "inline"] = ""

    @classmethod
    def of(cls, path: str | os.PathLike[str], *, content_type: str = "", cid: str = "") -> Attachment:
        """A file of this machine. Raises OSError."""
        file = Path(path)
        return cls(content=file.read_bytes(), filename=file.name, content_type=content_type, cid=cid)


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message. Addresses are texts as in a header, mailboxes, or lists of these.

    `envelope_from` is where bounces go ("": nowhere; None: to the author), `send_at` when the first attempt is made,
    `zone` the sending zone, if the relay's rules aren't to choose it.

        >>> Message(
        ...     from_=Mailbox("shop@example.com", "Shop"),
        ...     to=["you@example.org", "Zoë <zoe@example.net>"],
        ...     subject="Your order",
        ...     text="It is on its way.",
        ...     tags=("receipt",),
        ...     metadata={"order": "17"},
        ... )
    """

    from_: People = field(default="", name="from")
    to: People = ""
    cc: People = ""
    bcc: People = ""
    reply_to: People = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    attachments: Sequence[Attachment] = ()
    headers: Mapping[str, str | Sequence[str]] = {}
    envelope_from: str | None = None
    send_at: datetime | None = None
    zone: str = ""
    tags: Sequence[str] = ()
    tenant: str = ""
    metadata: Mapping[str, str] = {}


class Part(Struct, frozen=True, kw_only=True):
    """A recipient's part of a message. After a wait `state` is what became of it: the kind of the event that ended it
    or put it off, "queued" when there is none yet, "scheduled" when it isn't due before; with the host's `reply`, and
    its `category`."""

    id: str
    recipient: str
    state: str = ""
    reply: str = ""
    category: str = ""


class Refused(Struct, frozen=True, kw_only=True):
    """Why one of several messages isn't taken."""

    status: int
    detail: str


class Accepted(Struct, frozen=True, kw_only=True):
    """A message that is on the relay's disk, with a delivery for each recipient; or the `problem` for which one of
    several isn't."""

    id: str = ""
    deliveries: tuple[Part, ...] = ()
    problem: Refused | None = None


class Sent(Accepted, frozen=True, kw_only=True):
    """The message; `waited` is in seconds, None: nothing was waited for."""

    waited: float | None = None


class AllSent(Struct, frozen=True, kw_only=True):
    """What became of each message, in their order."""

    messages: tuple[Accepted, ...] = ()
    waited: float | None = None


class Queued(Struct, frozen=True, kw_only=True):
    """A raw message that is on the relay's disk."""

    id: str
    from_: str = field(default="", name="from")
    to: tuple[str, ...] = ()
    response: str = ""


class Messages(Group[E]):
    """Each call has an Idempotency-Key, made once for all tries: what is tried again is sent once. With a `key` of
    one's own that holds for calls too, for 24 hours, also after the program was started anew."""

    @asks
    def send(self, message: Message, *, wait: int = 0, key: str | None = None) -> Ask[Sent]:
        """One message. `wait`: so many seconds, 60 at most, for what becomes of each recipient's delivery.

            >>> sent = relay.messages.send(Message(from_="me@example.com", to="you@example.org", text="Hi"), wait=10)
            >>> for part in sent.deliveries:
            ...     print(part.id, part.recipient, part.state, part.reply)
        """
        return _post(Sent, message, wait, key)

    @asks
    def send_all(self, messages: Sequence[Message], *, wait: int = 0, key: str | None = None) -> Ask[AllSent]:
        """Up to 1,000 messages, all of them or, where one can't stand, none.

            >>> relay.messages.send_all([Message(from_=me, to=to, text="Hi") for to in readers])
        """
        return _post(AllSent, {"messages": messages}, wait, key)

    @asks
    def send_raw(
        self,
        message: bytes | EmailMessage,
        *,
        sender: str | None = None,
        recipients: Sequence[str] = (),
        key: str | None = None,
    ) -> Ask[Queued]:
        """A message as it is; without `sender` and `recipients` its header says whom it is from and for. `sender` ""
        is the null sender.

            >>> relay.messages.send_raw(Path("mail.eml").read_bytes(), recipients=["you@example.org"])
        """
        text = message.as_bytes(policy=SMTP) if isinstance(message, EmailMessage) else message
        query = {"from": sender, "to": list(recipients)}
        return do(
            "POST",
            "/send-raw",
            Queued,
            body=text,
            kind="message/rfc822",
            query=query,
            headers=_once(key),
            repeatable=True,
        )


def _post(answer: type[T], body: object, wait: int, key: str | None) -> Ask[T]:
    query = {"wait": wait or None}
    return do(
        "POST", "/v1/messages", answer, body=body, query=query, headers=_once(key), repeatable=True, patience=wait
    )


def _once(key: str | None) -> dict[str, str]:
    return {"Idempotency-Key": key or secrets.token_hex(16)}
