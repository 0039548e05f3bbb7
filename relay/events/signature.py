"""How what is sent to a web server is signed, by Standard Webhooks 1.0 (standardwebhooks.com). Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable

_PREFIX = b"whsec_"


def key_of(secret: bytes) -> bytes:
    """The key that a secret is: base64 behind `whsec_`, else the secret itself. Raises ValueError, whose words don't
    repeat it."""
    if not secret.startswith(_PREFIX):
        return secret
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("expected base64 behind whsec_")
    return key


def headers(keys: Iterable[bytes], id: str, seconds: int, body: bytes) -> dict[str, str]:
    """What goes with a body: its id, the same whenever it is sent, when that is (seconds since the epoch), and a
    signature of all three by each key."""
    signed = b"%s.%d.%s" % (id.encode("ascii"), seconds, body)
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode("ascii") for key in keys]
    fields = {"webhook-id": id, "webhook-timestamp": str(seconds)}
    if signatures:
        fields["webhook-signature"] = " ".join(f"v1,{signature}" for signature in signatures)
    return fields
