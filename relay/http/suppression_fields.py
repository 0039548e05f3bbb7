"""What requests say of entries of the list, and how entries are shown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from relay.config import units
from relay.config.plain import shown
from relay.http.answer import iso
from relay.http.fields import text, wrong
from relay.suppression import table, whom
from relay.suppression.entry import SOURCES, Entry, Source, fit_reason

FIELDS = ("address", "domain", "tenant", "reason", "source", "duration", "expires")
FILTERS = ("tenant", "source", "domain")
_MOMENT = 'a moment with its offset such as "2026-12-01T08:00:00Z" or "2026-12-01T09:00+01:00"'
_LATEST = 253402300799999  # the end of the year 9999 (ms)

Keep = Callable[[Entry], bool]


def entry_of(fields: dict[str, object], now: int) -> Entry:
    """What fields of an entry say, at `now` (ms). Raises Problem."""
    for name in fields:
        if name not in FIELDS:
            raise wrong(name, "unknown field; expected one of " + ", ".join(FIELDS))
    given = {name: text(fields, name) for name in FIELDS}
    return Entry(
        about(given),
        tenant_of(given["tenant"]),
        fit_reason(given["reason"]),
        _source(given["source"]) if given["source"] else "manual",
        expires=_expires(given["duration"], given["expires"], now),
    )


def _expires(duration: str, expires: str, now: int) -> int:
    """Milliseconds since the epoch; 0: never. Raises Problem."""
    if duration and expires:
        raise wrong("expires", "expected it or duration, got both")
    if duration:
        try:
            ms = int(units.duration(duration) * 1000)
        except units.UnitError as error:
            raise wrong("duration", f"expected {error}, got {shown(duration)}") from None
        if not ms:
            raise wrong("duration", f"expected a duration above 0, got {shown(duration)}")
        return now + ms
    if not expires:
        return 0
    try:
        moment = datetime.fromisoformat(expires)
        if moment.tzinfo is None:
            raise ValueError
        when = int(moment.timestamp() * 1000)
        if when > _LATEST:
            raise ValueError
    except (ValueError, OverflowError):
        raise wrong("expires", f"expected {_MOMENT}, got {shown(expires)}") from None
    if when <= now:
        raise wrong("expires", f"expected a time to come, got {shown(expires)}")
    return when


def described(entry: Entry) -> dict[str, object]:
    """An entry as the API shows it; `tenant` null: everybody's mail, `expires` null: never."""
    return {
        "id": entry.id,
        "address" if entry.address else "domain": entry.whom,
        "tenant": entry.tenant or None,
        "reason": entry.reason,
        "source": entry.source,
        "created": iso(entry.created),
        "expires": iso(entry.expires) if entry.expires else None,
    }


def about(fields: dict[str, str]) -> str:
    """The address or the domain. Raises Problem."""
    address, domain = fields.get("address", ""), fields.get("domain", "")
    if bool(address) == bool(domain):
        raise wrong("address", "expected either it or domain")
    name, given, made = ("address", address, whom.address) if address else ("domain", domain, whom.domain)
    try:
        return made(given)
    except ValueError as error:
        raise wrong(name, f"{error}, got {shown(given)}") from None


def tenant_of(given: str) -> str:
    """Raises Problem."""
    try:
        return table.tenant_of(given)
    except ValueError as error:
        raise wrong("tenant", str(error).removeprefix("tenant: ")) from None


def _source(given: str) -> Source:
    """Raises Problem."""
    for source in SOURCES:
        if source == given:
            return source
    raise wrong("source", f"expected one of {', '.join(SOURCES)}, got {shown(given)}")


def filter_of(fields: dict[str, str]) -> Keep:
    """Lets pass what the fields name; an empty tenant is everybody. Raises Problem."""
    tenant = tenant_of(fields["tenant"]) if "tenant" in fields else None
    source = _source(fields["source"]) if "source" in fields else None
    domain = about({"domain": fields["domain"]}) if "domain" in fields else None

    def keep(entry: Entry) -> bool:
        return (
            (tenant is None or entry.tenant == tenant)
            and (source is None or entry.source == source)
            and (domain is None or entry.domain == domain)
        )

    return keep
