"""The forms that mail was handed over in before there was `/send`: a few plain fields, in JSON or as a form. Pure."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qsl

import msgspec
from msgspec import field

from relay.mime.mailobject import MailObject, decoded
from relay.mime.unfit import Unfit

#: Mails of one request, and fields of a form.
MOST = 1000
_MOST_FIELDS = 10_000
_REPEATED = frozenset(("to",))


class Plain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One mail."""

    from_: str = field(name="from")
    to: str | list[str]
    subject: str = ""
    text: str = ""
    html: str = ""
    reply_to: str = field(default="", name="reply-to")

    def mail(self) -> MailObject:
        """The same as a mail object."""
        return MailObject(
            from_=self.from_,
            to=list(self.to) if isinstance(self.to, list) else self.to,
            subject=self.subject,
            text=self.text,
            html=self.html,
            reply_to=self.reply_to,
        )


class Several(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Many of them."""

    mails: Annotated[list[Plain], msgspec.Meta(max_length=MOST)]


_one = msgspec.json.Decoder(Plain).decode
_several = msgspec.json.Decoder(Several).decode
_list = msgspec.json.Decoder(Annotated[list[Plain], msgspec.Meta(max_length=MOST)]).decode


def one(body: bytes, is_form: bool) -> MailObject:
    """The mail in a request body. Raises Unfit."""
    if not is_form:
        return decoded(lambda: _one(body)).mail()
    fields = form(body)
    return decoded(lambda: msgspec.convert(fields, Plain)).mail()


def several(body: bytes, is_form: bool) -> list[MailObject]:
    """The mails: a list of them, alone or under `mails`, which in a form is JSON. Raises Unfit."""
    if is_form:
        fields = form(body)
        if set(fields) != {"mails"}:
            raise Unfit("mails", "expected it, and nothing else")
        body = fields["mails"].encode() if isinstance(fields["mails"], str) else b""
    text = body.lstrip()
    mails = decoded(lambda: _list(text)) if text[:1] == b"[" else decoded(lambda: _several(text)).mails
    return [plain.mail() for plain in mails]


def form(body: bytes) -> dict[str, str | list[str]]:
    """The fields of a form in UTF-8; `to` may be there several times. Raises Unfit."""
    try:
        pairs = parse_qsl(body.decode("ascii"), True, errors="strict", max_num_fields=_MOST_FIELDS)
    except ValueError as error:
        raise Unfit("", f"Invalid form: {error}") from None
    fields: dict[str, str | list[str]] = {}
    for name, text in pairs:
        if name in _REPEATED:
            fields.setdefault(name, []).append(text)  # type: ignore[union-attr]
        elif name in fields:
            raise Unfit(name, "expected it once")
        else:
            fields[name] = text
    return fields
