"""What mail that came back says, as a value. Pure."""

from __future__ import annotations

import enum
from typing import Literal, NamedTuple

#: What became of mail to a recipient (RFC 3464 2.3.3); what has been passed on, or to several, has been delivered.
Action = Literal["failed", "delayed", "delivered"]


class Kind(enum.StrEnum):
    """What a mail is.

    A report says what became of mail; a complaint, that somebody takes it for spam; a wish, that somebody wants no
    more; an answer came by itself; and of all else nobody knows.
    """

    REPORT = "report"
    COMPLAINT = "complaint"
    WISH = "wish"
    ANSWER = "answer"
    UNKNOWN = "unknown"


class Notice(NamedTuple):
    """What a report says of one recipient. `recipients` are the names it has there, the most likely to be ours
    first; `status` is the enhanced code (RFC 3463), `reply` what the host said, `host` who that was; "" is unknown."""

    action: Action
    recipients: tuple[str, ...] = ()
    status: str = ""
    reply: str = ""
    host: str = ""


class Original(NamedTuple):
    """What is left of the mail that it is about. `senders` are return paths and places to unsubscribe at that it
    names, `recipient` is whom it went to, `received` the ids in its Received lines, the newest first."""

    message_id: str = ""
    senders: tuple[str, ...] = ()
    recipient: str = ""
    received: tuple[str, ...] = ()


class Returned(NamedTuple):
    """One mail. `about` says for people what it is; `sender` is its From. All texts are cut and printable."""

    kind: Kind
    notices: tuple[Notice, ...] = ()
    original: Original = Original()
    about: str = ""
    sender: str = ""
