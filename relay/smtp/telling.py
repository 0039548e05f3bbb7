"""Whether a host's replies tell by their enhanced codes what they reply to (RFC 2034, 3463 3.2).

With chunks there is no 354 by which a reply too many would be found out; so only those hosts get chunks that have
shown, in a transaction with DATA before, that the codes tell MAIL and RCPT from the rest.
"""

from __future__ import annotations

from relay.smtp import client_states as steps
from relay.smtp.client_states import Step
from relay.smtp.reply import Reply

#: Steps whose success has an enhanced code of its own kind, 2.1.x: it is about an address.
_ADDRESSED = (steps.MAIL, steps.RCPT)
#: And all by whose successes it can be told whether a reply is the one to its step.
_TELLING = (*_ADDRESSED, steps.CHUNK, *steps.ENDS)


class Telling:
    """What one host has shown of it on one connection.

    Attributes:
        shown: they tell, all of them; never before a message was taken.
    """

    __slots__ = ("_failed", "shown")

    def __init__(self) -> None:
        self.shown = self._failed = False

    def fits(self, step: Step, reply: Reply, chunked: bool) -> bool:
        """Whether a success can be that of this step: of those whose codes should tell. Without chunks the 354 has
        told, and it is noted whether the codes would have."""
        if step not in _TELLING:
            return True
        tells = reply.lines[0].startswith("2.1.") == (step in _ADDRESSED)
        if chunked:
            return tells
        if not tells:
            self.shown, self._failed = False, True
        elif step is steps.DOT and not self._failed:
            self.shown = True
        return True
