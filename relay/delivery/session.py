"""One outgoing connection as the master numbers it: attempt after attempt, host after host.

A session turns an offer into an outcome for each whom it is for. It gets to a host that is ready for mail
(`dialling`), waits for leave to begin on a new connection, and has the message carried over. `sweep`, called from
outside every half second or so, is all the clock it has. That its connection is gone is told last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from relay.channel.frames import Offer
from relay.config.schema import Timeouts
from relay.delivery.attempt import Attempt
from relay.delivery.avoided import Avoided
from relay.delivery.call import Call
from relay.delivery.company import PATIENCE, Also, Company
from relay.delivery.contact import Contact, MakeContact
from relay.delivery.dialling import Dialling, local
from relay.delivery.exchangers import NOWHERE, Host
from relay.delivery.heading import SIGNING, Heading, Sign
from relay.delivery.line import QUIET_AFTER
from relay.delivery.security import Approach
from relay.delivery.tls_result import TlsResult
from relay.delivery.watcher import Outcomes, Watcher
from relay.delivery.ways import Way
from relay.message.values import Result
from relay.net.client_tls import ClientTls
from relay.smtp.ending import Ending

if TYPE_CHECKING:
    from relay.delivery.wire import Reactor

#: How long the reply to a final dot is awaited after `abort` (seconds).
LAST_WORDS = 3.0


class Session(Dialling):
    """See the module. One offer at a time; every offer ends in one `done`, unless aborted. Where that
    doesn't keep the connection, and where a kept one ends, `closed` follows: at once or when it is gone."""

    __slots__ = (
        "_aborted", "_client_tls", "_company", "_deliveries", "_domain", "_heading", "_idle", "_make_contact", "_need",
        "_quiet", "_reactor", "_ready", "_reuse", "_serves", "_timeouts", "_watcher", "number",
    )  # fmt: skip

    def __init__(
        self,
        number: int,
        *,
        reactor: Reactor,
        hosts: Callable[[Offer], Awaitable[list[Way]]],
        timeouts: Timeouts,
        port: int,
        watcher: Watcher,
        avoided: Avoided,
        need: Callable[[Offer, Host], Approach | None],
        also: Also,
        client_tls: ClientTls,
        reuse: int = 100,
        idle: float = 5.0,
        product: str = "Zonerelay",
        serves: Callable[[str, Host], bool] | None = None,
        fresh: bool = True,
        sign: Sign | None = None,
        contact: MakeContact = Call,
        now: Callable[[], float] | None = None,
    ) -> None:
        """
        Args:
            hosts: where an offer can go and how, best first; raises Unroutable.
            need: how safe a connection to this host that was kept has to be for an offer; None: it isn't for it.
            also: the same of one that was made for another domain, found out.
            avoided: the addresses that are called last.
            reuse: most messages on one connection; with several recipients a message counts as so many.
            idle: how long a connection is kept without work (seconds).
            product: what the Received header calls us.
            serves: whether mail for a domain may go to a host found for another one.
            fresh: nobody has been called under this number yet.
            sign: what makes signatures (relay.delivery.signing).
            contact: what makes a connection: by SMTP, unless it is told otherwise.
            now: seconds on a clock, the reactor's by default; `sweep` must be given the same.
        """
        super().__init__(hosts, avoided, port, now or reactor.seconds, fresh)
        self.number = number
        self._reactor = reactor
        self._timeouts = timeouts
        self._client_tls = client_tls
        self._make_contact = contact
        self._need = need
        self._watcher = watcher
        self._reuse = reuse
        self._idle = idle
        self._serves = serves
        self._heading = Heading(sign, product)
        self._company = Company(also)
        self._domain = ""
        self._deliveries = 0
        self._ready = False
        self._quiet = False
        self._aborted = False

    # -- asking

    @property
    def idle(self) -> bool:
        """It has a connection and no offer."""
        return self._call is not None and self._attempt is None

    @property
    def in_dot(self) -> bool:
        """The final dot was sent and is not answered yet: the host may have the message."""
        return self._attempt is not None and self._call is not None and self._call.in_dot

    @property
    def host(self) -> Host:
        """The host it is connected to, or calls."""
        return NOWHERE if self._call is None else self._call.host

    def fits(self, offer: Offer) -> bool:
        """Whether this is an idle connection on which `offer` can be sent."""
        call = self._call
        if call is None or self._attempt is not None:
            return False
        if local(offer, call.host) != (call.local_address, call.name):
            return False
        need = self._need(offer, call.host)
        if need is None or not call.satisfies(need):
            return False
        if offer.domain == self._domain:
            return True
        return self._serves is not None and self._serves(offer.domain, call.host)

    # -- orders

    def deliver(self, offer: Offer) -> None:
        """Begin an attempt: at once on an idle connection that fits. Otherwise that one is
        left without a word to the watcher, and there is a new one after `go`; as there is where the
        connection is being given back already."""
        fits = self.fits(offer)
        self._set_out(Attempt(offer, self._now()))
        self._heading.unsigned = ""
        if fits:
            self._begin()
        else:
            self._hang_up(politely=True)
            self._look()

    def go(self, many: int = 1) -> None:
        """Leave to begin the transaction, after `answered`, for the first so `many` of those it is for."""
        if self._ready and self._call is not None:
            self._ready = False
            self._stay(self._call)
            self._leave_behind(many)
            self._begin()

    def resume(self) -> None:
        """Final dots may be sent again."""
        if self._call is not None:
            self._call.resume()

    def release(self) -> None:
        """Give an idle connection back: QUIT, close, and `closed` when it is gone."""
        if self.idle:
            self._hang_up(politely=True)

    def abort(self) -> None:
        """Nobody is there any more to report to: drop everything, without another word to the
        watcher. Only a final dot that was sent is still waited for, some seconds: its reply
        is told by `accepted`, and the end of the wait by `closed`."""
        self._aborted = True
        if self.in_dot and self._call is not None:
            self._quiet = False
            self._call.hurry(LAST_WORDS)
        else:
            self._attempt = None
            self._hang_up()

    def sweep(self, now: float) -> None:
        """Look at the clock: give up a wait that is over, tell about one that is long."""
        call = self._call
        if call is not None and now >= call.deadline:
            if self._heading.signing:
                self._withhold("The signature is not made in time")
            elif self._company.asking:
                self._company.give_up()
            elif self._attempt is None:
                self.release()
            else:
                call.expired()
            return
        if self._blocked(now):
            return
        if self._attempt is None or self._quiet or self._aborted:
            return
        if now >= (self._attempt.started + QUIET_AFTER if call is None else call.quiet_at):
            self._quiet = True
            self._watcher.quiet(self)

    # -- what the call tells

    def ready(self) -> None:
        self._ready = True
        self._deliveries = 0
        if self._call is not None:
            self._answered(self._call)
        self._watcher.answered(self)

    def heard(self) -> None:
        if self._quiet:
            self._quiet = False
            self._watcher.active(self)

    def tls(self, result: TlsResult) -> None:
        self._watcher.tls(result)

    def may_end(self) -> bool:
        return self._watcher.may_end()

    def chunk(self, number: int) -> Deferred[bytes]:
        assert self._attempt is not None
        if self._heading.signing and self._call is not None:
            self._call.rest(SIGNING)
        return self._watcher.chunk(self._attempt.offer, number)

    def taken(self, endings: Mapping[int, Ending]) -> None:
        attempt, call = self._attempt, self._call
        assert attempt is not None and call is not None
        self._note(attempt, attempt.some(endings, call, self._now(), self._heading.unsigned))

    def ended(self, ending: Ending) -> None:
        attempt, call = self._attempt, self._call
        assert call is not None
        if self._aborted:
            if attempt is not None:
                self._note(attempt, self._outcomes(attempt, ending, call))
            self._attempt = None
            self._hang_up()
            self._watcher.closed(self)
        elif attempt is None:
            self._hang_up()
        elif ending.stale or ((self._heading.signing or self._company.asking) and call.transactions):
            attempt.doubtful |= ending.doubtful
            self.begun = ending.stale and (bool(ending.code) or ending.doubtful)
            self._hang_up()
            self._look()
        elif not call.transactions and not ending.reusable:
            self._away(ending)
        else:
            self._finish(ending, call)

    # -- the transaction

    def _begin(self) -> None:
        attempt, call = self._attempt, self._call
        assert attempt is not None and call is not None
        self._domain = attempt.offer.domain
        if strangers := attempt.strangers:
            self._company.ask(attempt.offer, strangers, call, self._accompanied)
            if self._company.asking:
                call.rest(PATIENCE)
        else:
            self._set_off()

    def _accompanied(self, along: Collection[str]) -> None:
        """Those of these domains go along."""
        attempt, call = self._attempt, self._call
        assert attempt is not None and call is not None
        if behind := attempt.part(along, call.most_domains):
            self._watcher.left(self, behind, apart=True)
        self._set_off()

    def _set_off(self) -> None:
        attempt, call = self._attempt, self._call
        assert attempt is not None and call is not None
        if most := call.most_recipients:
            self._leave_behind(most)
        self._heading.make(attempt.offer, attempt.recipient, call.name, call.bound, self.chunk, self._headed)
        if self._heading.signing:
            call.rest(SIGNING)

    def _headed(self, head: bytes | None) -> None:
        """Offer the message to the host, under this head."""
        attempt, call = self._attempt, self._call
        assert attempt is not None and call is not None
        if head is None:
            self._withhold(self._heading.unsigned)
        else:
            self._deliveries += len(attempt.to)
            call.begin(attempt.offer, attempt.to, head)

    def _leave_behind(self, many: int) -> None:
        """Go on with the first so many."""
        assert self._attempt is not None
        if behind := self._attempt.leave_behind(many):
            self._watcher.left(self, behind)

    def _withhold(self, reason: str) -> None:
        """It may not go as it is; the host has heard nothing of it."""
        self._heading.stop()
        self._finish(Ending(Result.DEFERRED, "mail", reason, category="ours", reusable=True), self._call)

    def _finish(self, ending: Ending, call: Contact | None) -> None:
        """The end of the attempt: how, and on which call."""
        attempt = self._attempt
        assert attempt is not None
        if attempt.strangers and not self._company.decided:
            # What was in the way of the first's domain may not be in theirs.
            self._watcher.left(self, attempt.part())
        outcomes = self._outcomes(attempt, ending, call)
        self._note(attempt, outcomes)
        if behind := attempt.postponed(ending):
            self._watcher.left(self, behind)
        self._attempt = None
        self._quiet = False
        kept = call is not None and ending.reusable and not call.spent(self._reuse) and self._deliveries < self._reuse
        kept = kept and call is not None and not call.approach.clear  # In the clear for this delivery alone.
        if kept and call is not None:
            call.rest(self._idle)
        self._watcher.done(self, attempt.offer, outcomes, kept)
        if not kept:
            # In the midst of the text QUIT would be text.
            told = ending.category in ("reply", "auth") and ending.code not in (0, 421)
            refused = told and ending.stage != "body"
            nothing = self._nothing
            self._hang_up(politely=ending.reusable or refused)
            if nothing:
                self._watcher.closed(self)

    def _note(self, attempt: Attempt, outcomes: Outcomes) -> None:
        """Have those written down for whom the host has taken the message, each once."""
        if taken := attempt.note(outcomes):
            self._watcher.accepted(self, attempt.offer, taken)

    def _outcomes(self, attempt: Attempt, ending: Ending, call: Contact | None) -> Outcomes:
        return attempt.outcomes(ending, call, self._now(), self._heading.unsigned)

    def _hang_up(self, politely: bool = False) -> None:
        self._ready = False
        self._heading.stop()
        self._company.stop()
        super()._hang_up(politely)

    # -- dialling

    def _contact(self, host: Host, name: str, address: str, approach: Approach) -> Contact:
        return self._make_contact(
            self, host, name, address, self._reactor, self._timeouts, self._now, approach, self._client_tls
        )

    def _closed(self) -> None:
        if not self._aborted:
            self._watcher.closed(self)

    def _redial(self) -> None:
        self._watcher.redial(self)
