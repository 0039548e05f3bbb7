"""The nouns of the journey as frozen values: origin, message, delivery, outcome.

They are msgspec structs in array form, so that the very same value is what the spool
stores and what the data channel carries. New fields go to the end and have a default:
that is what lets a newer version read an older record.
"""

from __future__ import annotations

import enum

import msgspec


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a message came from.

    `transport` is the word for the Received header: SMTP, ESMTP or UTF8SMTP, the latter two with S
    for TLS and A for a login, or HTTP, or LOCAL for mail of the relay's own. `returned`: a stranger brought it, and it
    is only passed on; what it says of itself nobody answers for.
    """

    listener: str
    address: str
    helo: str = ""
    transport: str = "ESMTP"
    host: str = ""
    user: str = ""
    tls: str = ""
    returned: bool = False


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One accepted mail without its body.

    `headers` are the stored header lines, each with its CRLF, without the empty line
    that ends them. The body lies in `chunks` numbered pieces of together `body_size` bytes.
    `created` is in milliseconds since the epoch. `body_hash` is the SHA-256 of the
    relaxed body (RFC 6376 3.4.4), empty when no key may sign the message. `smtputf8`,
    `require_tls`, `ret` and `envid` are the envelope's (see relay.message.envelope), `fbl` is the
    value of X-FBL, `tls` what the header asks of TLS (see relay.message.tls_asked). `tenant` is whose mail it is, ""
    for nobody's; `tags` and `metadata` are what the client finds it by (see relay.message.labels). `later` is when its
    first attempt may be made where that was put off (ms since the epoch), else 0.
    """

    id: str
    sender: str
    origin: Origin
    created: int
    headers: bytes
    body_size: int
    chunks: int
    recipients: int
    eight_bit: bool = False
    message_id: str = ""
    body_hash: bytes = b""
    smtputf8: bool = False
    require_tls: bool = False
    ret: str = ""
    envid: str = ""
    fbl: str = ""
    tls: str = ""
    tenant: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
    later: int = 0

    @property
    def since(self) -> int:
        """From when on it could have been delivered (ms since the epoch)."""
        return self.later or self.created

    @property
    def size(self) -> int:
        """Bytes of header, empty line and body as they were stored."""
        return len(self.headers) + 2 + self.body_size


class Delivery(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One recipient of one message: the unit of scheduling and of result.

    `due` and the times are milliseconds since the epoch. `attempts` counts the failed
    attempts that used up a retry step. `held` names why it is put aside, else "". `notify` and
    `orcpt` are the recipient's (see relay.message.envelope), `flow` says whose it is and how urgent
    (see relay.message.flow). `warned` is when the sender was to be told that it takes long, 0 before.
    """

    id: str
    seq: int
    zone: str
    domain: str
    recipient: str
    due: int
    attempts: int = 0
    first_failure: int = 0
    last_failure: int = 0
    response: str = ""
    category: str = ""
    held: str = ""
    notify: str = ""
    orcpt: str = ""
    flow: str = ""
    warned: int = 0

    @property
    def name(self) -> str:
        """`id.seq`, as it stands in logs, in the API and in Received."""
        return f"{self.id}.{self.seq:03x}"


class Result(enum.StrEnum):
    """How an attempt ended."""

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    BOUNCED = "bounced"
    DROPPED = "dropped"


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one attempt came to.

    `response` is the peer's reply, or our own words when there was none, already cut to a
    bounded length and free of control characters. `category` says whose fault it is:
    "", "network", "dns", "protocol", "reply", "message", "tls", "auth", "ours". `stage` is where the
    conversation ended: connect, banner, ehlo, tls, auth, mail, rcpt, data, body, dot.
    `doubtful` is set when the peer may have taken the message although no reply came,
    so that the next attempt may be a second copy. `tls` is version, cipher and worth of the
    certificate, "" in the clear. `unsigned` tells why a DKIM signature is missing that the message should have had.
    `dsn`: the host was told what the client wants to hear of it, and sees to that (RFC 3461).
    `dialogue` is what was said before a failure (relay.message.dialogue). `return_path` is the sender that the message
    left with, or would have.
    """

    result: Result
    response: str
    code: int = 0
    category: str = ""
    stage: str = ""
    host: str = ""
    host_address: str = ""
    local_address: str = ""
    seconds: float = 0.0
    doubtful: bool = False
    tls: str = ""
    unsigned: str = ""
    dsn: bool = False
    dialogue: str = ""
    return_path: str = ""
