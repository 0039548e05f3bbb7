"""Reports that follow no standard: who failed by flufl.bounce, and why by the first line that looks like a reply. Pure.

Its expressions were written for mail, not for those who want to keep a machine busy, and while one is matched
nothing else in the process goes on. So only the beginning is shown to it, in short lines, and never two empty ones.
"""

from __future__ import annotations

import logging
import re
from email.message import Message

from flufl.bounce import all_failures

from relay.bounce.mailtext import clean, leaves, parsed, words
from relay.bounce.returned import Action, Notice

#: What it is shown of a text: octets, and octets of each line.
SHOWN, LONGEST = 24 * 1024, 200
#: Recipients that are looked at.
_MOST = 100

_reply = re.compile(
    r"(?:^|[\s:(<\[#])((?:[45][0-9]{2}[ -]#?)?[(\[]?#?[45]\.[0-9]{1,3}\.[0-9]{1,3}\b.*|[45][0-9]{2}[ -].{3,})", re.ASCII
).search
_empty_lines = re.compile(rb"\n[ \t\n]*\n").sub
_status = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}", re.ASCII).search

# It tells of each of its steps.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)


def notices(text: bytes, mail: Message) -> tuple[Notice, ...]:
    """What an irregular report says, of which `mail` is what was parsed; none where it is no report."""
    begin = b"\n".join(line[:LONGEST] for line in text[:SHOWN].replace(b"\r\n", b"\n").split(b"\n"))
    try:
        delayed, failed = all_failures(parsed(_empty_lines(b"\n\n", begin)))
    except Exception:  # it has seen mail, but not everything
        return ()
    said: list[tuple[Action, bytes]] = [("failed", one) for one in failed]
    said += [("delayed", one) for one in delayed - failed]
    addresses = sorted((action, clean(one.decode("ascii", "replace"), 320)) for action, one in said if b"@" in one)
    lines = _lines(mail)
    quoted = reason(mail)
    return tuple(_notice(action, one, quoted or _beside(one, lines)) for action, one in addresses[:_MOST])


def reason(mail: Message) -> str:
    """What a host is quoted to have said in the first text of a mail; "" where nothing looks like that."""
    lines = _lines(mail)
    for number, line in enumerate(lines):
        found = _reply(line)
        if found is not None:
            return _said(found[1], lines[number + 1 :])
    return ""


def _notice(action: Action, address: str, reply: str) -> Notice:
    found = _status(reply)
    return Notice(action, (address,), "" if found is None else found[0], reply)


def _beside(address: str, lines: list[str]) -> str:
    """What stands behind the address that is said to fail, or in the lines below it."""
    for number, line in enumerate(lines):
        _, found, rest = line.partition(address)
        if found:
            return _said(rest.lstrip(">:, "), lines[number + 1 :])
    return ""


def _said(begin: str, lines: list[str]) -> str:
    """A reply, and how it goes on in the next lines."""
    said = [begin]
    for more in lines[:3]:
        if not more.strip() or _reply(more) is not None:
            break
        said.append(more)
    return clean(" ".join(said))


def _lines(mail: Message) -> list[str]:
    for part in leaves(mail):
        if part.get_content_type() == "text/plain":
            return [line[:LONGEST] for line in words(part)[:SHOWN].splitlines()]
    return []
