"""Text of a header as people read it. Pure; never raises."""

from __future__ import annotations

from email.errors import MessageError
from email.header import decode_header, make_header

#: Longest text whose encoded words are decoded (characters): some alphabets take the square of its length.
LONGEST = 2000


def decoded(text: str) -> str:
    """Its encoded words in plain (RFC 2047). As it stands, if they can't be made out or it is longer than LONGEST."""
    if "=?" in text and len(text) <= LONGEST:
        try:
            text = str(make_header(decode_header(text)))
        except (MessageError, ValueError, LookupError):
            pass
    return text.encode("utf-8", "replace").decode()


def shown(text: str, most: int) -> str:
    """Decoded, a blank for each character that can't be seen, and cut to `most` characters."""
    text = decoded(text[:LONGEST])[:most]
    return text if text.isprintable() else "".join(one if one.isprintable() else " " for one in text)
