"""From a draft and an envelope to a message and its deliveries: who, where, when, with which header.

Pure: whatever may be refused here is refused before anything of the message but its chunks is
written, and the same things give the same message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import NamedTuple

from relay.dkim.need import domain_at_a_glance
from relay.intake.heed import Heed, Unwanted
from relay.listener.destination import LOCAL_DESTINATION, is_local
from relay.listener.door import Refused, Terms
from relay.listener.draft import Text
from relay.message import labels, tls_asked
from relay.message.addresslist import recipients_of, sender_of
from relay.message.envelope import Envelope, Recipient
from relay.message.fitting import Fitted, fitted
from relay.message.flow import PRIORITIES, Flow, Priority, flow_text
from relay.message.headers import HeaderBlock
from relay.message.longlines import LineTooLong
from relay.message.trail import Trail, hops
from relay.message.values import Delivery, Message, Origin
from relay.smtp.reply import reply
from relay.zone.routing import ASKED, Mail, Router, Routes

#: A Date so far ahead isn't a clock that is wrong, but a wish (ms).
EARLY = 300_000
#: What the row of a delivery says that waits for its time.
WAITS = "Deferred by router"
#: The header by which a message may say how urgent it is.
URGENT = "X-Sending-Priority"
#: Longest X-Idempotency-Key (characters).
MAX_KEY = 256

LOOP = reply(554, "5.4.6 Error: mail loop, this message has been here before")
LONG_HEADER_LINE = reply(554, "5.6.0 Error: header line too long, and without a blank to fold it at")
BAD_KEY = reply(554, f"5.6.0 Error: X-Idempotency-Key is not one of 1 to {MAX_KEY} printable ASCII characters")


class Composed(NamedTuple):
    """What is to be written. `body` is the last piece of it; `token` stands for the sender's
    X-Idempotency-Key and is b"" where there was none. `unwanted` are recipients that are dropped; where that is so of
    all, there is no delivery, and nothing to write."""

    message: Message
    deliveries: list[Delivery]
    body: bytes
    token: bytes
    unwanted: tuple[Unwanted, ...] = ()


class Composer:
    """Knows what is the same for every message."""

    __slots__ = ("_heed", "_hostname", "_router", "_trail", "_urgency")

    def __init__(
        self,
        router: Router,
        trail: Trail,
        hostname: str,
        heed: Heed,
        urgency: Callable[[str], str] = lambda user: "",
    ) -> None:
        """`heed` knows recipients who get no mail, `urgency` gives the priority of a user's mail, "" where the way in
        decides."""
        self._heed = heed
        self._router = router
        self._urgency = urgency
        self._trail = trail
        self._hostname = hostname

    def compose(
        self,
        queue_id: str,
        envelope: Envelope,
        block: HeaderBlock,
        text: Text,
        origin: Origin,
        terms: Terms,
        now: int,
        *,
        user: str = "",
        zone: str = "",
        tenant: str = "",
    ) -> Composed:
        """The message and its deliveries, as of `now` (ms). `user` is whose message it is, and whose
        X-Idempotency-Keys; `zone` the one that all mail of the user goes through, and `tenant` whose it is, if
        any. Raises Refused."""
        sender, named = _envelope(envelope, block)
        self._check_trail(block, named, terms)
        owner = tenant or envelope.tenant or user
        recipients, unwanted = self._heed.sort_out(owner, named) if terms.heed else (named, ())
        try:
            fit = fitted(
                block,
                sender=sender,
                recipients=named,
                hostname=self._hostname,
                client="" if _is_here(origin.address) or not terms.x_originating_ip else origin.address,
                add=terms.add_missing,
                now=now,
            )
        except LineTooLong:
            raise Refused(LONG_HEADER_LINE) from None
        if origin.returned:
            # What a stranger has written isn't a wish of somebody whose mail this is.
            fit = fit._replace(keys=(), tags=())
        due = _due(envelope, fit, terms, now)
        message = Message(
            queue_id,
            sender,
            origin,
            now,
            fit.header,
            text.body_size,
            text.chunks + bool(text.rest),
            len(recipients),
            text.eight_bit,
            fit.message_id,
            text.body_hash,
            envelope.smtputf8,
            envelope.require_tls,
            envelope.ret,
            envelope.envid,
            fit.fbl,
            _asked_of_tls(fit, envelope, terms),
            tenant or envelope.tenant,
            _tags(fit, envelope),
            envelope.metadata,
            due if due > now else 0,
        )
        if origin.returned:
            # Nor does his header, or his address, choose the way.
            to = routes(self._router, HeaderBlock(b""), sender, "", user, zone, False).to
        else:
            to = routes(self._router, block, sender, origin.address, user, zone, terms.routing_headers).to
        response = WAITS if due > now else ""
        flow = flow_text(Flow(user, self._priority(block, user, terms)))
        deliveries = []
        for seq, recipient in enumerate(recipients, 1):
            address = recipient.address
            domain = address.rpartition("@")[2]
            if is_local(domain):
                raise Refused(LOCAL_DESTINATION)
            deliveries.append(
                Delivery(
                    queue_id,
                    seq,
                    to(domain).zone,
                    domain,
                    address,
                    due,
                    response=response,
                    notify=recipient.notify,
                    orcpt=recipient.orcpt,
                    flow=flow,
                )
            )
        return Composed(message, deliveries, text.rest, _token(fit.keys, user, named) if fit.keys else b"", unwanted)

    def _priority(self, block: HeaderBlock, user: str, terms: Terms) -> Priority:
        """How urgent it is: by its header, where that is believed, else by its user, else by its way in."""
        asked = (block.get(URGENT) or "").strip().lower() if terms.routing_headers else ""
        for priority in (asked, self._urgency(user)):
            if priority in PRIORITIES:
                return PRIORITIES[PRIORITIES.index(priority)]
        return terms.priority

    def _check_trail(self, block: HeaderBlock, recipients: tuple[Recipient, ...], terms: Terms) -> None:
        passed = hops(block)
        if passed > terms.max_hops:
            raise Refused(reply(554, f"5.4.6 Error: too many hops, {passed} Received headers"))
        if passed and self._trail.loops(block, (recipient.address for recipient in recipients)):
            raise Refused(LOOP)


def routes(
    router: Router, block: HeaderBlock, sender: str, client: str, user: str, own: str, believed: bool
) -> Routes:
    """How the deliveries of a message with this header go. `own` is the zone of the user, if there is one;
    `believed` whether X-Sending-Zone is."""
    asked = block.get(ASKED) if believed else None
    from_domain = domain_at_a_glance(block.get("From") or "")
    return router.routes(Mail(block.all, own, asked or "", from_domain, sender.rpartition("@")[2], client, user))


def _envelope(envelope: Envelope, block: HeaderBlock) -> tuple[str, tuple[Recipient, ...]]:
    """Sender and recipients; those that weren't given, from the header."""
    sender, recipients = envelope.sender, envelope.recipients
    try:
        if sender is None:
            sender = sender_of(block).text
        if recipients is None:
            recipients = _once(address.text for address in recipients_of(block, envelope.most))
    except ValueError as error:
        raise Refused(reply(550, f"5.5.2 Error: {error}")) from None
    if not recipients:
        raise Refused(reply(550, "5.5.1 Error: Empty recipients list"))
    return sender, recipients


