"""What rates want of a connection: that it pays for each call of a host, is opened in time, and pays for its
message just before MAIL."""

from __future__ import annotations

from collections.abc import Callable

from relay.dispatch.connection import Connection, State
from relay.dispatch.gates import Rate
from relay.dispatch.limits import Scoped, Way

#: How many of the hosts that have yet to answer are expected to, for the rates of many: where most are dead, the others
#: use a rate all the same; where all answer, who comes then waits for what the rate gives in some five seconds.
_HOPE = 0.2


class Tokens:
    """Pays, and knows who will have to."""

    def __init__(self, keep: Callable[[Scoped], None]) -> None:
        """`keep` is told of limits whose rates something has passed, once until they have filled again."""
        self._keep = keep

    def missing(
        self, way: Way, address: Scoped, now: float, ready: Callable[[Rate, float], bool] = Rate.ready
    ) -> Rate | None:
        """The first rate that isn't `ready` for a message this moment; without that said, for one of a lane."""
        if not way.rated and not address.rates:
            return None
        for rates in (way.sending, way.volume, address.sending, address.volume):
            for rate in rates:
                if not ready(rate, now):
                    return rate
        return None

    def allowed(self, way: Way, address: Scoped, most: int, now: float) -> int:
        """For how many recipients, `most` at most, there are tokens this moment; one at the least."""
        if most > 1 and (way.rated or address.rates):
            for rate in (*way.sending, *address.sending):
                most = min(most, rate.bucket.whole(now))
        return max(1, most)

    def may_dial(self, connection: Connection, host: str, now: float, resumed: bool = False) -> Rate | None:
        """The first rate of new connections that has no token this moment for a call of a further host. `resumed`: it
        has waited already."""
        for rate in (*connection.way.opening, *connection.leaving.towards(host).opening):
            others = rate.lanes_turn or len(rate.parked) > 0
            if not rate.bucket.ready(now) or (others and not resumed):
                return rate
        return None

    def may_open(self, way: Way, address: Scoped, now: float) -> Rate | None:
        """The first rate that stands in the way of a new connection."""
        if not way.rated and not address.rates:
            return None
        for rates in (way.opening, address.opening):
            for rate in rates:
                if not rate.ready(now):
                    return rate
        for rates in (way.sending, way.volume, address.sending, address.volume):
            for rate in rates:
                if not rate.room(now):
                    return rate
        return None

    def opened(self, connection: Connection, now: float) -> None:
        """A new connection: it pays for itself now, for its message later."""
        way, address = connection.way, connection.address
        if not way.rated and not address.rates:
            return
        connection.called = now
        self._called(way, address, now, first=True)
        self._expect(connection, surely=connection.state is not State.TRYING)

    def dialled(self, connection: Connection, host: str, now: float) -> None:
        """Another host is called now. Who waits for that takes turns with the lanes that wait for the same."""
        self._called(connection.way, connection.leaving.towards(host), now, first=False)

    def _called(self, way: Way, address: Scoped, now: float, first: bool) -> None:
        for rate in (*way.opening, *address.opening):
            rate.bucket.take(1, now)
            rate.lanes_next = not first
            self._remember(way)

    def answered(self, connection: Connection) -> None:
        """It will surely want its tokens now, and who comes later has to wait for that."""
        if not connection.paid and (connection.way.rated or connection.address.rates):
            self.forget(connection)
            self._expect(connection, surely=True)

    def _expect(self, connection: Connection, surely: bool) -> None:
        """It will want these; of those that have yet to answer few may, but they may do it all at once."""
        way, address = connection.way, connection.leaving.towards(connection.faces) if surely else connection.address
        connection.pending = tuple(
            (rate, wanted if surely or not rate.wide else wanted * _HOPE)
            for rates, wanted in (
                ((*way.sending, *address.sending), float(connection.recipients)),
                ((*way.volume, *address.volume), float(connection.size)),
            )
            for rate in rates
        )
        for rate, wanted in connection.pending:
            rate.pending += wanted

    def give_back_call(self, connection: Connection, host: str, now: float) -> tuple[Rate, ...]:
        """That host was called first: what the address has paid for it that it doesn't see comes back, to these
        rates."""
        called, connection.called = connection.called, None
        if called is None or not host:
            return ()
        unused = connection.leaving.beside(host).opening
        for rate in unused:
            rate.bucket.give_back(1, called, now)
        return unused

    def goes(self, connection: Connection, now: float) -> tuple[Rate, ...]:
        """It uses the address that its host sees, and wants nothing more of the other; what that has paid comes back,
        to these rates."""
        for rate in connection.leaving.beside(connection.faces).rates:
            rate.parked.pop(connection, None)
        return self.give_back_call(connection, connection.faces, now)

    def forget(self, connection: Connection) -> None:
        """It wants nothing soon, as far as is known."""
        pending, connection.pending = connection.pending, ()
        for rate, wanted in pending:
            rate.pending = max(0.0, rate.pending - wanted)

    def spend(self, connection: Connection, now: float) -> int:
        """Its message goes now, to as many of its recipients as there are tokens for; how many these are."""
        way, address = connection.way, connection.address
        many = self.allowed(way, address, connection.recipients, now)
        connection.sent += many
        connection.began = now
        connection.paid = connection.load = many
        if not way.rated and not address.rates:
            return many
        self.forget(connection)
        waited, connection.resumed = connection.resumed, False
        for rate in (*way.sending, *address.sending):
            rate.bucket.take(many, now)
            rate.lanes_next = waited
        for rate in (*way.volume, *address.volume):
            rate.bucket.take(connection.size, now)
            rate.lanes_next = waited
        self._remember(way)
        return many

    def _remember(self, way: Way) -> None:
        for scoped in way.scopes:
            if scoped.rates and not scoped.kept:
                self._keep(scoped)

    def give_back(self, connection: Connection, now: float) -> tuple[Rate, ...]:
        """The message it has was not begun; what was paid for it comes back, to these rates."""
        paid, connection.paid = connection.paid, 0
        if not paid:
            return ()
        way, address = connection.way, connection.address
        for rate in (*way.sending, *address.sending):
            rate.bucket.give_back(paid, connection.began, now)
        for rate in (*way.volume, *address.volume):
            rate.bucket.give_back(connection.size, connection.began, now)
        return (*way.sending, *address.sending, *way.volume, *address.volume)

    def give_one_back(self, connection: Connection, now: float) -> tuple[Rate, ...]:
        """The message was paid for one recipient more than it goes to: that comes back, to these rates."""
        connection.paid -= 1
        sending = (*connection.way.sending, *connection.address.sending)
        for rate in sending:
            rate.bucket.give_back(1, connection.began, now)
        return sending

    def settle(self, connection: Connection) -> None:
        """Nothing is to be expected of it any more."""
        way, address = connection.way, connection.address
        if not way.rated and not address.rates:
            return
        self.forget(connection)
        for rate in (*way.opening, *way.sending, *way.volume, *address.rates):
            rate.parked.pop(connection, None)
