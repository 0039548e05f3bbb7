"""What the API's document says besides what operations declare: what each group is of, and what stands in paths and in
the header of a request."""

from __future__ import annotations

from typing import Any

#: The groups, in their order.
TAGS = {
    "mail": "Hand over mail. What was answered with 200 or 202 is on disk.",
    "queue": "What is in the queue, and why it is there; act on one delivery, or on all that fit.",
    "holds": "Put mail on hold and let it go again.",
    "shaping": "When mail may go, and how: back-offs, warm-up of addresses, and what was decided about them.",
    "suppressions": "Who gets no mail.",
    "events": "What has happened: event by event, counted over time, and handed on.",
    "dkim": "The keys that sign mail.",
    "tls": "What TLS came to, and the reports about it.",
    "state": "How the relay is doing.",
    "health": "For balancers: whether mail can be brought here.",
    "keys": "Who may ask the API: keys, which are SMTP passwords too.",
    "users": "Who hands over mail by a name in the file of users.",
    "tenants": "Organisations that share the relay, each with its own mail, keys and people.",
    "members": "The people of an organisation.",
    "sessions": "Logging in, for pages.",
    "unsubscribe": "For recipients who want no more of some mail.",
    "trials": "Stand-ins for services of your own, to try things out with.",
    "documentation": "This document.",
}

#: What paths leave open: what it is, and an example.
NAMES = {
    "queue_id": ("The id of a message, 18 hex digits", "1a20169d1ea0007acc"),
    "seq": ("Which delivery of the message, three or more hex digits", "001"),
    "name": ("A delivery, `id.seq`, or a message, `id`", "1a20169d1ea0007acc.001"),
    "zone": ("A zone", "default"),
    "kind": ("`deferred`, or any other word", "deferred"),
    "domain": ("A domain", "example.com"),
    "selector": ("The selector of the key", "s1"),
    "id": ("An id, as a list shows it", "6565a0d1b5c4f6a7e8d9c0b1"),
    "sink": ("A sink, as `[sinks.NAME]` has it; `bounces` is that of `bounces.url`", "shop"),
    "user": ("What somebody logs in with", "ann@example.com"),
    "token": ("What stands in the List-Unsubscribe field of the mail", "abc"),
}

#: Fields that say for whom mail is handed over, and that it is the same again.
OF_MAIL = ("Idempotency-Key", "X-Authenticated-User", "X-Originating-IP")
_TEXT = {"type": "string"}
#: Fields of a request's header: what it is, and its schema.
FIELDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Idempotency-Key": (
        "Under one the request is done once; the same again gets the same answer",
        {"type": "string", "pattern": "^[!-~]([ -~]{0,254}[!-~])?$", "minLength": 1, "maxLength": 256},
    ),
    "X-Authenticated-User": ("Whose mail it is; believed of who may `impersonate`", _TEXT),
    "X-Originating-IP": ("From which address it came; believed of who may `impersonate`", _TEXT),
    "Range": ("The part that is wanted, such as `bytes=0-99`", _TEXT),
    "Last-Event-ID": (
        "Go on behind this event, as readers of streams do by themselves",
        {"type": "string", "pattern": "^[0-9]{1,18}$"},
    ),
}
