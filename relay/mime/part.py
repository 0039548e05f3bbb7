"""Texts, attachments and events of a mail object, each as a part of a message. Pure."""

from __future__ import annotations

import re

from relay.mime import content, headerlist, kinds, parameter, transfer
from relay.mime.entity import Entity, leaf, prepared
from relay.mime.field import folded, structured
from relay.mime.mailobject import Content
from relay.mime.transfer import Encoding
from relay.mime.unfit import Unfit, one_line

_LONGEST_NAME = 1000
_is_token = re.compile(r"[A-Za-z0-9-]{1,60}").fullmatch
_cid = re.compile(r"[<>\s]+").sub


def text(field: str, kind: str, given: str | Content, wish: str, **parameters: str) -> Entity:
    """A text, as an alternative; `wish` is the transfer encoding that the client wants for texts. Raises Unfit."""
    if isinstance(given, str):
        data = transfer.lines_of(content.sound(f"{field}.content", given))
        return leaf(kind, {"charset": "utf-8", **parameters}, data, transfer.for_text(data, wish))
    octets = content.raw(f"{field}.raw", given.raw)
    if octets is not None:
        return prepared(octets)
    more = _more(field, given, "", "")
    letters = said(field, given)
    if letters is None:
        return leaf(kind, parameters, content.octets(content.given(field, given)), "base64", more)
    data = transfer.lines_of(letters)
    return leaf(kind, {"charset": "utf-8", **parameters}, data, transfer.for_text(data, _asked(given) or wish), more)


def said(field: str, given: Content) -> str | None:
    """What a text says, in letters; None: it is prepared, or no UTF-8. Raises Unfit."""
    if given.raw is not None:
        return None
    found = content.given(field, given)
    try:
        return found if isinstance(found, str) else found.decode()
    except UnicodeDecodeError:
        return None


def alternative(field: str, given: Content, wish: str) -> tuple[str, Entity]:
    """Another form of the text, with its type. Raises Unfit."""
    name = _filename(field, given) or ""
    kind, parameters = _kind(field, given, kinds.kind_of(name) if name else "text/plain")
    if kind.startswith("text/") and not name:
        parameters.pop("charset", None)
        return kind, text(field, kind, given, wish, **parameters)
    return kind, _file(field, given, kind, parameters, name, "attachment" if name else "")


def attachment(field: str, given: Content, number: int) -> Entity:
    """A file, or an image that the text shows; `number` is from 1. Raises Unfit."""
    name = _filename(field, given)
    kind, parameters = _kind(field, given, kinds.kind_of(name or ""))
    if name is None and not kind.startswith("message/"):
        name = f"attachment-{number}{kinds.ending_of(kind)}"
    shown = kind.startswith("message/") or (kind.startswith("image/") and given.cid)
    return _file(field, given, kind, parameters, name or "", "inline" if shown else "attachment")


def _file(
    field: str, given: Content, kind: str, parameters: dict[str, str], name: str, disposition: str
) -> Entity:
    octets = content.raw(f"{field}.raw", given.raw)
    if octets is not None:
        return prepared(octets)
    found = content.given(field, given)
    if name:
        parameters["name"] = name
    if isinstance(found, str) and kind.startswith("text/"):
        parameters = {**parameters, "charset": "utf-8"}
    data, encoding = _travelling(field, kind, found, given)
    return leaf(kind, parameters, data, encoding, _more(field, given, disposition, name))


def _travelling(field: str, kind: str, found: str | bytes, given: Content) -> tuple[bytes, Encoding]:
    """A file is to arrive as it is: base64 is the rule, and texts may be read on the way."""
    if kind.startswith("message/"):
        data = content.octets(found).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        encoding = transfer.as_it_is(data)
        if encoding is None:  # RFC 2046 5.2.1 has no other for them.
            raise Unfit(f"{field}.content", "a message with NUL or lines over 998 bytes can't be attached as one")
        return data, encoding
    asked = _asked(given)
    if asked == "base64" or not kind.startswith("text/"):
        return content.octets(found), "base64"
    if given.content_transfer_encoding is None:
        data = content.octets(found)
        return data, transfer.for_file(data)
    letters = said(field, given)
    if letters is None:
        return content.octets(found), "base64"
    data = transfer.lines_of(letters)
    return data, transfer.for_text(data, asked)


def _asked(given: Content) -> str:
    """The encoding that a client wants for one part; what isn't known to be one means nothing."""
    asked = given.content_transfer_encoding
    return asked.strip().lower() if isinstance(asked, str) else ""


def _kind(field: str, given: Content, known: str) -> tuple[str, dict[str, str]]:
    """The type it is of, with parameters: as it says, else as its data: URL does, else `known`."""
    place = f"{field}.contentType"
    stated = one_line(place, given.content_type or "")
    if not stated:
        for url in (given.path, given.href):
            if isinstance(url, str) and url[:5].lower() == "data:":
                stated = one_line(place, content.data_kind(url[:500]))
    found = parameter.parsed(stated or known)
    if found is None:
        raise Unfit(place, "expected a type such as text/csv or image/png")
    if found[0].startswith("multipart/"):
        raise Unfit(place, "expected no multipart; give its parts, or all of it as raw")
    return found


def _filename(field: str, given: Content) -> str | None:
    """None: it doesn't say; "": it wants none."""
    if isinstance(given.filename, str):
        return one_line(f"{field}.filename", given.filename, _LONGEST_NAME) or None
    return "" if given.filename is False else None


def _more(field: str, given: Content, disposition: str, name: str) -> str:
    """The other lines of its header: what the client says counts more than what its headers say, and these more
    than what is usual."""
    headers = headerlist.read(f"{field}.headers", given.headers)
    own = {one.key for one in headers}
    stated = one_line(f"{field}.contentDisposition", given.content_disposition or "").lower()
    if stated and not _is_token(stated):
        raise Unfit(f"{field}.contentDisposition", 'expected "attachment" or "inline"')
    cid = _cid("", one_line(f"{field}.cid", given.cid or ""))
    lines, ours = "", set()
    if stated or (disposition and "content-disposition" not in own):
        parameters = {"filename": name} if name else {}
        lines += folded(field, "Content-Disposition", parameter.value(stated or disposition, parameters))
        ours.add("content-disposition")
    if cid:
        lines += structured(f"{field}.cid", "Content-ID", f"<{cid}>")
        ours.add("content-id")
    return lines + "".join(one.line() for one in headers if one.key not in ours)
