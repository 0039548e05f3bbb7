"""What mail that came back means for the delivery it is about: an event of it, or nothing. Pure, but for the past."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec.structs

from relay.bounce.diagnosis import Diagnosis
from relay.bounce.returned import Kind, Notice, Returned
from relay.bounce.returnpath import Place, ReturnPaths
from relay.bounce.said import said
from relay.bounce.token import Named
from relay.message.event import Event
from relay.returns.past import Known, Past

#: What a report of each kind is called, the gravest first.
_REPORTED = {"failed": "bounce-returned", "delayed": "delay-returned", "delivered": "receipt-returned"}
#: Events of one delivery: whoever has a token could fill the store of them with more.
MOST = 20
#: Codes that stand for no reply in particular, where none is quoted.
_CODES = {"failed": 599, "delayed": 499}
_LONGEST = 500
_leading_code = re.compile(r"([245][0-9]{2})(?![0-9.])[ -]?", re.ASCII).match


class Meaning(NamedTuple):
    """`event` None: it means nothing, for a reason that `what` has."""

    event: Event | None
    what: str


class Reader:
    """Knows whose return paths they are, what replies mean, and what there was."""

    def __init__(self, paths: ReturnPaths, judge: Callable[[str, int], Diagnosis], past: Past) -> None:
        """`judge` says what a reply means, with the code that it is to have if it has none."""
        self._paths = paths
        self._judge = judge
        self._past = past

    def meaning(self, returned: Returned, place: Place, client: str, now: int) -> Meaning:
        """What a mail that came to this place of ours means. `client` is the address of who brought it, `now` ms since
        the epoch. Raises StoreError."""
        kind = _kind(returned, place)
        if not kind:
            return Meaning(None, returned.kind.value)
        known, by = self._delivery(returned, place)
        if known is None:
            return Meaning(None, "unmatched")
        if known.returned >= MOST:
            return Meaning(None, "repeated")
        event = _event(kind, known, client, now, f"{returned.about}, {by}")
        if returned.kind is Kind.REPORT:
            event = self._reported(event, _notice(returned.notices, known.recipient))
        return Meaning(event, kind)

    def wish(self, delivery: Named, client: str, now: int, by: str) -> Event | None:
        """Its recipient wants no more; None: that has been said often enough. Raises StoreError."""
        known = self._past.delivery(*delivery) or Known(*delivery)
        return None if known.returned >= MOST else _event("unsubscribed", known, client, now, by)

    def _delivery(self, returned: Returned, place: Place) -> tuple[Known | None, str]:
        """Which one it is about, and by what that is known. Only what we signed can name one that is forgotten, and
        of what we haven't signed no id alone is believed."""
        past, original = self._past, returned.original
        if place.delivery is not None:
            return past.delivery(*place.delivery) or Known(*place.delivery), "by the address it came to"
        for text in original.senders:
            named = self._paths.found(text)
            if named is not None:
                return past.delivery(*named) or Known(*named), "by an address in the original"
        for name in original.received:
            id, _, seq = name.partition(".")
            known = past.delivery(id, int(seq, 16))
            # Ids can be guessed: who hasn't seen the mail doesn't know its Message-ID.
            if known is not None and known.message_id and known.message_id == original.message_id:
                return known, "by the id in Received of the original"
        if original.message_id and original.recipient:
            return past.sent(original.message_id, original.recipient), "by Message-ID and recipient of the original"
        return None, ""

    def _reported(self, event: Event, notice: Notice) -> Event:
        reply, code, diagnosis = notice.reply, 0, None
        if notice.action != "delivered":
            reply = _with_status(notice)
            diagnosis = self._judge(reply or notice.status, _CODES[notice.action])
            code = said(reply).code
        return msgspec.structs.replace(
            event,
            host=notice.host[:255],
            code=code,
            status=notice.status or ("" if diagnosis is None else diagnosis.status),
            reply=reply[:_LONGEST],
            category="" if diagnosis is None else diagnosis.category,
            action="" if diagnosis is None else diagnosis.action,
            fault="" if diagnosis is None else diagnosis.fault,
        )


def _event(kind: str, known: Known, client: str, now: int, reason: str) -> Event:
    return Event(
        kind,
        now,
        known.id,
        known.seq,
        known.zone,
        known.sender,
        known.recipient,
        host_address=client,
        user=known.user,
        message_id=known.message_id,
        fbl=known.fbl,
        tenant=known.tenant,
        tags=known.tags,
        reason=reason[:_LONGEST],
    )


def _kind(returned: Returned, place: Place) -> str:
    """What the event is called; "" for none."""
    kind = returned.kind
    if kind is Kind.COMPLAINT:
        return "complaint"
    if kind is Kind.WISH or (place.purpose == "unsubscribe" and kind is not Kind.REPORT):
        return "unsubscribed"
    if kind is Kind.REPORT and place.purpose == "bounces":
        return _REPORTED[min((notice.action for notice in returned.notices), key=list(_REPORTED).index)]
    return ""


def _notice(notices: Sequence[Notice], recipient: str) -> Notice:
    """The gravest, and of those the one that names the recipient."""
    order = list(_REPORTED)
    return min(
        notices,
        key=lambda one: (order.index(one.action), recipient.lower() not in map(str.lower, one.recipients)),
    )


def _with_status(notice: Notice) -> str:
    """What the host said, with the enhanced code where rules look for it."""
    reply = notice.reply.lstrip("#<( ")
    if not notice.status or not reply or said(reply).status:
        return reply
    code = _leading_code(reply)
    return f"{notice.status} {reply}" if code is None else f"{code[1]} {notice.status} {reply[code.end() :]}"
