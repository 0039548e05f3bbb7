"""What a call has to tell of TLS, for reports to the domains that mail goes to (RFC 8460).

A call tells one `TlsResult` for its connection, once TLS was tried or found not to be offered. It tells nothing where
it has no policy to tell it under: in the clear by choice, or to a next hop of our own.
"""

from __future__ import annotations

from relay.message.tls import TlsFailure, TlsPolicy, TlsResult
from relay.smtp.ending import Ending

#: OpenSSL's numbers for what is wrong with a chain (X509_V_ERR_…); any other is a matter of trust.
_WRONG: dict[int, TlsFailure] = {
    10: "certificate-expired",  # CERT_HAS_EXPIRED
    62: "certificate-host-mismatch",  # HOSTNAME_MISMATCH
    64: "certificate-host-mismatch",  # IP_ADDRESS_MISMATCH
}
_CLOSING = 421


def of_certificate(error: int) -> TlsFailure:
    """The kind of failure when a certificate doesn't prove that the host is who it should be. `error` is OpenSSL's
    number for what is wrong with its chain, 0 when that is right and the name is another."""
    return _WRONG.get(error, "certificate-not-trusted") if error else "certificate-host-mismatch"


def of_ending(ending: Ending) -> TlsFailure | None:
    """The kind of failure when a conversation ends before the handshake; None: it says nothing of TLS. A host that
    refuses STARTTLS is one without it, but 421 refuses anything."""
    if ending.stage != "tls":
        return None
    without = ending.category == "tls" or ending.code not in (0, _CLOSING)
    return "starttls-not-supported" if without else "validation-failure"


__all__ = ["TlsFailure", "TlsPolicy", "TlsResult", "of_certificate", "of_ending"]
