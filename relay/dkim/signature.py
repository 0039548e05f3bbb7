"""The DKIM-Signature field (RFC 6376 3.5): its tags in their order, folded, and signed."""

from __future__ import annotations

from base64 import b64encode
from functools import lru_cache
from typing import NamedTuple

from relay.dkim.canon import relaxed_field
from relay.dkim.keyfile import Key

#: Lines are folded here (characters), where there is a place for it.
WIDTH = 76
#: Where the hash of a body, which is always as long, will stand.
_GAP = b"\0" * 44
#: The word that is to have that hash.
HASH = f"bh={_GAP.decode('ascii')};"
#: Fields that are kept ready but for hash and signature, a few kilobytes each: from one message of a sender to the next
#: nothing else changes.
_KEPT = 1000


class _Opened(NamedTuple):
    """A field up to `b=`: as it is written, as it is hashed, and how much room is left on its last line."""

    written: bytes
    hashed: bytes
    room: int


def signature(
    key: Key,
    domain: str,
    selector: str,
    names: tuple[str, ...],
    text: bytes,
    body_hash: bytes,
    *,
    canonicalization: str = "relaxed/relaxed",
    made: int = 0,
    expires: int = 0,
) -> bytes:
    """The whole field with its CRLF.

    Args:
        names: what stands in `h=`.
        text: the fields so named, in canonical form.
        body_hash: SHA-256 of the canonical body.
        canonicalization: that of header and body, as in `c=`.
        made: for `t=` (seconds since the epoch); 0 leaves it out.
        expires: for `x=`, the same.
    """
    tags = (
        "v=1;", f"a={key.algorithm};", f"c={canonicalization};", f"d={domain};", "q=dns/txt;", f"s={selector};",
        *((f"t={made};",) if made else ()),
        *((f"x={expires};",) if expires else ()),
        HASH, *header_tag(names),
    )  # fmt: skip
    return sealed(key, "DKIM-Signature", tags, text, canonicalization.startswith("simple"), body_hash)


def sealed(
    key: Key, field: str, words: tuple[str, ...], text: bytes, simple: bool = False, body_hash: bytes = b""
) -> bytes:
    """The field called `field` that has these words, and in `b=` the signature of `text` and of itself without
    that (RFC 6376 3.7). `body_hash` is what the word HASH, if it is among them, has."""
    written, hashed, room = _opened(field, words, simple)
    if body_hash:
        code = b64encode(body_hash)
        written, hashed = written.replace(_GAP, code), hashed.replace(_GAP, code)
    code = b64encode(key.sign(text + hashed))
    pieces = [code[:room], *(code[at : at + WIDTH - 1] for at in range(room, len(code), WIDTH - 1))]
    return written + b"\r\n ".join(pieces) + b"\r\n"


@lru_cache(_KEPT)
def _opened(field: str, words: tuple[str, ...], simple: bool) -> _Opened:
    written = [f"{field}:"]
    for word in words:
        # What follows a colon of h= may begin a line; it is no word of its own.
        glue = "" if word.startswith(":") else " "
        if len(written[-1]) + len(glue) + len(word) <= WIDTH:
            written[-1] += glue + word
        else:
            written.append(f" {word}")
    if len(written[-1]) + len(" b=") > WIDTH:
        written.append(" b=")
    else:
        written[-1] += " b="
    whole = "\r\n".join(written).encode("ascii")
    name, _, value = whole.partition(b":")
    return _Opened(whole, whole if simple else relaxed_field(name.lower(), value), WIDTH - len(written[-1]))


@lru_cache(_KEPT)
def header_tag(names: tuple[str, ...]) -> tuple[str, ...]:
    """`h=` in words between which it may be folded."""
    first, *rest = names
    words = [f"h={first}", *(f":{name}" for name in rest)]
    words[-1] += ";"
    return tuple(words)
