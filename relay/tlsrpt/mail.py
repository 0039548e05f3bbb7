"""The mail that carries a report (RFC 8460 5.3). Pure."""

from __future__ import annotations

import hashlib
from base64 import b64encode

from relay.message.address import Address
from relay.tlsrpt.report import Report

_LINE = 76


def mail_of(report: Report, to: Address, packed: bytes) -> bytes:
    """The whole text with CRLF line ends; Date and Message-ID are added where mail is taken.

    Given again it is known by its X-Idempotency-Key and not taken again. `TLS-Required` asks relays on the way not to
    refuse it over what it tells of (RFC 8689 5).
    """
    author, domain = report.author, report.domain
    boundary = "=_" + hashlib.sha256(report.id.encode()).hexdigest()[:32]
    encoded = b64encode(packed).decode("ascii")
    content = (encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE))
    lines = (
        f"From: <{author.sender}>",
        f"To: <{to.text}>",
        f"Subject: Report Domain: {domain}",
        f" Submitter: {author.domain}",
        f" Report-ID: <{report.id}>",
        f"TLS-Report-Domain: {domain}",
        f"TLS-Report-Submitter: {author.domain}",
        "TLS-Required: No",
        "Auto-Submitted: auto-generated",
        f"X-Idempotency-Key: {report.id[:255]}",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type="tlsrpt"; boundary="{boundary}"',
        "",
        "This is a multipart message in MIME format.",
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
        "",
        f"This is an aggregate TLS report from {author.domain}",
        f"about mail to {domain}.",
        "",
        f"--{boundary}",
        "Content-Type: application/tlsrpt+gzip",
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment; filename="{report.filename}"',
        "",
        *content,
        "",
        f"--{boundary}--",
        "",
    )
    return "\r\n".join(lines).encode("ascii")
