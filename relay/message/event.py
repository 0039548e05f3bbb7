"""An event: one step of the way of a message, or of what decides about it, as it is kept and told.

Events are written in the batch of what they tell of, numbered in the order they came to the disk, and kept for a while
(docs/events.md). The fields are a promise to whoever reads them: none changes its meaning, new ones go to the end and
have a default.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from relay.message.queueid import name_of

#: Kinds that tell of the end of a delivery, and of what comes before it.
ENDS = frozenset({"delivered", "bounced", "expired", "dropped", "suppressed", "deleted"})
GOES_ON = frozenset({"deferred", "held", "released", "moved"})
#: What came back for a delivery, mostly after its end; and that it went on to the sender.
RETURNS = frozenset({"complaint", "unsubscribed", "bounce-returned", "delay-returned", "receipt-returned", "sent-on"})
#: What is decided about a way: of a zone, address, site, host.
DECISIONS = frozenset({"decision"})
#: Who has changed something by the API.
CHANGES = frozenset({"audit"})
KINDS = frozenset({"queued", "notified"}) | ENDS | GOES_ON | RETURNS | DECISIONS | CHANGES


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One step. Empty strings and zeros: not known, or doesn't apply.

    `time` and `due` (the next try) are milliseconds since the epoch, `seconds` what the attempt took. `id` and
    `seq` name the delivery; `seq` 0: the whole message. `to` are the first hundred of the `recipients` of a message
    that was queued. `host`, `host_address` and `local_address` are the two ends of the connection, `code`, `status`
    (RFC 3463) and `reply` what was said there, at `stage` of the conversation; `category`, `action` and `fault` what
    the rules make of it. `user` submitted the message, `fbl` is its X-FBL. `reason` is for people. `about` and
    `what` say of a decision what was decided about whom; of a sender who was notified, the queue id of that mail, and
    whether it tells of a "failure", a "delay" or a "success"; of an audit, what was changed and how: `user` has done
    that, from `client`. `unreported` is why nobody is to be told of a bounce
    (relay.bounce.entitled). `tenant` and `tags` are the message's.

    Of a message that was taken: `client` brought it to `listener`, by `transport` (relay.message.values.Origin); its
    name is `client_host`, and `helo` what it called itself. `subject` and `header_from` are what its header says to
    people, the first 200 characters; `body_size` is without the header. Of an attempt: `protocol` is smtp, lmtp or
    http, and `return_path` the sender that it left with, where that was another one. `about` says of who is suppressed
    which address or domain on the list it was.

    All text from outside is cut to a bound and free of control characters.
    """

    kind: str
    time: int
    id: str = ""
    seq: int = 0
    zone: str = ""
    sender: str = ""
    recipient: str = ""
    host: str = ""
    host_address: str = ""
    local_address: str = ""
    code: int = 0
    status: str = ""
    reply: str = ""
    stage: str = ""
    category: str = ""
    action: str = ""
    fault: str = ""
    tls: str = ""
    attempts: int = 0
    seconds: float = 0.0
    due: int = 0
    size: int = 0
    user: str = ""
    message_id: str = ""
    fbl: str = ""
    reason: str = ""
    site: str = ""
    recipients: int = 0
    to: tuple[str, ...] = ()
    about: str = ""
    what: str = ""
    unreported: str = ""
    tenant: str = ""
    tags: tuple[str, ...] = ()
    listener: str = ""
    client: str = ""
    client_host: str = ""
    helo: str = ""
    transport: str = ""
    subject: str = ""
    header_from: str = ""
    body_size: int = 0
    protocol: str = ""
    return_path: str = ""

    @property
    def name(self) -> str:
        """`id.seq` of the delivery, `id` of a message, "" of what is neither."""
        return name_of(self.id, self.seq)


class Numbered(NamedTuple):
    """An event with the number it is kept under: greater ones came later. Numbers may have gaps."""

    number: int
    event: Event
