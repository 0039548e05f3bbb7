"""Reports that follow no standard: who failed by flufl.bounce, and why by the first line that looks like a reply. Pure.

Its expressions were written for mail, not for those who want to keep a machine busy, and while one is matched
nothing else in the process goes on. So only the beginning is shown to it, in short lines.
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
_status = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}", re.ASCII).search

# It tells of each of its steps.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)


def notices(text: bytes, mail: Message) -> tuple[Notice, ...]:
    """What an irregular report says, of which `mail` is what was parsed; none where it is no report."""
    begin = b"\n".join(line[:LONGEST] for line in text[:SHOWN].replace(b"\r\n", b"\n").split(b"\n"))
    try:
        delayed, failed = all_failures(parsed(begin))
    except Exception:  # it has seen mail, but not everything
        return ()
    said: list[tuple[Action, bytes]] = [("failed", one) for one in failed]
    said += [("delayed", one) for one in delayed - failed]
    if not said:
        return ()
    reply = reason(mail)
    found = _status(reply)
    status = "" if found is None else found[0]
    addresses = sorted((action, clean(one.decode("ascii", "replace"), 320)) for action, one in said)
    return tuple(Notice(action, (one,), status, reply) for action, one in addresses[:_MOST])


def reason(mail: Message) -> str:
    """What a host is quoted to have said in the first text of a mail; "" where nothing looks like that."""
    for part in leaves(mail):
        if part.get_content_type() != "text/plain":
            continue
        lines = words(part)[:SHOWN].splitlines()
        for number, line in enumerate(lines):
            found = _reply(line[:LONGEST])
            if found is not None:
                said = [found[1]]
                # It may go on in the next lines.
                for more in lines[number + 1 : number + 4]:
                    if not more.strip() or _reply(more[:LONGEST]) is not None:
                        break
                    said.append(more[:LONGEST])
                return clean(" ".join(said))
        break
    return ""
