"""What TLS came to on one connection to a host, in the words of TLS reports (RFC 8460 4.3)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

#: How a TLS session fails (RFC 8460 4.3.1 to 4.3.2.2).
FAILURES = (
    "starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted",
    "validation-failure", "tlsa-invalid", "dnssec-invalid", "dane-required", "sts-policy-fetch-error",
    "sts-policy-invalid", "sts-webpki-invalid",
)  # fmt: skip
TlsFailure = Literal[
    "starttls-not-supported", "certificate-host-mismatch", "certificate-expired", "certificate-not-trusted",
    "validation-failure", "tlsa-invalid", "dnssec-invalid", "dane-required", "sts-policy-fetch-error",
    "sts-policy-invalid", "sts-webpki-invalid",
]  # fmt: skip

#: The listener that mails with reports say they came by. No table of the configuration can have this name.
REPORTS = "TLS reports"

#: Longest name, text and line of a policy in a result (characters), and most lines of one kind.
LONGEST_NAME = 255
LONGEST_TEXT = 300
MOST_LINES = 20

_Name = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
_Text = Annotated[str, msgspec.Meta(max_length=LONGEST_TEXT)]
_Lines = Annotated[tuple[_Text, ...], msgspec.Meta(max_length=MOST_LINES)]


class TlsPolicy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a domain asks of those who send it mail, as far as a report tells it (RFC 8460 4.4).

    `domain` is the one in recipients' addresses. `strings` are the lines of an MTA-STS policy, or the TLSA records of
    a host, each in presentation form; `mx` the patterns of an MTA-STS policy, or the host of the TLSA records.
    """

    domain: _Name
    type: Literal["sts", "tlsa", "no-policy-found"] = "no-policy-found"
    strings: _Lines = ()
    mx: _Lines = ()


class TlsResult(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One connection under a policy, told once: TLS was agreed on (`failure` is ""), or why not what the policy asks.

    `text` says more of a failure, `mx_host` is the name of the host, `sending` and `receiving` the addresses of
    both ends; "" where nobody was connected.
    """

    policy: TlsPolicy
    failure: TlsFailure | Literal[""] = ""
    text: _Text = ""
    mx_host: _Name = ""
    sending: _Name = ""
    receiving: _Name = ""


def fit(result: TlsResult) -> TlsResult:
    """The same, as long as may be and without control characters: much of it is from strangers."""
    policy = result.policy
    return TlsResult(
        TlsPolicy(
            _line(policy.domain, LONGEST_NAME),
            policy.type,
            tuple(_line(line) for line in policy.strings[:MOST_LINES]),
            tuple(_line(line) for line in policy.mx[:MOST_LINES]),
        ),
        result.failure,
        _line(result.text),
        _line(result.mx_host, LONGEST_NAME),
        _line(result.sending, LONGEST_NAME),
        _line(result.receiving, LONGEST_NAME),
    )


def _line(text: str, longest: int = LONGEST_TEXT) -> str:
    text = text[:longest]
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "?" for letter in text)
