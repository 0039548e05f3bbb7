"""How a session gets to a host: those of an attempt are looked for, and called one after the other until one will do.

The first call comes with the offer, if a host is soon found; each further one needs leave of its own. The far end never
sees two connections at a time: a host is called when the connection before is gone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.channel.frames import Offer
from relay.delivery.attempt import Attempt
from relay.delivery.avoided import Avoided
from relay.delivery.contact import Contact
from relay.delivery.exchangers import Host, Unroutable
from relay.delivery.route import Route
from relay.delivery.security import Approach
from relay.delivery.ways import Way
from relay.message.values import Result
from relay.smtp.ending import Ending

#: No further host is tried once an attempt has taken this long, nor is leave to call it waited for (seconds).
PATIENCE = 600.0
#: The leave to call a host that comes with an offer is for so long (seconds): those that were looked up at different
#: times, and are found in one moment, are not all called in that.
SOON = 1.0

_log = Logger()


class Dialling:
    """The half of a session that is told here: it comes to `_call`, the connection that there is or that is being made,
    for `_attempt`, the offer that is under way. The other half is in `session`.

    Attributes:
        called: the address of the host that was called last for the attempt, "" while none was.
        begun: the host that was called before has heard of the message that is now to go to another.
    """

    __slots__ = (
        "_attempt", "_avoided", "_call", "_hosts", "_looking", "_may_dial", "_next", "_now", "_parting", "_port",
        "_route", "begun", "called",
    )  # fmt: skip

    def __init__(
        self,
        hosts: Callable[[Offer], Awaitable[list[Way]]],
        avoided: Avoided,
        port: int,
        now: Callable[[], float],
        fresh: bool,
    ) -> None:
        """As in relay.delivery.session.Session."""
        self.called = ""
        self.begun = False
        self._hosts = hosts
        self._avoided = avoided
        self._port = port
        self._now = now
        self._attempt: Attempt | None = None
        self._call: Contact | None = None
        self._route = Route()
        self._looking: Deferred[None] | None = None
        self._may_dial = fresh
        # A host is to be called as soon as that may be.
        self._next = False
        # The connection before is left, and not gone yet.
        self._parting = False

    # -- what a session says

    @abstractmethod
    def _contact(self, host: Host, name: str, address: str, approach: Approach) -> Contact:
        """A connection to be made to this host, by this name and from this local address, as safe as that."""

    @abstractmethod
    def _redial(self) -> None:
        """There is a host to call and no leave: `dial` is waited for."""

    @abstractmethod
    def _finish(self, ending: Ending, call: Contact | None) -> None:
        """The end of the attempt: how, and on which call."""

    @abstractmethod
    def _closed(self) -> None:
        """The connection is gone, nothing is under way, and no other is to take its place."""

    # -- asking

    @property
    def next_host(self) -> str:
        """The address of the host that it wants to call."""
        return self._route.upcoming

    @property
    def _nothing(self) -> bool:
        """There is no connection, nor one that is about to be gone."""
        return self._call is None and not self._parting

    # -- orders

    def dial(self) -> None:
        """Leave to call another host, after `redial`."""
        if self._next and not self._parting:
            self._may_dial = True
            self._try_next()

    # -- what the call tells

    def gone(self) -> None:
        self._parting = False
        if self._next:
            self._try_next()
        elif self._attempt is None:
            self._closed()

    # -- for the session

    def _set_out(self, attempt: Attempt) -> None:
        """What follows is for this one."""
        self._attempt = attempt
        self._route = Route()
        self.begun = False
        self.called = ""

    def _look(self) -> None:
        """Look for the hosts, and call the first of them. There is no call, or it was hung up."""
        self._route.lead(())
        looking = Deferred.fromCoroutine(self._find())
        self._looking = None if looking.called else looking
        looking.addErrback(_unless_cancelled)

    def _answered(self, call: Contact) -> None:
        """The host is ready for mail."""
        self._avoided.answered(call.host.address)

    def _stay(self, call: Contact) -> None:
        """This host will do. Should it not after all, only those of the same kind of address are called."""
        self._route.keep_to(call.host.address)

    def _away(self, ending: Ending) -> None:
        """This host doesn't let us get as far as MAIL: the next, or the end."""
        call, attempt = self._call, self._attempt
        assert call is not None and attempt is not None
        failure = self._route.failed(ending, call)
        if ending.stage != "connect":
            self._avoided.answered(call.host.address)
        elif ending.category == "network":
            self._avoided.failed(call.host.address, waited=self._now() >= call.quiet_at)
        if not self._route:
            self._finish(*failure)
        elif self._now() - attempt.started > PATIENCE:
            self._finish(*self._route.given_up())
        else:
            told = ending.category in ("reply", "auth") and ending.code > 0
            self._hang_up(politely=told or ending.category == "message")
            self._try_next()

    def _hang_up(self, politely: bool = False) -> None:
        """Have done with the connection, and with looking for one. It is `gone` now or later."""
        self._next = False
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

    def _blocked(self, now: float) -> bool:
        """Whether leave to call another host was waited for too long; then the attempt has ended."""
        attempt = self._attempt
        if not self._next or self._parting or attempt is None or now - attempt.started <= PATIENCE:
            return False
        self._finish(*self._route.blocked(PATIENCE))
        return True

    # -- inside

    async def _find(self) -> None:
        attempt = self._attempt
        assert attempt is not None
        offer = attempt.offer
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
            self._route.lead(self._avoided.last(way for way in ways if local(offer, way.host)[0]))
            # What is left to say when there is none to call.
            ours = offer.local_address or offer.local_address6
            text = f"No host of {offer.domain} has an address of the kind of {ours}"
            ending = Ending(Result.DEFERRED, "connect", text, category="ours")
        self._looking = None
        self._may_dial = self._may_dial and self._now() - attempt.started <= SOON
        if self._route:
            self._try_next()
        else:
            self._finish(ending, None)

    def _try_next(self) -> None:
        """Call the next host, once the connection before is gone and there is leave."""
        self._next = self._parting or not self._may_dial
        if self._next:
            if not self._parting:
                self._redial()
            return
        self._may_dial = self.begun = False
        attempt = self._attempt
        assert attempt is not None
        host, approach = self._route.next()
        self.called = host.address
        address, name = local(attempt.offer, host)
        call = self._call = self._contact(host, name, address, approach)
        call.dial(self._port)


def local(offer: Offer, host: Host) -> tuple[str, str]:
    """The address and the name with which to call a host; the address is "" when it can't be."""
    if not offer.local_address if host.is_path else ":" in host.address:
        return offer.local_address6, offer.local_name6
    return offer.local_address, offer.local_name


def _unless_cancelled(failure: Failure) -> None:
    """A look-up nobody waits for any more is no failure; anything else is a fault of ours."""
    if not isinstance(failure.value, CancelledError):
        _log.failure("A session failed", failure)
