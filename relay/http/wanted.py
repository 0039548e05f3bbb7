"""Which deliveries a client means: the fields by which it says so, in a query or a body, and the filter they make."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from relay.access.caller import Caller
from relay.config import units
from relay.config.plain import shown
from relay.http.fields import wrong
from relay.http.theirs import anothers
from relay.message.address import parse
from relay.message.queueid import is_queue_id
from relay.queue.filter import FAR, Filter, State

#: On one line.
LINE = r"^[^\x00-\x1f\x7f]*(?!\n)$"
Text = Annotated[str, Meta(max_length=1000, pattern=LINE)]
_Address = Annotated[
    Text, Meta(description='An address, or "@example.com" for all of a domain', examples=["@example.com"])
]
_Age = Annotated[Text, Meta(description="A duration such as 4h", examples=["4h"])]


class Wanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which deliveries: those that all that is named fits. But for the tenant it is compared in any case."""

    zone: Text = ""
    domain: Annotated[Text, Meta(description="Of the recipient")] = ""
    site: Annotated[Text, Meta(description="As far as the sites of domains are known")] = ""
    sender: Annotated[_Address, Meta(description='As recipient; "<>" is the null sender')] = ""
    recipient: _Address = ""
    tenant: Text = ""
    tag: Text = ""
    message_id: Text = ""
    state: State | UnsetType = UNSET
    reason: Annotated[Text, Meta(description="The category of the last failure", examples=["capacity"])] = ""
    id: Annotated[Text, Meta(description="The queue id of a message")] = ""
    older: Annotated[_Age, Meta(description="It came in so long ago, or longer")] = ""
    younger: Annotated[_Age, Meta(description="It came in so long ago, or later")] = ""


def filter_of(wanted: Wanted, caller: Caller, now: int) -> Filter:
    """The filter, as of `now` (ms), for what this caller may see. Raises Problem."""
    if caller.tenant and wanted.tenant not in ("", caller.tenant):
        raise anothers("tenant", wanted.tenant)
    if wanted.id and not is_queue_id(wanted.id):
        raise wrong("id", f"expected a queue id, 18 hex digits, got {shown(wanted.id)}")
    older, younger = _age(wanted.older, "older"), _age(wanted.younger, "younger")
    return Filter(
        zone=wanted.zone,
        domain=_domain(wanted.domain, "domain") if wanted.domain else "",
        site=wanted.site,
        sender="" if wanted.sender == "<>" else _address(wanted.sender, "sender") or None,
        recipient=_address(wanted.recipient, "recipient"),
        tenant=caller.tenant or wanted.tenant,
        tag=wanted.tag,
        message_id=wanted.message_id or None,
        state=None if wanted.state is UNSET else wanted.state,
        reason=wanted.reason,
        id=wanted.id,
        since=0 if younger is None else max(0, now - younger),
        until=FAR if older is None else max(0, now - older),
    )


def _address(text: str, field: str) -> str:
    """An address as it is; a domain in the form in which it is compared."""
    return f"@{_domain(text[1:], field)}" if text.startswith("@") else text


def _domain(text: str, field: str) -> str:
    try:
        return parse(f"x@{text}").domain
    except ValueError:
        raise wrong(field, f"expected a domain, got {shown(text)}") from None


def _age(text: str, field: str) -> int | None:
    """Milliseconds."""
    if not text:
        return None
    try:
        return round(units.duration(text) * 1000)
    except units.UnitError as error:
        raise wrong(field, f"expected {error}, got {shown(text)}") from None
