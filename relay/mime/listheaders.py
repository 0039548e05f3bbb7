"""Nodemailer's `list`: where and how to help, subscribe, unsubscribe (RFC 2369), and which list it is (RFC 2919).

Pure.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from relay.mime.field import check_name, folded
from relay.mime.mailobject import Url, Urls
from relay.mime.unfit import Unfit, one_line
from relay.mime.words import encoded

#: Fields, and values of one.
_MOST = 50
_SCHEME = re.compile(r"(?i)(https?|mailto|ftp):").match
_is_address = re.compile(r"[^@]+@[^@]+").fullmatch
_out = re.compile(r"[\s<>]+").sub
_special = re.compile(r"[()\\]").sub
_quoted = re.compile(r'["\\]').sub
_scheme = re.compile(r"^[a-z]+:/{0,2}").sub
#: ASCII that stays as it is in a URL.
_URL = "!\"#$%&'()*+,/:;=?@[\\]^`{|}"


def lines(field: str, given: dict[str, Urls]) -> str:
    """The lines of their fields: each once, as RFC 2369 3 has it, with all its URLs. Raises Unfit."""
    written: list[str] = []
    if len(given) > _MOST:
        raise Unfit(field, f"more than {_MOST} of them")
    for key, values in given.items():
        place = f"{field}.{key}"
        name = "List-" + ("ID" if key.strip().lower() == "id" else key.strip().capitalize())
        check_name(place, name)
        shown = [_named(place, one) if name == "List-ID" else _url(place, one) for one in _flat(values)]
        if len(shown) > (1 if name == "List-ID" else _MOST):
            raise Unfit(place, "too many of them")
        written.append(folded(place, name, ", ".join(shown)))
    return "".join(written)


def _flat(values: Urls) -> list[Url]:
    if values is None:
        return []
    if not isinstance(values, list):
        values = [values]
    found: list[str | Url] = []
    for one in values:
        found += one if isinstance(one, list) else (one,)
    return [Url(one) if isinstance(one, str) else one for one in found]


def _url(field: str, given: Url) -> str:
    """`<https://example.com/> (comment)`."""
    url = _out("", one_line(field, given.url))
    if not _SCHEME(url):
        url = f"mailto:{url}" if _is_address(url) else f"http://{url}"
    comment = one_line(field, given.comment or "")
    if not comment.isascii():
        raise Unfit(field, "expected a comment in ASCII: programs read this header")
    shown = f"<{quote(url, _URL)}>"
    return f"{shown} ({_special(_escape, comment)})" if comment else shown


def _named(field: str, given: Url) -> str:
    """`"Name" <list.example.com>`."""
    name = _scheme("", _out("", one_line(field, given.url)))
    if not name.isascii():
        raise Unfit(field, "expected ASCII")
    comment = one_line(field, given.comment or "")
    if not comment:
        return f"<{name}>"
    phrase = '"' + _quoted(_escape, comment) + '"' if comment.isascii() else encoded(comment)
    return f"{phrase} <{name}>"


def _escape(found: re.Match[str]) -> str:
    return "\\" + found[0]
