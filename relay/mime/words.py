"""Encoded words (RFC 2047): text beyond ASCII where only ASCII may stand. Pure.

They are for text that people read: unstructured fields and the names of mailboxes. In a structured field, a URL of
List-Unsubscribe say, a program would take them for what they look like.
"""

from __future__ import annotations

import re
from binascii import b2a_base64

#: Longest encoded word, and longest line with one (RFC 2047 2).
LONGEST = 75
_AROUND = len("=?utf-8?q?") + len("?=")
#: A name of a field that leaves less room than this has a longer line.
_MOST_TAKEN = 40

#: What stands for itself in a name, where the fewest may (RFC 2047 5).
_plain = re.compile(rb"[A-Za-z0-9!*+/-]").fullmatch
_letters = re.compile(r"[A-Za-z0-9 ]").findall
_Q = [bytes((octet,)).decode() if _plain(bytes((octet,))) else f"={octet:02X}" for octet in range(256)]
_Q[ord(" ")] = "_"


def encoded(text: str, taken: int = 0) -> str:
    """`text` in encoded words with one blank between them, which readers leave out. Before the first one so many
    characters of its line are `taken`."""
    room = LONGEST - _AROUND - min(taken, _MOST_TAKEN)
    by_letter = 2 * len(_letters(text)) >= len(text)
    words: list[str] = []
    piece: list[str] = []
    octets = b""
    size = 0
    for letter in text:
        more = letter.encode()
        shown = "".join(_Q[octet] for octet in more) if by_letter else ""
        # Four characters for three octets, whole groups.
        needed = size + len(shown) if by_letter else -(-(len(octets) + len(more)) // 3) * 4
        if needed > room:
            words.append(_word(by_letter, piece, octets))
            piece, octets, size, room = [], b"", 0, LONGEST - _AROUND
        piece.append(shown)
        octets += more
        size += len(shown)
    words.append(_word(by_letter, piece, octets))
    return " ".join(words)


def _word(by_letter: bool, piece: list[str], octets: bytes) -> str:
    if by_letter:
        return f"=?utf-8?q?{''.join(piece)}?="
    return f"=?utf-8?b?{b2a_base64(octets, newline=False).decode()}?="
