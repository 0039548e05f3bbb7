"""What a command line says (RFC 5321 4.1): verb, path, parameters.

Only syntax lives here: which command is allowed when is told by `states`, what an address
may look like by `relay.message.address`.
"""

from __future__ import annotations

from typing import NamedTuple

from relay.message.address import Address, parse

#: Longest value of SIZE (RFC 1870 6.1).
_SIZE_DIGITS = 20
_KEYWORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_HELO = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:[]"
_CONTROLS = bytes(range(32)) + b"\x7f"
_MAX_HELO = 255


class Malformed(ValueError):
    """The line isn't in the form its command has."""


class Line(NamedTuple):
    """A command line taken apart: the verb in upper case, and the rest without outer blanks."""

    verb: str
    argument: str


def split(line: bytes) -> Line:
    """Take `line` (without its CRLF) apart.

    Bytes that are not UTF-8 become U+FFFD, so that what isn't ASCII stays recognisable as such.

    Raises:
        Malformed: it holds a control character, and a bare CR or LF is one.
    """
    if line.isascii():
        text = line.decode("ascii")
        if not text.isprintable():
            raise Malformed("control character in command")
    else:
        if len(line.translate(None, _CONTROLS)) != len(line):
            raise Malformed("control character in command")
        text = line.decode("utf-8", "replace")
    verb, _, argument = text.partition(" ")
    return Line(verb.upper(), argument.strip(" "))


def is_http(line: Line) -> bool:
    """Whether a web browser was made to speak to us: `POST / HTTP/1.1`."""
    return " HTTP/" in line.argument and line.verb.isalpha()


def is_helo_name(argument: str) -> bool:
    """Whether HELO or EHLO names exactly one host.

    Host names that break RFC 1123 (underscores) are common and harmless; what could end a
    word or a comment in a Received header is refused.
    """
    if not 0 < len(argument) <= _MAX_HELO or not argument.isascii():
        return False
    return not argument.encode("ascii").translate(None, _HELO)


def path(argument: str, keyword: str) -> tuple[str, str]:
    """The mailbox and the parameters of `FROM:<mailbox> parameters` (RFC 5321 4.1.2).

    `keyword` is `FROM:<` or `TO:<`. A blank after the colon is let pass, as many clients
    send one. A source route is taken away and never used (RFC 5321 appendix C).

    Raises:
        Malformed: no such path, or something sticks to its end.
    """
    start = len(keyword)
    if argument[:start].upper() != keyword:
        head, _, rest = argument.partition(":")
        rest = rest.lstrip(" ")
        if head.upper() + ":<" != keyword or rest[:1] != "<":
            raise Malformed("no path")
        argument, start = rest, 1
    # The common form: the only ">" is the last character, and nothing is quoted.
    end = argument.find(">", start)
    if '"' in argument:
        end = _closing_bracket(argument, start)
    if end < 0:
        raise Malformed("path without end")
    rest = argument[end + 1 :]
    if rest and rest[0] != " ":
        raise Malformed("characters after the path")
    mailbox = argument[start:end]
    if mailbox[:1] == "@":
        mailbox = _without_route(mailbox)
    return mailbox, rest.strip(" ")


def _closing_bracket(argument: str, start: int) -> int:
    """Where the path ends, or -1; a ">" within a quoted string is part of it."""
    quoted = False
    at = start
    while at < len(argument):
        char = argument[at]
        if quoted and char == "\\":
            at += 1
        elif char == '"':
            quoted = not quoted
        elif char == ">" and not quoted:
            return at
        at += 1
    return -1


def _without_route(mailbox: str) -> str:
    """`@one,@two:user@domain` as `user@domain`."""
    route, colon, mailbox = mailbox.partition(":")
    hops = route.split(",")
    if not colon or not mailbox or mailbox[0] == "@":
        raise Malformed("bad source route")
    for hop in hops:
        if hop[:1] != "@" or not is_helo_name(hop[1:]):
            raise Malformed("bad source route")
    return mailbox


def mailbox(path: str, utf8: bool) -> Address | None:
    """The address within a path; None for the empty one, `<>`. `utf8`: it may go beyond ASCII (RFC 6531 3.3).

    Raises:
        Malformed: it is none.
    """
    if not path:
        return None
    try:
        return parse(path, utf8)
    except ValueError as error:
        raise Malformed(str(error)) from None


def parameters(text: str) -> dict[str, str]:
    """`SIZE=10 BODY=7BIT` as a dict with keys in upper case; no value is "" (RFC 5321 4.1.2).

    Raises:
        Malformed: not in that form, or one given twice.
    """
    if not text.isascii():
        raise Malformed("bad parameter")
    found: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        key = key.upper()
        if not key or key[0] == "-" or not _KEYWORD.issuperset(key) or key in found:
            raise Malformed("bad parameter")
        if "=" in value or (equals and not value):
            raise Malformed("bad parameter")
        found[key] = value
    return found


def size(value: str) -> int:
    """The value of SIZE in bytes (RFC 1870). Raises Malformed."""
    if not (value.isascii() and value.isdigit()) or len(value) > _SIZE_DIGITS:
        raise Malformed("bad SIZE")
    return int(value)
