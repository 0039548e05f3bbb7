"""What the section of DKIM must be: fields that can be signed, domains that can sign."""

from __future__ import annotations

from collections.abc import Iterator

from relay.config.names import is_host
from relay.config.plain import shown
from relay.config.schema import Config
from relay.config.shape import Problem

#: Fields that are changed or added on the way, by us or the next hosts, and never part of a signature
#: (RFC 6376 5.4, RFC 8617 4.1); and those that don't leave.
_CHANGING = frozenset(
    ("received", "return-path", "dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results",
     "authentication-results", "bcc", "resent-bcc", "x-sending-zone", "x-sending-priority", "x-idempotency-key")
)  # fmt: skip
_MOST_FIELDS = 100
#: A signature is looked at when mail is read, days later even; a shorter life leaves none for the way (seconds).
_SHORTEST = 3600.0


def problems(config: Config) -> Iterator[Problem]:
    """What can't be signed, or would be signed in vain."""
    dkim = config.dkim
    if not dkim.keys:
        yield Problem(("dkim", "keys"), 'expected a directory, got ""')
    for index, domain in enumerate(dkim.required_domains):
        if not is_host(domain) or domain.endswith("."):
            place = ("dkim", "required_domains", f"[{index}]")
            yield Problem(place, f"expected a domain in ASCII (xn--...), got {shown(domain)}")
    for key in ("header_fields", "additional_header_fields", "oversign"):
        for index, name in enumerate(getattr(dkim, key)):
            place = ("dkim", key, f"[{index}]")
            if not _is_field(name):
                yield Problem(place, f"expected the name of a header field, got {shown(name)}")
            elif name.lower() in _CHANGING:
                yield Problem(place, f"expected a field that stays as it is on the way, got {shown(name)}")
    signed = {name.lower() for name in (*dkim.header_fields, *dkim.additional_header_fields)}
    if "from" not in signed:
        yield Problem(("dkim", "header_fields"), "expected From among them: a signature without it is none")
    if len(signed) > _MOST_FIELDS:
        yield Problem(("dkim", "header_fields"), f"expected {_MOST_FIELDS} fields at most, got {len(signed)}")
    for index, name in enumerate(dkim.oversign):
        if _is_field(name) and name.lower() not in signed:
            place = ("dkim", "oversign", f"[{index}]")
            yield Problem(place, f"expected one of header_fields or additional_header_fields, got {shown(name)}")
    if dkim.arc and (not is_host(dkim.arc) or dkim.arc.endswith(".")):
        yield Problem(("dkim", "arc"), f"expected a domain in ASCII (xn--...), got {shown(dkim.arc)}")
    if dkim.expire and not dkim.timestamp:
        yield Problem(("dkim", "expire"), "expected timestamp = true beside it")
    if 0 < dkim.expire < _SHORTEST:
        yield Problem(("dkim", "expire"), 'expected "1h" or more, or 0 for ever')


def _is_field(name: str) -> bool:
    """A field name (RFC 5322 2.2) that can stand in `h=`."""
    return 0 < len(name) <= 100 and all(33 <= ord(letter) <= 126 for letter in name) and not set(name) & set(":;=")
