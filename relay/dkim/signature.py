"""The DKIM-Signature field (RFC 6376 3.5): its tags in their order, folded, and signed."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable

from relay.dkim.canon import relaxed_field
from relay.dkim.keyfile import Key

#: Lines are folded here (characters), where there is a place for it.
WIDTH = 76


def signature(
    key: Key,
    domain: str,
    selector: str,
    names: Iterable[str],
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
    tags = [
        "v=1;", f"a={key.algorithm};", f"c={canonicalization};", f"d={domain};", "q=dns/txt;", f"s={selector};",
        *([f"t={made};"] if made else ()),
        *([f"x={expires};"] if expires else ()),
        f"bh={b64encode(body_hash).decode('ascii')};",
    ]  # fmt: skip
    return sealed(key, "DKIM-Signature", [*tags, *header_tag(names)], text, canonicalization.startswith("simple"))


def sealed(key: Key, field: str, words: Iterable[str], text: bytes, simple: bool = False) -> bytes:
    """The field called `field` that has these words, and in `b=` the signature of `text` and of itself without
    that (RFC 6376 3.7)."""
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
    open_field = "\r\n".join(written).encode("ascii")
    name, _, value = open_field.partition(b":")
    own = open_field if simple else relaxed_field(name.lower(), value)
    code = b64encode(key.sign(text + own)).decode("ascii")
    room = WIDTH - len(written[-1])
    pieces = [code[:room], *(code[at : at + WIDTH - 1] for at in range(room, len(code), WIDTH - 1))]
    return open_field + "\r\n ".join(pieces).encode("ascii") + b"\r\n"


def header_tag(names: Iterable[str]) -> list[str]:
    """`h=` in words between which it may be folded."""
    first, *rest = names
    words = [f"h={first}", *(f":{name}" for name in rest)]
    words[-1] += ";"
    return words
