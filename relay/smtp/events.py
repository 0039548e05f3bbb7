"""What a client of the server wants, as values. Those that ask a question say so."""

from __future__ import annotations

import msgspec

from relay.message.address import Address
from relay.smtp.reply import Reply


class MailGiven(msgspec.Struct, frozen=True, gc=False):
    """MAIL: asks. `sender` None is the null reverse path; `size` is in bytes, as declared."""

    sender: Address | None
    size: int | None
    eight_bit: bool


class RcptGiven(msgspec.Struct, frozen=True, gc=False):
    """RCPT: asks."""

    address: Address


class DataBegun(msgspec.Struct, frozen=True, gc=False):
    """DATA: asks; `words.GO_AHEAD` lets the text come. No recipient is in it twice."""

    sender: Address | None
    recipients: tuple[Address, ...]


class Text(msgspec.Struct, frozen=True, gc=False):
    """A piece of the text: CRLF line ends, no stuffed dots."""

    data: bytes


class DataEnded(msgspec.Struct, frozen=True, gc=False):
    """The text is complete: asks. When there is a `problem`, that is the answer to give."""

    problem: Reply | None


class Reset(msgspec.Struct, frozen=True, gc=False):
    """The open transaction is forgotten (RSET, or HELO and EHLO once more)."""


class Closing(msgspec.Struct, frozen=True, gc=False):
    """The last event: send what `output` has, then close."""


Question = MailGiven | RcptGiven | DataBegun | DataEnded
Event = Question | Text | Reset | Closing
