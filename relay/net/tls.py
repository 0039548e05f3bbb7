"""TLS of a server: the one place that builds OpenSSL contexts.

Certificates are files, and are read again when they have been replaced: nobody has to restart for
one that was renewed. They are looked at when a client asks for TLS, once a second at most, and
not at all while nobody does. A replacement that can't be used leaves the former one in its place.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from OpenSSL import SSL
from OpenSSL.crypto import X509
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from zope.interface import implementer

from relay.config.schema import Api, Listener
from relay.net import credentials
from relay.net.credentials import Credentials, Stamp, TlsUnusable

__all__ = ["ServerTls", "TlsUnusable", "api_tls", "certificate_names", "description", "server_tls"]

#: How old the knowledge of a file may be (seconds).
LOOK = 1.0
#: After this time a context is made anew, and with it the key of its session tickets (seconds).
#: Whoever gets hold of that key can read what was sent under it by TLS 1.2.
TICKET_KEY_AGE = 12 * 3600.0
#: Certificates of the folder that are kept in memory: about 20 kB each.
MOST_NAMES = 1000

#: Forward secrecy and authenticated encryption, or nothing. TLS 1.3 has no others.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
#: An end without TLS's own farewell is no error: SMTP knows by itself where a message ends. As an
#: error it would keep all that belonged to the connection until the garbage is collected, 60 kB.
_OPTIONS = SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION | SSL.OP_IGNORE_UNEXPECTED_EOF
_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")

_log = Logger()


class Files(Protocol):
    """The files of a server's TLS, as the configuration of listeners describes them; "" for none."""

    @property
    def certificate(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def certificates(self) -> str: ...
    @property
    def client_ca(self) -> str: ...


class _Pair(NamedTuple):
    """One certificate for all."""

    certificate: str
    key: str
    certificates: str = ""
    client_ca: str = ""


def api_tls(section: Api, seconds: Callable[[], float]) -> ServerTls | None:
    """TLS of the API, None where there is no certificate. Raises TlsUnusable."""
    return ServerTls(_Pair(section.certificate, section.key), seconds) if section.certificate else None


def server_tls(section: Listener, seconds: Callable[[], float]) -> ServerTls | None:
    """TLS as a listener of the configuration wants it, None where it is off. Raises TlsUnusable."""
    return None if section.tls == "off" else ServerTls(section, seconds)


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """TLS of one listener, or of the API.

    Attributes:
        client_ca: the file of the authorities that certify clients, "" for none.
    """

    def __init__(self, section: Files, seconds: Callable[[], float]) -> None:
        """Reads the files that `section` names. `seconds` is the clock's.

        Raises:
            TlsUnusable: one of them can't be used.
        """
        self._seconds = seconds
        self._folder = section.certificates
        self.client_ca = section.client_ca
        if self._folder and not os.path.isdir(self._folder):
            raise TlsUnusable("certificates", self._folder, "expected a directory")
        self._default = _Kept(section.certificate, section.key, self)
        self._default.load(seconds())
        self._named: OrderedDict[str, _Kept] = OrderedDict()

    @property
    def options(self) -> ServerTls:
        """What `startTLS` and TLSMemoryBIOFactory are to be given."""
        return self

    @property
    def expires(self) -> datetime:
        """When the listener's own certificate does."""
        return self._default.expires

    def before(self, factory: IProtocolFactory, clock: Any) -> IProtocolFactory:
        """A factory whose protocols speak through TLS alone."""
        behind = TLSMemoryBIOFactory(self, False, factory, clock)
        behind.noisy = False
        return behind

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Twisted asks for the state of a new session."""
        context = self._default.context(self._seconds())
        assert context is not None, "loaded at the start, and kept"
        connection = SSL.Connection(context, None)
        # OpenSSL may call for a name a second time, when another context has taken its place.
        connection.set_app_data(context)
        return connection

    def make(self, shown: Credentials) -> SSL.Context:
        """A context that shows these. Raises SSL.Error, TlsUnusable."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        context.set_cipher_list(_CIPHERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_session_id(b"zonerelay")
        context.use_certificate(shown.chain[0])
        for between in shown.chain[1:]:
            context.add_extra_chain_cert(between)
        context.use_privatekey(shown.key)
        if self.client_ca:
            # Each certificate of a client is to be checked, so no session is taken up again.
            context.set_options(SSL.OP_NO_TICKET)
            store = context.get_cert_store()
            assert store is not None
            for authority in map(X509.from_cryptography, credentials.authorities(self.client_ca)):
                store.add_cert(authority)
                context.add_client_ca(authority)
            context.set_verify(SSL.VERIFY_PEER)
        if self._folder:
            context.set_tlsext_servername_callback(self._client_names)
        return context

    def _client_names(self, connection: SSL.Connection) -> None:
        """A client says whom it wants to reach (RFC 6066 3)."""
        try:
            name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
            context = self._find(name)
        except Exception:  # Nobody above us would log it.
            _log.failure("{folder}: no certificate can be looked for", folder=self._folder)
            return
        if context is not None:
            connection.set_context(context)

    def _find(self, name: str) -> SSL.Context | None:
        """That of the name, or else of all names beside it."""
        if len(name) > 253 or not _NAME.fullmatch(name):
            return None
        stem, now = os.path.join(self._folder, name), self._seconds()
        others = os.path.join(self._folder, "*." + name.partition(".")[2])
        return self._context(stem, now) or self._context(others, now)

    def _context(self, stem: str, now: float) -> SSL.Context | None:
        kept = self._named.get(stem)
        if kept is None:
            if not os.path.isfile(stem + ".pem"):
                return None
            kept = _Kept(stem + ".pem", stem + ".key", self, named=True)
            self._named[stem] = kept
            if len(self._named) > MOST_NAMES:
                self._named.popitem(last=False)
        else:
            self._named.move_to_end(stem)
        context = kept.context(now)
        if kept.gone:
            del self._named[stem]
            return None
        return context


class _Kept:
    """A certificate's files, and the last context that could be made of them.

    Attributes:
        expires: when the certificate in use does.
        gone: it is one of a folder and was taken out of it.
    """

    __slots__ = ("_context", "_files", "_looked", "_made", "_named", "_stamps", "_tls", "expires", "gone")

    def __init__(self, certificate: str, key: str, tls: ServerTls, named: bool = False) -> None:
        """`key` "": it is in the file of the certificate. `named`: one of a folder; there that may be too."""
        self._files = (certificate, key, tls.client_ca)
        self._tls = tls
        self._named = named
        self._context: SSL.Context | None = None
        self._stamps: tuple[Stamp, ...] = ()
        self._looked = self._made = float("-inf")
        self.gone = False
        self.expires: datetime

    def load(self, now: float) -> None:
        """Read the files, whatever is known of them. Raises TlsUnusable."""
        self._looked = self._made = now
        self._stamps = tuple(map(credentials.stamp, self._files))
        certificate, key, _ = self._files
        if not key or (self._named and self._stamps[1] is None):
            key = certificate
        shown = credentials.read(certificate, key)
        try:
            self._context = self._tls.make(shown)
        except SSL.Error as error:
            raise TlsUnusable("certificate", certificate, f"OpenSSL refuses it: {_reason(error)}") from None
        self.expires = shown.chain[0].not_valid_after_utc

    def context(self, now: float) -> SSL.Context | None:
        """The one to use now; None when none could ever be made."""
        if now - self._looked >= LOOK:
            self._looked = now
            there = tuple(map(credentials.stamp, self._files))
            self.gone = self._named and there[0] is None
            replaced = there != self._stamps
            if not self.gone and (replaced or now - self._made >= TICKET_KEY_AGE):
                self._replace(now, replaced)
        return None if self.gone else self._context

    def _replace(self, now: float, replaced: bool) -> None:
        former = self._context
        try:
            self.load(now)
        except TlsUnusable as error:
            then = "it is not used" if former is None else "the former certificate stays in use"
            _log.error("{file}: {reason}; {then}", file=error.file, reason=error.reason, then=then)
        else:
            if replaced and former is not None:
                _log.info("{file}: read again, expires {expires}", file=self._files[0], expires=self.expires)


def description(transport: Any) -> str:
    """Version and cipher, such as "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" when `transport` is not, or not yet, secure."""
    connection = _connection(transport)
    if connection is None:
        return ""
    cipher = connection.get_cipher_name()
    return "" if cipher is None else f"{connection.get_protocol_version_name()} {cipher}"


def certificate_names(transport: Any) -> tuple[str, ...]:
    """The e-mail addresses and host names (else the common name) of the certificate that the client has
    shown; () without one. A handshake with one that isn't the authority's doesn't come to its end."""
    connection = _connection(transport)
    certificate = None if connection is None else connection.get_peer_certificate(as_cryptography=True)
    return () if certificate is None else credentials.names(certificate)


def _connection(transport: Any) -> SSL.Connection | None:
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    return handle if isinstance(handle, SSL.Connection) else None


def _reason(error: SSL.Error) -> str:
    """The words of OpenSSL's queue of errors."""
    queue = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ", ".join(entry[-1] for entry in queue) or "no reason is given"
