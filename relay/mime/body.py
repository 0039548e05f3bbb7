"""The content of a mail object: its texts, images and attachments, put together as mail readers expect it. Pure.

    mixed
      alternative
        text/plain, text/watch-html, text/x-amp-html
        related
          text/html, images it shows
        text/calendar, other alternatives
      attachments

Of which only those multiparts are there that are needed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from msgspec.structs import replace

from relay.mime import dataurls, part
from relay.mime.entity import Boundaries, Entity
from relay.mime.mailobject import Content, MailObject, Text
from relay.mime.unfit import Unfit

#: Attachments, and alternatives, of one mail.
MOST = 500
_is_method = re.compile(r"[A-Za-z-]{1,40}").fullmatch
_ENCODINGS = ("7bit", "8bit", "quoted-printable", "base64")


class _Html(NamedTuple):
    entity: Entity
    images: list[Entity]


def body(mail: MailObject, seed: str) -> Entity:
    """What a mail says. `seed`, letters and digits, makes boundaries and ids of images. Raises Unfit."""
    wish = _wish(mail)
    if not (mail.html or mail.attachments or mail.alternatives or mail.ical_event or mail.watch_html or mail.amp):
        return part.text("text", "text/plain", mail.text or "", wish)
    html = _html(mail, wish, seed)
    forms, last_html = _alternatives(mail, wish, html)
    attached = mail.attachments or []
    for name, items in (("attachments", attached), ("alternatives", mail.alternatives or [])):
        if len(items) > MOST:
            raise Unfit(name, f"more than {MOST}")
    files: list[Entity] = []
    images = html.images if html else []
    for number, one in enumerate(attached):
        entity = part.attachment(f"attachments[{number}]", one, number + 1)
        (images if one.cid and last_html is not None else files).append(entity)
    if mail.ical_event:
        files.append(_invitation(_content(mail.ical_event)))
    boundaries = Boundaries(seed)
    if images and last_html is not None:
        forms[last_html] = boundaries.joined("related", [forms[last_html], *images], type="text/html")
    if len(forms) > 1:
        forms = [boundaries.joined("alternative", forms)]
    if not forms and not files:
        forms = [part.text("text", "text/plain", "", wish)]
    whole = forms + files
    return whole[0] if len(whole) == 1 else boundaries.joined("mixed", whole)


def _wish(mail: MailObject) -> str:
    """How texts are to travel: by `encoding`, or by the Q or B of `textEncoding`."""
    said = (mail.encoding or "").strip().lower()
    if said and said not in _ENCODINGS:
        raise Unfit("encoding", f"expected one of {', '.join(_ENCODINGS)}")
    return said or {"Q": "quoted-printable", "B": "base64"}.get((mail.text_encoding or "").strip()[:1].upper(), "")


def _content(given: str | Content) -> Content:
    return Content(content=given) if isinstance(given, str) else given


def _html(mail: MailObject, wish: str, seed: str) -> _Html | None:
    given = mail.html
    if not given:
        return None
    images: list[Entity] = []
    if mail.attach_data_urls:
        said = part.said("html", _content(given))
        if said is not None:
            text, images = dataurls.taken_out("html", said, seed)
            given = replace(_content(given), content=text, encoding=None, data=None, path=None, href=None)
    return _Html(part.text("html", "text/html", given, wish), images)


def _alternatives(mail: MailObject, wish: str, html: _Html | None) -> tuple[list[Entity], int | None]:
    """All forms of the text, the plainest first, and which of them is the last HTML."""
    forms: list[Entity] = []
    last_html = None
    texts: tuple[tuple[str, str, Text], ...] = (
        ("text", "text/plain", mail.text),
        ("watchHtml", "text/watch-html", mail.watch_html),
        ("amp", "text/x-amp-html", mail.amp),
    )
    for field, kind, given in texts:
        if given:
            forms.append(part.text(field, kind, given, wish))
    if html is not None:
        last_html = len(forms)
        forms.append(html.entity)
    if mail.ical_event:
        event = _content(mail.ical_event)
        method = (event.method or "PUBLISH").strip().upper()
        if not _is_method(method):
            raise Unfit("icalEvent.method", "expected a method such as REQUEST")
        forms.append(part.text("icalEvent", "text/calendar", event, wish, method=method))
    for number, one in enumerate((mail.alternatives or [])[:MOST]):
        kind, entity = part.alternative(f"alternatives[{number}]", one, wish)
        if kind == "text/html":
            last_html = len(forms)
        forms.append(entity)
    return forms, last_html


def _invitation(event: Content) -> Entity:
    """The event once more, as a file, for readers that look for one."""
    named = replace(
        event,
        content_type="application/ics",
        filename=event.filename if isinstance(event.filename, str) and event.filename else "invite.ics",
        headers=None,
        content_disposition=None,
        content_transfer_encoding=None,
        cid=None,
    )
    return part.attachment("icalEvent", named, 1)
