"""The recipients of one transaction of the client's, and what the host has said of each."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping

from relay.message.values import Result
from relay.smtp.ending import Ending
from relay.smtp.reply import Reply

_status = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}\b").match
_too_many = re.compile(r"\btoo many recipients\b", re.IGNORECASE).search


class Roll:
    """See the module. They are called by their places in the order in which they were given.

    Attributes:
        apart: those that fare otherwise than the transaction as a whole.
        taken: of these, those whom the host has taken the message for.
        heard: it has refused at least one.
        cut_short: at least one is postponed.
    """

    __slots__ = ("_accepted", "_asked", "apart", "cut_short", "heard", "taken")

    def __init__(self, asked: Iterable[int] = (), apart: Mapping[int, Ending] | None = None) -> None:
        """`asked` are those that RCPT is said for; the others stand apart from the beginning."""
        self._asked = deque(asked)
        self._accepted: deque[int] = deque()
        self.apart: dict[int, Ending] = dict(apart) if apart else {}
        self.taken: dict[int, Ending] = {}
        self.heard = self.cut_short = False

    @property
    def accepted(self) -> int:
        """For how many the message goes on."""
        return len(self._accepted)

    @property
    def lost(self) -> bool:
        """All have been asked for, and none was accepted."""
        return not self._asked and not self._accepted

    def accept(self) -> None:
        """RCPT: yes."""
        self._accepted.append(self._asked.popleft())

    def refuse(self, reply: Reply) -> None:
        """RCPT: no. When none is left this is what the transaction ends with, so that it isn't noted here."""
        place = self._asked.popleft()
        self.heard = True
        if not self.lost:
            postponed = bool(self._accepted) and _has_enough(reply)
            self.cut_short |= postponed
            self.apart[place] = refused("rcpt", reply, postponed)

    def dot(self, reply: Reply) -> bool:
        """What became of the next one, where each has a reply to the dot (RFC 2033 4.2). False: it is the last one,
        so that the transaction ends with it."""
        place = self._accepted.popleft()
        if not self._accepted:
            return False
        if reply.code < 400:
            self.apart[place] = self.taken[place] = Ending(Result.DELIVERED, "dot", str(reply), reply.code)
        else:
            self.apart[place] = refused("dot", reply)
        return True


def refused(stage: str, reply: Reply, postponed: bool = False) -> Ending:
    """What a reply that refuses comes to."""
    result = Result.BOUNCED if reply.permanent and not postponed else Result.DEFERRED
    return Ending(result, stage, str(reply), reply.code, "reply", postponed=postponed)


def _has_enough(reply: Reply) -> bool:
    """Whether a host that has accepted others takes no more in this transaction (RFC 5321 4.5.3.1.10, RFC 3463 3.6).
    What has a status of its own, such as a mailbox that is full, is the recipient's."""
    found = _status(reply.lines[0])
    if found is not None:
        return found[0].endswith(".5.3")
    return reply.code == 452 or (reply.code == 552 and _too_many(reply.text) is not None)