def _asked_of_tls(fit: Fitted, envelope: Envelope, terms: Terms) -> str:
    """What the message itself asks of TLS. Who says something that nobody understands would rely on it in vain."""
    if not (fit.tls or fit.tls_required):
        return ""
    try:
        return tls_asked.asked(fit.tls if terms.routing_headers else (), fit.tls_required, envelope.require_tls)
    except ValueError as error:
        raise Refused(reply(554, f"5.6.0 Error: {tls_asked.ASKED}: {error}")) from None


def _tags(fit: Fitted, envelope: Envelope) -> tuple[str, ...]:
    """Those of the envelope and those of the header. Who says what is none would look for it in vain."""
    if not fit.tags:
        return envelope.tags
    try:
        return labels.checked_tags((*envelope.tags, *labels.tags_of(fit.tags)))
    except ValueError as error:
        raise Refused(reply(554, f"5.6.0 Error: X-Sending-Tags: {error}")) from None


def _once(recipients: Iterable[str]) -> tuple[Recipient, ...]:
    """Each address once, whatever its case; a later spelling replaces the earlier."""
    return tuple(Recipient(one) for one in {recipient.lower(): recipient for recipient in recipients}.values())


def _due(envelope: Envelope, fit: Fitted, terms: Terms, now: int) -> int:
    """When the first attempt may be made: now, or at the whole second that was asked for
    (what is counted by the second has to be due on one)."""
    asked = envelope.due
    if terms.future_date and fit.date > now + EARLY:
        asked = max(asked, fit.date)
    if asked <= now:
        return now
    return -(-min(asked, now + round(terms.max_future * 1000)) // 1000) * 1000


def _token(given: tuple[str, ...], user: str, recipients: Iterable[Recipient]) -> bytes:
    """What stands for the key of this user and these recipients; of others it is another. Relays on the
    way to us split a message with many of them, and each part has the key."""
    key = given[0]
    if len(given) > 1 or not 1 <= len(key) <= MAX_KEY or not (key.isascii() and key.isprintable()):
        raise Refused(BAD_KEY)
    names = sorted(recipient.address.lower() for recipient in recipients)
    return hashlib.sha256("\0".join((user, key, *names)).encode()).digest()


def _is_here(address: str) -> bool:
    """Whether a client is on this machine, or nobody knows where."""
    return address in ("", "::1") or address.startswith(("127.", "::ffff:127."))
