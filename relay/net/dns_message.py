"""DNS messages: a question as it is sent, and what the answer to it says (RFC 1035, 2308, 6840).

The only place that knows dnspython. Whoever can forge answers can only write what is legal; whatever
is not, or answers something else, doesn't fit, and is as if it had never come.
"""

from __future__ import annotations

import enum
import secrets
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from relay.net.dns_errors import NoSuchDomain, ServerFailure, printable

#: Largest answer asked for over UDP (bytes): what passes everywhere in one piece.
PAYLOAD = 1232
#: Records of one answer that are looked at.
MAX_RECORDS = 100

_NO_NAME = (
    dns.name.LabelTooLong,
    dns.name.NameTooLong,
    dns.name.EmptyLabel,
    dns.name.BadEscape,
    dns.name.IDNAException,
    UnicodeError,
)


class Kind(enum.IntEnum):
    """The types of record that are asked for."""

    A = 1
    CNAME = 5
    MX = 15
    TXT = 16
    AAAA = 28
    TLSA = 52


class Said(NamedTuple):
    """What an answer says.

    Attributes:
        records: their data as text, () when there are none: `preference host` of an MX (`.` for none), the address of
            an A or AAAA, the text of a TXT, the target of a CNAME, `usage selector matching hex` of a TLSA. Names are
            in lower case; whatever in them isn't plain is escaped, so that none can break a line or a log.
        alias: what the name that was asked for stands for, as far as the answer goes; "" when it is no alias.
        exists: there is such a name.
        secure: the name server says that it has validated all of this (AD, RFC 6840 5.8).
        seconds: how long it holds.
    """

    records: tuple[str, ...]
    alias: str
    exists: bool
    secure: bool
    seconds: float


class Question:
    """One question, under an id of its own.

    Attributes:
        wire: what is to be sent.
    """

    __slots__ = ("_query", "_response", "wire")

    def __init__(self, name: str, kind: Kind, validated: bool = False, edns: bool = True) -> None:
        """`validated`: ask to be told whether the answer is. `edns`: in the words of RFC 6891. Raises NoSuchDomain when
        `name` can't be one."""
        try:
            version = 0 if edns else -1
            query = dns.message.make_query(name, kind.name, use_edns=version, payload=PAYLOAD, id=secrets.randbits(16))
        except _NO_NAME:
            raise NoSuchDomain(f"{printable(name)} is no domain name") from None
        if validated:
            # AD in a question asks for AD in the answer, and not for the signatures, as DO would (RFC 6840 5.7).
            query.flags |= dns.flags.AD
        self._query = query
        self._response: dns.message.Message | None = None
        self.wire = query.to_wire()

    def fits(self, data: bytes) -> bool:
        """Whether `data` is an answer: with this id, to this question, well-formed. It is kept then."""
        if data[:2] != self.wire[:2]:
            return False
        try:
            # A truncated answer may end anywhere; it is asked for again.
            response = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
        except Exception:
            # Whatever the parser makes of hostile bytes, they are no answer.
            return False
        if not self._query.is_response(response):
            return False
        self._response = response
        return True

    @property
    def truncated(self) -> bool:
        """The answer didn't fit, and is to be had over TCP."""
        return self._response is not None and bool(self._response.flags & dns.flags.TC)

    @property
    def is_strange(self) -> bool:
        """The name server knows no EDNS, and didn't make out what it was asked (RFC 6891 7)."""
        response = self._response
        if response is None or self._query.edns < 0 or response.edns >= 0:
            return False
        return response.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP)

    @property
    def failure(self) -> str:
        """The code by which the name server says that it can't tell, "" when it can."""
        assert self._response is not None
        code = self._response.rcode()
        return "" if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) else dns.rcode.to_text(code)

    def said(self) -> Said:
        """What the answer says, unless that is a failure. Raises ServerFailure."""
        response = self._response
        assert isinstance(response, dns.message.QueryMessage)
        name = self._query.question[0].name
        shown = name.to_text(omit_final_dot=True)
        try:
            chain = response.resolve_chaining()
        except dns.message.ChainTooLong:
            raise ServerFailure(f"{shown} is an alias of an alias, and so on") from None
        except dns.exception.DNSException as error:
            raise ServerFailure(f"{shown}: {printable(str(error))}") from None
        texts = () if chain.answer is None else map(_text, chain.answer[:MAX_RECORDS])
        return Said(
            tuple(text for text in texts if text),
            "" if chain.canonical_name == name else _host(chain.canonical_name),
            response.rcode() != dns.rcode.NXDOMAIN,
            bool(response.flags & dns.flags.AD),
            chain.minimum_ttl,
        )


def _text(record: dns.rdata.Rdata) -> str:
    """See `Said.records`."""
    if record.rdtype == dns.rdatatype.MX:
        return f"{record.preference} {_host(record.exchange)}"  # type: ignore[attr-defined]
    if record.rdtype == dns.rdatatype.TXT:
        return b"".join(record.strings).decode("ascii", "replace")  # type: ignore[attr-defined]
    if record.rdtype == dns.rdatatype.CNAME:
        return _host(record.target)  # type: ignore[attr-defined]
    if record.rdtype == dns.rdatatype.TLSA:
        return f"{record.usage} {record.selector} {record.mtype} {record.cert.hex()}"  # type: ignore[attr-defined]
    return str(record.address)  # type: ignore[attr-defined]


def _host(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower() or "."
