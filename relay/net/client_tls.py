"""TLS of a client: contexts that ask hosts for their certificates, and what these are worth.

A mail exchanger's certificate proves something only to those who want it proven: the handshake takes any, and
says afterwards what was wrong with it. Whoever has to be sure looks at that.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

from OpenSSL import SSL
from OpenSSL.crypto import FILETYPE_ASN1, X509, X509StoreContext, X509StoreContextError, dump_certificate
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from relay.net import credentials, dane
from relay.net.credentials import TlsUnusable

#: Old servers can't do without what OpenSSL has switched off by itself (RFC 7435: better than nothing).
_ANY = b"DEFAULT:@SECLEVEL=0"
#: OpenSSL's number for a certificate of somebody who is no server (X509_V_ERR_INVALID_PURPOSE).
_PURPOSE = 26
#: An end without TLS's own farewell is no error: SMTP knows by itself where a message ends.
_OPTIONS = SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_IGNORE_UNEXPECTED_EOF


def check_authorities(path: str) -> None:
    """Raises TlsUnusable when the file of authorities, if one is named, can't be used."""
    if path:
        credentials.authorities(path, "tls.authorities")


class ClientTls:
    """The contexts of a process; each is made when it is first wanted, and serves all connections."""

    def __init__(self, authorities: str = "") -> None:
        """`authorities` is a PEM file of those whose certificates are trusted, "" for the system's."""
        self._authorities = authorities
        self._contexts: dict[bool, SSL.Context] = {}

    def to(self, host: str, permissive: bool = False) -> Handshake:
        """For one connection to a host, by its name or address. `permissive` also speaks what is broken by now,
        TLS 1.0 and weak ciphers among it: encryption that somebody may undo, where there would be none.

        Raises:
            TlsUnusable: the file of authorities.
        """
        context = self._contexts.get(permissive)
        if context is None:
            context = self._contexts[permissive] = self._make(permissive)
        return Handshake(context, host)

    def _make(self, permissive: bool) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_options(_OPTIONS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if permissive:
            context.set_min_proto_version(SSL.TLS1_VERSION)
            context.set_cipher_list(_ANY)
            context.set_options(SSL.OP_LEGACY_SERVER_CONNECT)
        else:
            context.set_min_proto_version(SSL.TLS1_2_VERSION)
        if self._authorities:
            store = context.get_cert_store()
            assert store is not None
            for authority in credentials.authorities(self._authorities, "tls.authorities"):
                store.add_cert(X509.from_cryptography(authority))
        else:
            context.set_default_verify_paths()
        context.set_verify(SSL.VERIFY_PEER, _take_note)
        return context


#: What OpenSSL has found wrong first with the chain of each connection, by its number.
_errors: WeakKeyDictionary[SSL.Connection, int] = WeakKeyDictionary()


def _take_note(connection: SSL.Connection, certificate: X509, error: int, depth: int, fine: int) -> bool:
    """OpenSSL's opinion of each certificate of the chain. The handshake goes on, whatever it is."""
    if not fine:
        _errors.setdefault(connection, error)
    return True


@implementer(IOpenSSLClientConnectionCreator)
class Handshake:
    """What `startTLS` is to be given for one connection, and what came of it."""

    def __init__(self, context: SSL.Context, host: str) -> None:
        self._context = context
        self._host = host.rstrip(".")
        self._connection: SSL.Connection | None = None

    def clientConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Twisted asks for the state of a new session."""
        connection = self._connection = SSL.Connection(self._context, None)
        if not _is_address(self._host):
            connection.set_tlsext_host_name(self._host.encode("idna" if not self._host.isascii() else "ascii"))
        return connection

    @property
    def error(self) -> int:
        """The number of what OpenSSL finds wrong with the host's chain of certificates, 0 for nothing."""
        return 0 if self._connection is None else _errors.get(self._connection, 0)

    def description(self) -> str:
        """Version and cipher, such as "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" before the handshake is done."""
        connection = self._connection
        cipher = None if connection is None else connection.get_cipher_name()
        return "" if connection is None or cipher is None else f"{connection.get_protocol_version_name()} {cipher}"

    def distrust(self) -> str:
        """Why the host's certificate doesn't prove that it is the host: "" when it does (RFC 6125, 5280).

        The chain has to lead to an authority that is trusted, and the certificate to name the host, all of it
        valid today.
        """
        assert self._connection is not None, "asked after the handshake"
        certificate = self._connection.get_peer_certificate()
        if certificate is None:
            return "the host has shown no certificate"
        if self.error:
            return f"the certificate is not trusted: {self._words(certificate)}"
        return _misnamed(self._connection, self._host)

    def mismatch(self, records: dane.Dane) -> dane.Doubt | None:
        """Why the certificates that the host has shown aren't those its TLSA records ask for; None when they are."""
        assert self._connection is not None, "asked after the handshake"
        shown = self._connection.get_peer_cert_chain() or []
        return dane.distrust([dump_certificate(FILETYPE_ASN1, one) for one in shown], records, datetime.now(UTC))

    def _words(self, certificate: X509) -> str:
        """What is wrong with the chain; OpenSSL has words for it only when it is asked once more."""
        store = self._context.get_cert_store()
        assert store is not None and self._connection is not None
        try:
            X509StoreContext(store, certificate, self._connection.get_peer_cert_chain()).verify_certificate()
        except X509StoreContextError as error:
            return str(error)
        return "it is not made for servers" if self.error == _PURPOSE else f"error {self.error} of OpenSSL"


def _misnamed(connection: SSL.Connection, host: str) -> str:
    """Why the certificate isn't the host's, "" when it is."""
    # Only who has to be sure pays for these: they take a quarter of a megabyte and a moment.
    from service_identity import CertificateError, VerificationError
    from service_identity.pyopenssl import verify_hostname, verify_ip_address

    verify: Any = verify_ip_address if _is_address(host) else verify_hostname
    try:
        verify(connection, host)
    except VerificationError:
        return f"the certificate is for another host than {host}"
    except CertificateError as error:
        return f"the certificate names nobody: {error}"
    except Exception:
        # Whatever libraries make of a hostile certificate, it proves nothing.
        return "the certificate can't be read"
    return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]").removeprefix("IPv6:"))
    except ValueError:
        return False
    return True


__all__ = ["ClientTls", "Handshake", "TlsUnusable", "check_authorities"]
