"""What a session tells, and asks, while it works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from relay.channel.frames import Addressee, Offer
from relay.message.tls import TlsResult
from relay.message.values import Outcome

if TYPE_CHECKING:
    from relay.delivery.session import Session


#: Whom it was for, and how it went.
Outcomes = Sequence[tuple[Addressee, Outcome]]


class Watcher(Protocol):
    """Whom a session works for. None of these may raise."""

    def answered(self, session: Session) -> None:
        """A new connection is ready for MAIL and waits for `go`. It can come again in one
        attempt: when a kept connection turned out dead, or the peer left while it waited."""

    def redial(self, session: Session) -> None:
        """It wants to call a host, and not the first, or not soon after the offer: it waits for `dial`."""

    def quiet(self, session: Session) -> None:
        """The peer has let us wait for half a second; the session goes on waiting."""

    def active(self, session: Session) -> None:
        """The peer of a quiet session has done what it was waited for."""

    def tls(self, result: TlsResult) -> None:
        """What TLS came to on a connection that was made for an offer, or why none could be made as safe as it has to
        be; once for each."""

    def accepted(self, session: Session, offer: Offer, outcomes: Outcomes) -> None:
        """The host has taken the message for these: to be written down before anything else."""

    def left(self, session: Session, behind: Sequence[Addressee], apart: bool = False) -> None:
        """The message goes without these, in the order of the offer: nothing was tried for them in vain. `apart`: their
        domains can't share this connection with that of the first."""

    def done(self, session: Session, offer: Offer, outcomes: Outcomes, kept: bool) -> None:
        """The attempt ended, for each that wasn't left behind, the first whom it was for first. `kept`: the
        connection stays, idle; else `closed` follows, and the session is over."""

    def closed(self, session: Session) -> None:
        """There is no connection any more: an idle one is gone, or one that was not kept, or there
        was none. Or a session that was aborted in its dot is through."""

    def may_end(self) -> bool:
        """Whether the final dot may be sent now. False holds it until `resume`."""

    def chunk(self, offer: Offer, number: int) -> Deferred[bytes]:
        """A chunk, numbered from 0, of a body that didn't come with its offer."""
