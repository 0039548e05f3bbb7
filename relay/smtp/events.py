"""What a client of the server wants, as values. Those that ask a question say so."""

from __future__ import annotations

import msgspec

from relay.message.address import Address
from relay.smtp.reply import Reply


class MailGiven(msgspec.Struct, frozen=True, gc=False):
    """MAIL: asks. `sender` None is the null reverse path; `size` is in bytes, as declared.

    `ret`, `envid`: RFC 3461 4.3, 4.4, envid still in xtext. `hold` is what FUTURERELEASE asks for,
    in seconds from now (RFC 4865), `hold_until` the other form of it, in seconds since the epoch.
    """

    sender: Address | None
    size: int | None
    eight_bit: bool
    smtputf8: bool = False
    require_tls: bool = False
    ret: str = ""
    envid: str = ""
    hold: int = 0
    hold_until: int = 0


class RcptGiven(msgspec.Struct, frozen=True, gc=False):
    """RCPT: asks. `notify` and `orcpt` as in relay.message.envelope.Recipient."""

    address: Address
    notify: str = ""
    orcpt: str = ""


class DataBegun(msgspec.Struct, frozen=True, gc=False):
    """DATA or the first BDAT: asks; a positive answer lets the text come. No recipient is in it twice."""

    mail: MailGiven
    recipients: tuple[RcptGiven, ...]


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


class AuthBegun(msgspec.Struct, frozen=True, gc=False):
    """AUTH: asks. `initial` is the decoded initial response, None when there is none (RFC 4954 4).

    Besides `answer` it may be given `Server.challenge`; AuthContinued follows that. The answer
    235 ends it, and from then on the session is authenticated.
    """

    mechanism: str
    initial: bytes | None


class AuthContinued(msgspec.Struct, frozen=True, gc=False):
    """The response to a challenge, decoded: asks, as AuthBegun."""

    response: bytes


class AuthCancelled(msgspec.Struct, frozen=True, gc=False):
    """The client gave the login up; the server has answered that already."""


class TlsWanted(msgspec.Struct, frozen=True, gc=False):
    """STARTTLS was answered with 220: send what `output` has, begin TLS, then call `Server.secured`."""


class XclientGiven(msgspec.Struct, frozen=True, gc=False):
    """XCLIENT: asks. Attribute names in upper case, values decoded from xtext; [UNAVAILABLE] and
    [TEMPUNAVAIL] are ""."""

    attributes: dict[str, str]


Question = MailGiven | RcptGiven | DataBegun | DataEnded | AuthBegun | AuthContinued | XclientGiven
Event = Question | Text | Reset | AuthCancelled | TlsWanted | Closing
