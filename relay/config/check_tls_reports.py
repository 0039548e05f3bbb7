"""What [tls_reports] must say: who reports, in a form that others can read (RFC 8460 4.4, 5.3)."""

from __future__ import annotations

from collections.abc import Iterator

from relay.config.names import is_host
from relay.config.plain import shown
from relay.config.schema import Config
from relay.config.shape import Problem
from relay.message.address import parse

_LONGEST = 200


def problems(config: Config) -> Iterator[Problem]:
    """All that is wrong with the section."""
    section = config.tls_reports
    for key, other in (("organization", "sender"), ("sender", "organization")):
        if getattr(section, other) and not getattr(section, key):
            yield Problem(("tls_reports", key), f'expected it beside {other}, got ""')
    for key in ("contact", "domain"):
        if getattr(section, key) and not (section.organization or section.sender):
            yield Problem(("tls_reports", key), "expected organization and sender beside it")
    for key in ("organization", "contact"):
        if len(getattr(section, key)) > _LONGEST:
            yield Problem(("tls_reports", key), f"expected {_LONGEST} characters at most")
    if section.sender and not _is_mailbox(section.sender):
        place = ("tls_reports", "sender")
        yield Problem(place, f'expected an address such as "tls-reports@example.com", got {shown(section.sender)}')
    if section.domain and (not is_host(section.domain) or section.domain.endswith(".")):
        yield Problem(("tls_reports", "domain"), f"expected a domain in ASCII (xn--...), got {shown(section.domain)}")


def _is_mailbox(text: str) -> bool:
    """An address of a domain, as it can stand in From by itself."""
    try:
        address = parse(text)
    except ValueError:
        return False
    return is_host(address.domain)
