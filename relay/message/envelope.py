"""What a client asks for a message and for each of its recipients, beside the text."""

from __future__ import annotations

import msgspec


class Recipient(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One recipient; `notify` and `orcpt` as RCPT gave them (RFC 3461 4.1, 4.2), "" when it didn't.

    `notify` is NEVER, or a comma-separated list of SUCCESS, FAILURE, DELAY, in upper case. `orcpt`
    is the address type and the address, still in xtext: `rfc822;user@example.com`.
    """

    address: str
    notify: str = ""
    orcpt: str = ""


class Envelope(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """From whom, to whom, and how.

    `sender` "" is the null sender. None for sender or recipients: to be taken from the header
    (From/Sender; To, Cc and Bcc, at most `most` of them). `ret` is "", FULL or HDRS, `envid` still
    in xtext (RFC 3461 4.3, 4.4). `due` is when the first attempt may be made, in ms since the
    epoch, 0 for at once (RFC 4865). `tenant`, `tags` and `metadata` are the client's (see
    relay.message.labels), as far as the way in knows them: a user's tenant and tags of the header come to them.
    """

    sender: str | None = None
    recipients: tuple[Recipient, ...] | None = None
    smtputf8: bool = False
    require_tls: bool = False
    ret: str = ""
    envid: str = ""
    due: int = 0
    most: int = 1000
    tenant: str = ""
    tags: tuple[str, ...] = ()
    metadata: dict[str, str] = {}
