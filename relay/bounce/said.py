"""A reply as rules see it: its code, its enhanced code, and its words on one line. Pure.

What differs from one message to the next reads the same: addresses, IP addresses, ids and long numbers are replaced
by a word for each. So nobody's name of a mailbox can pass for what a host says, and what was found out of one reply
holds for the thousand others like it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Of a reply this much is read (characters).
READ = 1000

#: What stands for something in patterns reads as a blank.
_MARKS = str.maketrans(dict.fromkeys("*#{}|", " "))
_code = re.compile(r"\s*([2-5][0-9]{2})(?![0-9.])[ -]?", re.ASCII).match
_status = re.compile(r"[\s#(\[]{0,4}([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\.?[0-9])[)\]:,;.]{0,3}", re.ASCII).match
#: Where qmail and Cisco's put it.
_status_inside = re.compile(r"#([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\.?[0-9])", re.ASCII).search
# All bounded, and each begins where a word does: none takes longer than the text is.
_particular = re.compile(
    r"""<?(?P<address>(?<![^\s<>()\[\]"',;:@])[^\s<>()\[\]"',;:@]{1,64}@[^\s<>()"',;:@]{1,255})>?"""
    r"|\[?(?P<ip>(?<![0-9a-z.:])(?:ipv6:)?(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![.-]?[0-9a-z])"
    r"|(?:[0-9a-f]{1,4}:){1,6}:[0-9a-f:]{0,30}|(?:[0-9a-f]{1,4}:){5,7}[0-9a-f]{1,4}|::[0-9a-f]{1,4}))\]?"
    r"|(?P<id>(?<![a-z0-9])(?:[0-9]{5,40}|[a-z0-9]{9,80})(?![a-z0-9]))",
    re.ASCII,
).sub
_four_digits = re.compile(r"[0-9][^0-9]{0,80}[0-9][^0-9]{0,80}[0-9][^0-9]{0,80}[0-9]", re.ASCII).search


class Said(NamedTuple):
    """`code` is 0 and `status` "" where there is none; `words` are in lower case, with single blanks."""

    code: int
    status: str
    words: str


def said(text: str, code: int = 0) -> Said:
    """What a host has said. `text` may be anything; its lines may each begin with the code and the enhanced code,
    or have been joined. `code` is for a text that doesn't begin with it."""
    text = text[:READ]
    begins = _code(text)
    if begins is not None:
        text = text[begins.end() :]
        code = code or int(begins[1])
        if "\n" in text:
            text = re.sub(rf"\n\s{{0,9}}{begins[1]}[ -]", "\n", text)
    found = _status(text)
    status = found[1] if found is not None else ""
    if found is not None:
        text = text[found.end() :]
    elif (inside := _status_inside(text)) is not None:
        status = inside[1]
    words = " ".join(text.lower().translate(_MARKS).split())
    if status:
        # A reply of several lines repeats it in each, in the midst of a phrase.
        words = words.replace(f" {status} ", " ")
    return Said(code, status, _particular(_word, words))


def _word(found: re.Match[str]) -> str:
    kind = found.lastgroup
    if kind != "id":
        return f"<{kind}>"
    return "<id>" if found[0].isdigit() or _four_digits(found[0]) else found[0]
