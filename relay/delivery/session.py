"""One outgoing connection as the master numbers it: attempt after attempt, host after host.

A session turns an offer into an outcome for each whom it is for. It finds the hosts, calls them in their order until
one is ready for mail, waits for leave to begin on a new connection, and has the message
carried over. The first call comes with the offer, if a host is soon found; each further one is a new
connection to the far end, and needs leave of its own. `sweep`, called from outside every half second or so, is all
the clock it has.

The far end never sees two of its connections at a time: a host is called when the connection before is
gone, and that the last one is gone is told last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.channel.frames import Addressee, Offer
from relay.config.schema import Timeouts
from relay.delivery.avoided import Avoided
from relay.delivery.call import QUIET_AFTER, Call
from relay.delivery.contact import Contact, MakeContact
from relay.delivery.exchangers import Host, Unroutable
from relay.delivery.heading import SIGNING, Heading, Sign
from relay.delivery.route import Route
from relay.delivery.security import Approach
from relay.delivery.tls_result import TlsResult
from relay.delivery.watcher import Outcomes, Watcher
from relay.delivery.ways import Way
from relay.message.values import Outcome, Result
from relay.net.client_tls import ClientTls
from relay.smtp.ending import Ending

if TYPE_CHECKING:
    from relay.delivery.wire import Reactor

#: No further host is tried once an attempt has taken this long, nor is leave to call it waited for (seconds).
PATIENCE = 600.0
#: The leave to call a host that comes with an offer is for so long (seconds): those that were looked up at different
#: times, and are found in one moment, are not all called in that.
SOON = 1.0
#: How long the reply to a final dot is awaited after `abort` (seconds).
LAST_WORDS = 3.0
#: Longest response in an outcome (characters).
MAX_RESPONSE = 500

_NOWHERE = Host("", "")
_log = Logger()


class Session:
    """See the module. One offer at a time; every offer ends in one `done`, unless aborted. Where that
    doesn't keep the connection, and where a kept one ends, `closed` follows: at once or when it is gone.

    Attributes:
        begun: the host that was called before has heard of the message that is now to go to another.
        called: the address of the host that was called last for it, "" while none was.
    """

    __slots__ = (
        "_aborted", "_avoided", "_call", "_client_tls", "_contact", "_deliveries", "_domain", "_doubtful", "_heading",
        "_hosts", "_idle", "_looking", "_may_dial", "_need", "_next", "_noted", "_now", "_offer", "_parting", "_port",
        "_quiet", "_reactor", "_ready", "_reuse", "_route", "_serves", "_started", "_timeouts", "_to", "_watcher",
        "begun", "called", "number",
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
        self.number = number
        self.begun = False
        self.called = ""
        self._reactor = reactor
        self._hosts = hosts
        self._need = need
        self._client_tls = client_tls
        self._timeouts = timeouts
        self._port = port
        self._watcher = watcher
        self._avoided = avoided
        self._reuse = reuse
        self._idle = idle
        self._serves = serves
        self._heading = Heading(sign, product)
        self._doubtful = False
        self._contact = contact
        self._now: Callable[[], float] = now or reactor.seconds
        self._call: Contact | None = None
        self._domain = ""
        self._offer: Offer | None = None
        self._to: tuple[Addressee, ...] = ()
        self._noted: set[int] = set()
        self._deliveries = 0
        self._started = 0.0
        self._looking: Deferred[None] | None = None
        self._may_dial = fresh
        self._next = False
        self._parting = False
        self._route = Route()
        self._ready = False
        self._quiet = False
        self._aborted = False

    # -- asking

    @property
    def idle(self) -> bool:
        """It has a connection and no offer."""
        return self._call is not None and self._offer is None

    @property
    def in_dot(self) -> bool:
        """The final dot was sent and is not answered yet: the host may have the message."""
        return self._offer is not None and self._call is not None and self._call.in_dot

    @property
    def host(self) -> Host:
        """The host it is connected to, or calls."""
        return _NOWHERE if self._call is None else self._call.host

    def fits(self, offer: Offer) -> bool:
        """Whether this is an idle connection on which `offer` can be sent."""
        call = self._call
        if call is None or self._offer is not None:
            return False
        if _local(offer, call.host) != (call.local_address, call.name):
            return False
        need = self._need(offer, call.host)
        if need is None or not call.satisfies(need):
            return False
        if offer.domain == self._domain:
            return True
        return self._serves is not None and self._serves(offer.domain, call.host)

    @property
    def next_host(self) -> str:
        """The address of the host that it wants to call."""
        return self._route.upcoming

    # -- orders

    def deliver(self, offer: Offer) -> None:
        """Begin an attempt: at once on an idle connection that fits. Otherwise that one is
        left without a word to the watcher, and there is a new one after `go`; as there is where the
        connection is being given back already."""
        fits = self.fits(offer)
        self._offer = offer
        self._to = (offer, *offer.fellows)
        self._started = self._now()
        self._route = Route()
        self.begun = False
        self._heading.unsigned = ""
        self._doubtful = False
        self.called = ""
        if fits:
            self._begin()
        else:
            self._hang_up(politely=True)
            self._look()

    def go(self, many: int = 1) -> None:
        """Leave to begin the transaction, after `answered`, for the first so `many` of those it is for."""
        if self._ready:
            self._ready = False
            self._route.keep_to(self.host.address)
            self._leave_behind(many)
            self._begin()

    def dial(self) -> None:
        """Leave to call another host, after `redial`."""
        if self._next and not self._parting:
            self._may_dial = True
            self._try_next()

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
            self._offer = None
            self._hang_up()

    def sweep(self, now: float) -> None:
        """Look at the clock: give up a wait that is over, tell about one that is long."""
        call = self._call
        if call is not None and now >= call.deadline:
            if self._heading.signing:
                self._withhold("The signature is not made in time")
            elif self._offer is None:
                self.release()
            else:
                call.expired()
            return
        if self._next and not self._parting and now - self._started > PATIENCE:
            self._finish(*self._route.blocked(PATIENCE))
            return
        if self._offer is None or self._quiet or self._aborted:
            return
        if now >= (self._started + QUIET_AFTER if call is None else call.quiet_at):
            self._quiet = True
            self._watcher.quiet(self)

    # -- finding a host

    def _look(self) -> None:
        self._route.lead(())
        looking = Deferred.fromCoroutine(self._find())
        self._looking = None if looking.called else looking
        looking.addErrback(_unless_cancelled)

    async def _find(self) -> None:
        offer = self._offer
        assert offer is not None
        try:
            ways = await self._hosts(offer)
        except CancelledError:
            raise
        except Unroutable as error:
            ending = Ending(error.result, "connect", str(error), category=error.category)
        except Exception:
            _log.failure("Finding hosts failed", queue_id=offer.id, domain=offer.domain)
            ending = Ending(Result.DEFERRED, "connect", "Finding hosts failed here", category="ours")
        else:
            self._route.lead(self._avoided.last(way for way in ways if _local(offer, way.host)[0]))
            # What is left to say when there is none to call.
            ours = offer.local_address or offer.local_address6
            text = f"No host of {offer.domain} has an address of the kind of {ours}"
            ending = Ending(Result.DEFERRED, "connect", text, category="ours")
        self._looking = None
        self._may_dial = self._may_dial and self._now() - self._started <= SOON
        if self._route:
            self._try_next()
        else:
            self._finish(ending, None)

    def _try_next(self) -> None:
        """Call the next host, once the connection before is gone and there is leave."""
        self._next = self._parting or not self._may_dial
        if self._next:
            if not self._parting:
                self._watcher.redial(self)
            return
        self._may_dial = self.begun = False
        offer = self._offer
        assert offer is not None
        host, approach = self._route.next()
        self.called = host.address
        address, name = _local(offer, host)
        call = self._contact(
            self, host, name, address, self._reactor, self._timeouts, self._now, approach, self._client_tls
        )
        self._call = call
        self._deliveries = 0
        call.dial(self._port)

    def _away(self, ending: Ending) -> None:
        """This host doesn't let us get as far as MAIL: the next, or the end."""
        call = self._call
        assert call is not None
        failure = self._route.failed(ending, call)
        if ending.stage != "connect":
            self._avoided.answered(call.host.address)
        elif ending.category == "network":
            self._avoided.failed(call.host.address, waited=self._now() >= call.quiet_at)
        if not self._route or self._now() - self._started > PATIENCE:
            self._finish(*failure)
        else:
            self._hang_up(politely=ending.category in ("reply", "auth") and ending.code > 0)
            self._try_next()

    # -- what the call tells

    def ready(self) -> None:
        self._ready = True
        if self._call is not None:
            self._avoided.answered(self._call.host.address)
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
        assert self._offer is not None
        if self._heading.signing and self._call is not None:
            self._call.rest(SIGNING)
        return self._watcher.chunk(self._offer, number)

    def gone(self) -> None:
        self._parting = False
        if self._next:
            self._try_next()
        elif self._offer is None and not self._aborted:
            self._watcher.closed(self)

    def taken(self, endings: Mapping[int, Ending]) -> None:
        offer, call = self._offer, self._call
        assert offer is not None and call is not None
        self._note(offer, [(self._to[place], self._outcome(ending, call)) for place, ending in endings.items()])

    def ended(self, ending: Ending) -> None:
        offer, call = self._offer, self._call
        assert call is not None
        if self._aborted:
            if offer is not None:
                self._note(offer, self._outcomes(ending, call))
            self._offer = None
            self._hang_up()
            self._watcher.closed(self)
        elif offer is None:
            self._hang_up()
        elif ending.stale or (self._heading.signing and call.transactions):
            self.begun = ending.stale and (bool(ending.code) or ending.doubtful)
            self._doubtful = self._doubtful or ending.doubtful
            self._hang_up()
            self._look()
        elif not call.transactions and not ending.reusable:
            self._away(ending)
        else:
            self._finish(ending, call)

    # -- the transaction

    def _begin(self) -> None:
        offer, call = self._offer, self._call
        assert offer is not None and call is not None
        self._domain = offer.domain
        self._noted.clear()
        self._leave_behind(call.most_recipients or len(self._to))
        recipient = offer.recipient if len(self._to) == 1 else ""
        self._heading.make(offer, recipient, call.name, call.bound, self.chunk, self._headed)
        if self._heading.signing:
            call.rest(SIGNING)

    def _headed(self, head: bytes | None) -> None:
        """Offer the message to the host, under this head."""
        offer, call = self._offer, self._call
        assert offer is not None and call is not None
        if head is None:
            self._withhold(self._heading.unsigned)
        else:
            self._deliveries += len(self._to)
            call.begin(offer, self._to, head)

    def _leave_behind(self, many: int) -> None:
        """Go on with the first so many."""
        if len(self._to) > many:
            self._watcher.left(self, self._to[many:])
            self._to = self._to[:many]

    def _withhold(self, reason: str) -> None:
        """It may not go as it is; the host has heard nothing of it."""
        self._heading.stop()
        self._finish(Ending(Result.DEFERRED, "mail", reason, category="ours", reusable=True), self._call)

    def _finish(self, ending: Ending, call: Contact | None) -> None:
        """The end of the attempt: how, and on which call."""
        offer = self._offer
        assert offer is not None
        outcomes = self._outcomes(ending, call)
        self._note(offer, outcomes)
        behind = [one for place, one in enumerate(self._to) if ending.of(place).postponed]
        if behind:
            self._watcher.left(self, behind)
        self._offer = None
        self._quiet = False
        kept = call is not None and ending.reusable and not call.spent(self._reuse) and self._deliveries < self._reuse
        kept = kept and call is not None and not call.approach.clear  # In the clear for this delivery alone.
        if kept and call is not None:
            call.rest(self._idle)
        self._watcher.done(self, offer, outcomes, kept)
        if not kept:
            # In the midst of the text QUIT would be text.
            told = ending.category in ("reply", "auth") and ending.code not in (0, 421)
            refused = told and ending.stage != "body"
            nothing = self._call is None and not self._parting
            self._hang_up(politely=ending.reusable or refused)
            if nothing:
                self._watcher.closed(self)

    def _note(self, offer: Offer, outcomes: Outcomes) -> None:
        """Have those written down for whom the host has taken the message, each once."""
        taken = [
            (one, outcome)
            for one, outcome in outcomes
            if outcome.result is Result.DELIVERED and one.lease not in self._noted
        ]
        if taken:
            self._noted.update(one.lease for one, _ in taken)
            self._watcher.accepted(self, offer, taken)

    def _outcomes(self, ending: Ending, call: Contact | None) -> Outcomes:
        """For each but those that are to be left behind."""
        return [
            (one, self._outcome(ending.of(place), call))
            for place, one in enumerate(self._to)
            if not ending.of(place).postponed
        ]

    def _outcome(self, ending: Ending, call: Contact | None) -> Outcome:
        text = ending.text[:MAX_RESPONSE]
        if not text.isprintable():
            text = "".join(letter if letter.isprintable() else "?" for letter in text)
        host = _NOWHERE if call is None else call.host
        return Outcome(
            ending.result,
            text,
            ending.code,
            ending.category,
            ending.stage,
            host.name,
            host.address,
            "" if call is None else call.bound or call.local_address,
            self._now() - self._started,
            ending.doubtful or self._doubtful,
            "" if call is None else call.tls,
            self._heading.unsigned[:MAX_RESPONSE],
        )

    def _hang_up(self, politely: bool = False) -> None:
        """Have done with the connection, and with looking for one. It is `gone` now or later."""
        self._ready = self._next = False
        self._heading.stop()
        call, self._call = self._call, None
        if call is not None:
            self._parting = True
            if politely:
                call.leave()
            else:
                call.drop()
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()


def _local(offer: Offer, host: Host) -> tuple[str, str]:
    """The address and the name with which to call a host; the address is "" when it can't be."""
    if not offer.local_address if host.is_path else ":" in host.address:
        return offer.local_address6, offer.local_name6
    return offer.local_address, offer.local_name


def _unless_cancelled(failure: Failure) -> None:
    """A look-up nobody waits for any more is no failure; anything else is a fault of ours."""
    if not isinstance(failure.value, CancelledError):
        _log.failure("A session failed", failure)
