"""TLS of a server, as far as a session sees it."""

from __future__ import annotations

from typing import Any, Protocol

from OpenSSL import SSL


class ServerTls(Protocol):
    """TLS of one listener."""

    @property
    def options(self) -> Any:
        """What `startTLS` is to be given."""


def description(transport: Any) -> str:
    """Version and cipher, such as "TLSv1.3 TLS_AES_256_GCM_SHA384"; "" when `transport` is not, or not yet, secure."""
    connection = _connection(transport)
    cipher = None if connection is None else connection.get_cipher_name()
    return "" if connection is None or cipher is None else f"{connection.get_protocol_version_name()} {cipher}"


def certificate_names(transport: Any) -> tuple[str, ...]:
    """The names in the certificate that the client has shown; () without one."""
    return ()


def _connection(transport: Any) -> SSL.Connection | None:
    handle = transport.getHandle() if hasattr(transport, "getHandle") else None
    return handle if isinstance(handle, SSL.Connection) else None
