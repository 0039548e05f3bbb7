"""Whether a host's certificate is the one that its TLSA records ask for (RFC 7671 5, RFC 7672 3).

OpenSSL knows all of this, but the Python bindings have no way to it; so it is done after the handshake. What
OpenSSL can be asked for, the way from a certificate to an authority, is asked of OpenSSL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto

from relay.message.tls import TlsFailure
from relay.net.bare_key import BROKEN, has_signed
from relay.net.tlsa import CERTIFICATE, DANE_EE, DANE_TA, FULL, KEY, Record

#: Certificates of a chain that are looked at.
MAX_CHAIN = 20
#: Keys of authorities that aren't shown by which signatures are looked for.
MAX_KEYS = 4


class Dane(NamedTuple):
    """What a host's TLSA records ask of whoever connects.

    Attributes:
        base: the name they stand below (the TLSA base domain, lower case): it is asked for in the handshake.
        names: those of which a certificate has to bear one, where an authority has made it; `base` is the first.
        records: those that can be used. None: TLS is asked for, with any certificate (RFC 7672 2.2).
    """

    base: str
    names: tuple[str, ...]
    records: tuple[Record, ...]


class Doubt(NamedTuple):
    """Why certificates don't fit: in the words of TLS reports, and in ours."""

    failure: TlsFailure
    text: str


_MISMATCH = Doubt("certificate-not-trusted", "its certificate matches none of its TLSA records")
_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED

#: What no certificate fits.
NOTHING = Dane("", (), ())


def distrust(chain: Sequence[bytes], dane: Dane, now: datetime) -> Doubt | None:
    """Why the certificates that a host has shown (DER, its own first) don't fit; None when they do.

    Its own certificate may be matched (DANE-EE): then neither its names nor its dates matter. Or one of the others is,
    or is in a record itself, or one is signed by a key that is (DANE-TA): then everything from there to its own has to
    be valid `now` (UTC), and it names the host.
    """
    if not chain:
        return Doubt("validation-failure", "the host has shown no certificate")
    leaf, others = chain[0], chain[1:MAX_CHAIN]
    if any(record.matches(leaf) for record in dane.records if record.usage == DANE_EE):
        return None
    anchors = set(_anchors(others, dane.records)) - {leaf}
    anchors.update(_signed((leaf, *others), dane.records))
    if not anchors:
        return _MISMATCH
    try:
        return _below(leaf, others, anchors, now) or _misnamed(x509.load_der_x509_certificate(leaf), dane.names)
    except Exception as error:
        # Whatever libraries make of hostile certificates, these prove nothing.
        return Doubt("validation-failure", f"its certificates can't be read: {_plain(error)}")


def _anchors(others: Sequence[bytes], records: Iterable[Record]) -> Iterator[bytes]:
    """The authorities that the records name, as far as they are to be had."""
    for record in records:
        if record.usage == DANE_TA:
            yield from (one for one in others if record.matches(one))
            if record.selector == CERTIFICATE and record.matching == FULL and _readable(record.data):
                yield record.data


def _signed(chain: Sequence[bytes], records: Iterable[Record]) -> Iterator[bytes]:
    """Those certificates that are signed by an authority of which a record has the whole key: it need not be shown
    (RFC 7671 5.2.3)."""
    keys = [one.data for one in records if (one.usage, one.selector, one.matching) == (DANE_TA, KEY, FULL)]
    for key in keys[:MAX_KEYS]:
        yield from (one for one in chain if has_signed(key, one))


def _below(leaf: bytes, others: Sequence[bytes], anchors: Iterable[bytes], now: datetime) -> Doubt | None:
    """Why no valid chain leads from the host's certificate to one of `anchors`; None when one does."""
    store = crypto.X509Store()
    # An authority that is itself below another one is the end, too.
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    store.set_time(now)
    for anchor in anchors:
        store.add_cert(_load(anchor))
    context = crypto.X509StoreContext(store, _load(leaf), [_load(one) for one in others])
    try:
        found = context.get_verified_chain()
    except crypto.X509StoreContextError as error:
        failure: TlsFailure = "certificate-expired" if error.errors[0] == _EXPIRED else "certificate-not-trusted"
        return Doubt(failure, f"its certificate does not lead to the authority of its TLSA records: {_plain(error)}")
    chain = [one.to_cryptography() for one in found]
    if any(isinstance(one.signature_hash_algorithm, BROKEN) for one in chain[:-1]):
        return Doubt("certificate-not-trusted", "its certificate is signed by a hash that is broken")
    if not all(_for_servers(one) for one in chain):
        return Doubt("certificate-not-trusted", "its certificate is not made for servers")
    return None


def _readable(certificate: bytes) -> bool:
    try:
        _load(certificate)
    except crypto.Error:
        return False
    return True


def _load(certificate: bytes) -> crypto.X509:
    return crypto.load_certificate(crypto.FILETYPE_ASN1, certificate)


def _for_servers(certificate: x509.Certificate) -> bool:
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in uses or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in uses


def _misnamed(certificate: x509.Certificate, names: Sequence[str]) -> Doubt | None:
    """Why the certificate isn't made out to one of `names`, None when it is. Its common name counts where no host is
    among its other names (RFC 7672 3.2.3)."""
    try:
        stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        presented = stated.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        presented = []
    if not presented:
        presented = [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if any(_is_named(one.lower(), name.lower()) for one in presented for name in names):
        return None
    return Doubt("certificate-host-mismatch", f"its certificate is for another host than {names[0]}")


def _is_named(presented: str, name: str) -> bool:
    """Whether the name in a certificate is this one; a `*` stands for one whole label, the first, and never for all
    that is in a top-level domain."""
    presented, name = presented.rstrip("."), name.rstrip(".")
    if presented.startswith("*."):
        presented, name = presented[2:], name.partition(".")[2]
        if "." not in name:
            return False
    return bool(name) and presented == name


def _plain(error: Exception) -> str:
    text = str(error)[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in text)
