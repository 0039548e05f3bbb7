"""What the API's endpoint needs, that keys and passwords can't be read on the way."""

from __future__ import annotations

from collections.abc import Iterator

from relay.config import endpoints
from relay.config.plain import shown
from relay.config.schema import Config
from relay.config.shape import Problem

#: Twisted's own TLS, whose files are in the endpoint.
_SECURE = ("ssl", "tls")


def problems(config: Config) -> Iterator[Problem]:
    """What is missing, or there in vain."""
    api = config.api
    if api.key and not api.certificate:
        yield Problem(("api", "certificate"), "expected the file of a certificate, for there is a key")
    if api.certificate and _kind(api.endpoint) in _SECURE:
        yield Problem(("api", "certificate"), f"expected none with the endpoint {shown(api.endpoint)}: it has its own")


def warnings(config: Config) -> Iterator[Problem]:
    """What may be meant, but is seldom."""
    api = config.api
    endpoint = endpoints.read(api.endpoint)
    if endpoint.local or api.certificate or endpoint.kind not in ("tcp", "tcp6"):
        return
    if api.insecure_auth:
        yield Problem(("api", "insecure_auth"), "keys and passwords can be read on the way")
    else:
        expected = "expected certificate, or insecure_auth = true where a balancer takes TLS off"
        yield Problem(("api", "endpoint"), f"from outside no key is taken without TLS: {expected}")


def _kind(text: str) -> str:
    try:
        return endpoints.read(text).kind
    except ValueError:
        return ""  # said where all endpoints are looked at
