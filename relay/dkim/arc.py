"""The set that is added to an ARC chain (RFC 8617 5.1)."""

from __future__ import annotations

from relay.dkim.canon import relaxed_field
from relay.dkim.chain import FIELDS, PASS, Chain
from relay.dkim.fields import Choice
from relay.dkim.keyfile import Key
from relay.dkim.names import KeyName
from relay.dkim.signature import HASH, header_tag, sealed
from relay.message.headers import HeaderBlock


def seal(
    key: Key,
    name: KeyName,
    block: HeaderBlock,
    chain: Chain,
    verdict: str,
    body_hash: bytes,
    choice: Choice,
    host: str,
    made: int,
) -> bytes:
    """The next set of a chain, each field with its CRLF, the seal on top.

    Args:
        block: the header as it goes out, our own signatures included.
        verdict: what the chain was worth, PASS or FAIL.
        body_hash: of the body in relaxed form.
        choice: which fields are signed.
        host: who has judged, for ARC-Authentication-Results.
        made: when (seconds since the epoch).
    """
    instance = chain.length + 1
    results = f"ARC-Authentication-Results: i={instance}; {host}; arc={verdict}\r\n".encode("ascii")
    names, text = choice.of(block)
    own = f"d={name.domain};", f"s={name.selector};", f"t={made};"
    words = f"i={instance};", f"a={key.algorithm};", "c=relaxed/relaxed;", *own, HASH, *header_tag(names)
    signature = sealed(key, "ARC-Message-Signature", words, text, body_hash=body_hash)
    # A seal of a chain that has failed covers nothing of it.
    covered = [chain.parts[n, field].relaxed for n in range(1, instance) for field in FIELDS if verdict == PASS]
    for field in (results, signature):
        title, _, value = field.partition(b":")
        covered.append(relaxed_field(title.lower(), value))
    words = f"i={instance};", f"a={key.algorithm};", f"cv={verdict};", *own
    top = sealed(key, "ARC-Seal", words, b"".join(field + b"\r\n" for field in covered))
    return top + signature + results
