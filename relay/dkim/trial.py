"""A trial of a key and its record: a message is signed, and dkimpy verifies it as a receiver would.

What is right by our own reading of the rules may yet be wrong; dkimpy was written by others. It needs PyNaCl for
Ed25519.
"""

from __future__ import annotations

from importlib.util import find_spec

from relay.dkim.canon import RelaxedBody
from relay.dkim.fields import Choice
from relay.dkim.keyfile import Key
from relay.dkim.names import KeyName
from relay.dkim.signature import signature
from relay.message.headers import HeaderBlock

_BODY = b"trial\r\n"


def refusal(key: Key, name: KeyName, record: str) -> str | None:
    """Why a receiver that finds this record would not take a signature of `key`; "" when it would, None when nobody
    here can tell."""
    if key.algorithm.startswith("ed25519") and find_spec("nacl") is None:
        return None
    import dkim  # Half a second, for one command.

    def txt(name: bytes, timeout: int = 5) -> bytes:
        return record.encode("utf-8", "replace")

    block = HeaderBlock(f"From: postmaster@{name.domain}\r\nSubject: trial\r\n".encode("ascii"))
    body = RelaxedBody()
    body.update(_BODY)
    names, text = Choice(("From", "Subject"), ()).of(block)
    field = signature(key, name.domain, name.selector, names, text, body.digest())
    try:
        taken = dkim.DKIM(field + block.raw + b"\r\n" + _BODY).verify(dnsfunc=txt)
    except (dkim.DKIMException, ValueError) as error:
        return str(error) or type(error).__name__
    return "" if taken else "the signature is not valid"
