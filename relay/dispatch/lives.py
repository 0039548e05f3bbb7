"""The life of each connection, once it is open: its host answers, it gets leave to go, it rests, it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from relay.channel import frames
from relay.channel.codec import BadFrame
from relay.channel.frames import Frame
from relay.dispatch.addresses import Addresses
from relay.dispatch.capacity import Capacity
from relay.dispatch.connection import Connection, State
from relay.dispatch.gates import NEW_CONNECTIONS, Connections, Rate
from relay.dispatch.ledger import Ledger
from relay.dispatch.lessons import Lessons
from relay.dispatch.tokens import Tokens
from relay.dispatch.turns import Turns
from relay.message.values import Outcome

#: Stages of an attempt in which nobody has heard of the message yet.
_BEFORE_MAIL = frozenset(("connect", "banner", "ehlo", "tls"))
#: States in which a connection has no offer.
_AT_REST = (State.IDLE, State.CLOSING)


class Child(Protocol):
    """A sender child, as far as dispatch knows it; its place is a zone."""

    id: str
    place: str

    def send(self, frame: Frame) -> None: ...
    def settle(self) -> None: ...


class Lives:
    """Leads them on by what children say."""

    def __init__(
        self,
        children: Mapping[str, Child],
        ledger: Ledger,
        tokens: Tokens,
        addresses: Addresses,
        lessons: Lessons,
        turns: Turns,
        clock: IReactorTime,
    ) -> None:
        """`children` are those that are here, by their ids."""
        self._children = children
        self._ledger = ledger
        self._tokens = tokens
        self._addresses = addresses
        self._lessons = lessons
        self._turns = turns
        self._clock = clock

    def drop(self, connection: Connection, child: Child) -> None:
        """A permit that is not used: the connection, if there is one, is given back, and what was paid."""
        self._give_back(connection)
        self._lessons.nothing(connection)
        self._addresses.uncount(connection.way.place, connection.warm * connection.recipients)
        connection.warm = ()
        self.tell_close(connection)
        self._close(connection)

    def make_room(self, zone: str, gate: Connections, wanted: int) -> None:
        """Somebody with so many deliveries can't pass there: an idle connection gives way, if that helps. When
        it is gone they will be let go."""
        spare = self._ledger.make_room(zone, gate, wanted, self._clock.seconds())
        if spare is not None:
            self.tell_close(spare)

    def _give_back_unused(self, connection: Connection) -> None:
        """After a complaint of its site, kept connections of the same path are too many, and nobody will ask for them
        before they may be used again."""
        now, zone = self._clock.seconds(), connection.child.zone
        for gate in self._addresses.crowded(zone, connection.way, connection.local, now):
            while gate.above(now) and (spare := self._ledger.make_room(zone, gate, 0, now)) is not None:
                self.tell_close(spare)

    def tell_close(self, connection: Connection) -> None:
        """Its child is to close it, and will say when it is gone."""
        self._children[connection.child.key].send(frames.Close(connection.number))

    def _close(self, connection: Connection) -> None:
        """It has no more to do."""
        self._tokens.settle(connection)
        self._ledger.close(connection)
        self._turns.freed(connection)

    def _remove(self, connection: Connection) -> None:
        """It is gone."""
        self._tokens.settle(connection)
        self._ledger.remove(connection)
        self._turns.freed(connection)

    def lost(self, connection: Connection) -> None:
        """It is gone with its child: nothing has begun of what had no leave to."""
        self._tokens.settle(connection)
        unbegun = connection.recipients - connection.paid
        self._addresses.uncount(connection.way.place, connection.warm * unbegun)
        connection.warm = ()
        if connection.state is not State.CLOSING:
            self._lessons.nothing(connection)
        self._turns.freed(connection)

    def answered(self, child: Child, connection: Connection, said: frames.Answered) -> None:
        if connection.state in _AT_REST:
            raise BadFrame("an answer without an offer")
        self._ledger.answered(connection, said.host_address, self._clock.seconds())
        self._tokens.answered(connection)
        self._let_go(connection.child)
        self._lessons.answered(connection)
        self._turns.freed(connection)

    def _give_back(self, connection: Connection) -> None:
        """What was paid for its message, which was not begun, is for whoever waits for that."""
        self._turns.waiting.refilled(self._tokens.give_back(connection, self._clock.seconds()))

    def _let_go(self, child: Capacity) -> None:
        """Answered connections may go on, as far as there is room and they have their tokens."""
        now = self._clock.seconds()
        others = self._turns.are_full(child.zone)
        while (connection := child.first_waiting(others)) is not None:
            leaving, faces = connection.leaving, connection.faces
            ready = Rate.has_token if connection.resumed else Rate.ready_behind
            missing = self._tokens.missing(connection.way, leaving.towards(faces), now, ready)
            if missing is not None:
                self._ledger.park(connection)
                self._turns.waiting.park(connection, missing)
                continue
            refunded = self._tokens.goes(connection, now)
            self._ledger.go(connection)
            many = self._tokens.spend(connection, now)
            self._children[child.key].send(frames.Go(connection.number, many))
            if leaving.open:
                self._turns.waiting.refilled(refunded)
                self._turns.waiting.let_go(leaving.beside(faces).gates, now)

    def lines_served(self, zone: str) -> None:
        """Lanes have had their turn; what room they have left is for those that wait, whoever had the last place."""
        for child in self._ledger.children(zone):
            if child.has_place:
                child.owing = False
            if child.waiting:
                self._let_go(child)

    def resume(self, connection: Connection, rate: Rate) -> None:
        """The token that a parked connection waited for there has come."""
        if rate.kind == NEW_CONNECTIONS:
            self._dial(connection, resumed=True)
            return
        connection.resumed = True
        if connection.state is State.PARKED:
            self._ledger.unpark(connection)
            self._let_go(connection.child)

    def redial(self, child: Child, connection: Connection, said: frames.Redial) -> None:
        """Its child wants to call another host, which is a new connection to whoever counts them there. So it is
        paid for like the first, before it is made: no span of time sees more of them than may be, however many
        hosts fail one after the other. Those who ask take turns with the lanes that would open one.

        What its message has paid comes back, unless a host has heard of it: nobody knows when the next one will
        answer. Then it goes before others who wait for a token, or keeps its place among them."""
        if connection.state in _AT_REST:
            raise BadFrame("a call without an offer")
        connection.resumed |= connection.paid > 0
        refunded = self._tokens.give_back_call(connection, said.called, self._clock.seconds())
        self._turns.waiting.refilled(refunded)
        if not said.begun:
            self._give_back(connection)
        connection.paid = 0
        self._tokens.forget(connection)
        self._ledger.redial(connection, said.next)
        self._dial(connection, resumed=False)

    def _dial(self, connection: Connection, resumed: bool) -> None:
        now = self._clock.seconds()
        host = connection.faces
        missing = self._tokens.may_dial(connection, host, now, resumed)
        if missing is not None:
            self._turns.waiting.park(connection, missing)
        else:
            self._tokens.dialled(connection, host, now)
            self._children[connection.child.key].send(frames.Dial(connection.number))

    def quiet(self, child: Child, connection: Connection, said: frames.Quiet) -> None:
        self._ledger.quiet(connection)
        if connection.state is State.QUIET:
            self._tokens.forget(connection)
        self._let_go(connection.child)
        self._turns.freed(connection)

    def active(self, child: Child, connection: Connection, said: frames.Active) -> None:
        self._ledger.active(connection)
        self._turns.freed(connection)

    def closed(self, child: Child, connection: Connection, said: frames.Closed) -> None:
        """Its socket is gone. One that is in a transaction has another by now: the two have crossed."""
        connection.gone = True
        if connection.state in _AT_REST:
            self._remove(connection)

    def fared(self, connection: Connection, outcome: Outcome | None, apart: str = "") -> None:
        """One of several recipients is through, or was left behind, because of the domain that is `apart` if that is
        told; the message may go on to the others."""
        begun = connection.paid > 0 and outcome is not None and outcome.stage not in _BEFORE_MAIL
        if 0 < connection.recipients <= connection.paid:
            if begun:
                connection.paid -= 1
            else:
                rates = self._tokens.give_one_back(connection, self._clock.seconds())
                self._turns.waiting.refilled(rates)
            if outcome is None:
                connection.sent -= 1
                connection.load -= 1
                if apart:
                    connection.apart.add(apart)
                else:
                    connection.most = max(1, connection.load)
        self._uncount(connection, outcome if begun else None)
        connection.recipients -= 1

    def _uncount(self, connection: Connection, outcome: Outcome | None) -> None:
        """One recipient of its message is through: by other addresses than the outcome says nothing went."""
        if connection.warm:
            used = connection.local.facing(outcome.host_address) if outcome is not None else ""
            unused = [one for one in connection.warm if one[0] != used]
            self._addresses.uncount(connection.way.place, unused)

    def ended(self, child: Child, connection: Connection, done: frames.Done) -> None:
        """A connection has done what it was to do; with throttling it rests before anything else."""
        outcome = done.outcome
        self._tokens.settle(connection)
        begun = connection.paid > 0 and outcome.stage not in _BEFORE_MAIL
        if not begun:
            self._give_back(connection)
        connection.paid = 0
        self._uncount(connection, outcome if begun else None)
        connection.warm = ()
        gap = connection.child.gap * connection.load if begun else 0.0
        rest = connection.began + gap - self._clock.seconds() if gap else 0.0
        connection.kept, connection.gone = done.kept, False
        if rest > 0:
            self._clock.callLater(rest, self._rested, child, connection)
        else:
            self._rested(child, connection)

    def _rested(self, child: Child, connection: Connection) -> None:
        if self._ledger.get(connection.number) is not connection:
            return  # Its child has gone meanwhile.
        reuse = connection.way.reuse
        if connection.gone:
            self._remove(connection)
        elif connection.kept and not (reuse and connection.sent >= reuse):
            self._ledger.idle(connection, self._clock.seconds())
            self._turns.freed(connection)
        else:
            if connection.kept:
                self.tell_close(connection)
            self._close(connection)
        self._give_back_unused(connection)
        self._let_go(connection.child)
