"""Whatever children, hosts, operators and clocks do: no limit is passed, and no mail is forgotten at one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.channel import frames
from relay.channel.frames import Offer
from relay.config.schema import Backoff, Config, Domain, Limits, PoolAddress, Sender, Site, Zone
from relay.dispatch.connection import Connection, State
from relay.dispatch.gates import NEW_CONNECTIONS, Connections, Gate, Rate
from relay.message.flow import Flow, flow_text
from relay.message.values import Outcome, Result
from relay.zone.decision import Scope
from relay.zone.hold import Hold
from relay.zone.zones import Zones, from_config
from tests.unit import dispatch_rig
from tests.unit.dispatch_rig import BOUNCED, DEFERRED, DELIVERED, DispatchRig, FakeChild

RATE = Outcome(Result.DEFERRED, "421 4.7.0 too many messages, slow down", 421, "reply", "mail", "mx.test", "192.0.2.9")
LISTED = Outcome(Result.DEFERRED, "554 listed at zen.spamhaus.org", 554, "reply", "rcpt", "mx.test", "192.0.2.9")
SILENT = Outcome(Result.DEFERRED, "No connection within 60 s", 0, "network", "connect")
EARLY = Outcome(Result.DEFERRED, "421 no", 421, "reply", "ehlo", "mx.test", "192.0.2.9")
USERS = ("", "one", "two")
POOL = ("10.0.0.1", "10.0.0.2")
#: Of IPv4 and of IPv6.
HOSTS = ("192.0.2.9", "2001:db8:f::9")
STEPS = "aaaaammmmddddkkkkoqvcczwwwwttrpbseehHgGulnnnffMWxxDSXPB"


def is_under_way(connection: Connection) -> bool:
    """It has leave to begin, and takes up room or, with a slow host, none."""
    return connection.state is State.SENDING or (connection.slow and connection.settled)


class Relayed:
    """Deliveries in a child's hands: whether their host has answered, whether they may go on, how many of them, and
    whether it may call its host."""

    def __init__(self, child: FakeChild, offer: Offer, goes: bool) -> None:
        self.child, self.offer, self.goes, self.answered = child, offer, goes, goes
        self.calls = True
        self.many = 1 + len(offer.fellows)
        #: Fellows that nothing was said of yet, each with its place among all.
        self.others = list(enumerate(offer.fellows, 2))


class NotedChild(FakeChild):
    """One that tells of each frame when it is sent."""

    def __init__(self, key: str, zone: str, note: Callable[[frames.Frame], None]) -> None:
        super().__init__(key, zone)
        self.note = note

    def send(self, frame: frames.Frame) -> None:
        self.note(frame)
        super().send(frame)


class ShapedChaos(DispatchRig):
    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=3, max_connections=4, messages=("8/m",), address=Limits(max_connections=2)),
        "hop": Zone(connections=2, host="hop.test", bytes=("1KB/s",), new_connections=("1/s",), throttling="2/s"),
    }
    domains: ClassVar[dict[str, Domain]] = {
        "default": Domain(max_connections=2),
        "d0.test": Domain(max_connections=2, messages=("2/m",), reuse=2),
        "d1.test": Domain(max_connections=0, new_connections=("12/m",)),
    }
    senders: ClassVar[dict[str, Sender]] = {
        "one": Sender(max_connections=1, weight=30),
        "two": Sender(messages=("20/m",), priority="low"),
    }
    pool: ClassVar[tuple[str, ...]] = POOL
    polite = False
    backoff_section = Backoff(unreachable=(5.0, 20.0), pauses=(5.0, 20.0), climb=5.0, blacklist=60.0)

    def setUp(self) -> None:
        pool = tuple(PoolAddress(address=name) for name in self.pool)
        config = Config(hostname="relay.test", pools={"default": pool}, zones=self.zones, domains=self.domains)
        made: Zones = from_config(config)
        self.made = made
        self.patch(dispatch_rig, "zones_of", lambda *domains, **zones: made)
        self.patch(dispatch_rig, "FakeChild", lambda key, zone: NotedChild(key, zone, self.note))
        super().setUp()
        self.sites.named = {"d2.test": "big", "d3.test": "big"}
        self.sites.sections = {"big": Site(max_connections=2, messages=("40/m",))}
        self.count_pumps()
        self.working: dict[int, Relayed] = {}
        self.children: list[FakeChild] = []
        self.delivered: list[str] = []
        self.born = 0
        #: When messages were begun, and how large they were, by whatever has a rate.
        self.begun: dict[Rate, dict[int, tuple[float, float]]] = {}
        self.lease_on: dict[int, int] = {}
        self.forgotten = self.most = 0
        self.broken = False
        self.patch(self.store, "writable", lambda: not self.broken)
        self.calls_made = 0
        #: Which hosts each connection may reach by what it was offered, and which it has called last.
        self.reaches: dict[int, list[str]] = {}
        self.faces: dict[int, str] = {}
        self.upcoming: dict[int, str] = {}
        self.calls = Counter[float]()
        self.count_calls()

    @settings(max_examples=250, deadline=None, report_multiple_bugs=False)
    @given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30)), min_size=20, max_size=150))
    def test_no_limit_is_passed_and_no_mail_forgotten(self, steps: list[tuple[str, int]]) -> None:
        self.live(steps)

    def live(self, steps: list[tuple[str, int]]) -> None:
        try:
            self.go_through(steps)
        except Exception as error:
            raise self.failureException(f"{steps}: {error!r}") from error

    def go_through(self, steps: list[tuple[str, int]]) -> None:
        self.setUp()
        self.bear()
        self.bear()
        for step, n in steps:
            self.look()
            getattr(self, f"do_{_NAMES[step]}")(n)
            self.look()
            self.check()
        self.calm_down()
        for _ in range(600):
            self.look()
            for lease in sorted(self.working):
                self.answer(lease)
            self.look()
            for lease in [lease for lease, one in sorted(self.working.items()) if one.goes]:
                self.finish(lease, lease % 2 == 0)
            self.part()
            self.tell()
            self.check()
            if not self.store.rows:
                break
            self.clock.pump([1.0] * 10)
        self.assertEqual(len(self.delivered), len(set(self.delivered)))
        self.assertEqual(self.store.rows, {}, [self.stuck(name) for name in self.store.rows])
        self.clock.pump([1.0] * 60)
        self.part()
        self.everything_is_free()
        self.check(at_rest=True)

    def calm_down(self) -> None:
        """Nothing is in the way any more but the limits."""
        self.holds.hold, self.holds.held, self.plumbed.gone = None, frozenset(), frozenset()
        for domain in list(self.sites.unknown):
            self.do_found(int(domain[1]))
        self.warm(10_000)
        self.moved()
        if self.broken:
            self.do_full_disk(0)
        self.tell()
        for name in [name for name, row in self.store.rows.items() if row.held]:
            self.operator.send_now(*name)
        self.bear()
        self.bear()

    def count_calls(self) -> None:
        """However many gates and lanes there are, not many calls are made within one moment."""
        later = self.clock.callLater

        def counted(after: float, call: Any, *args: Any) -> object:
            when = self.clock.seconds() + after
            self.calls[when] += 1
            assert self.calls[when] < 3000, f"again and again: {call}"
            return later(after, call, *args)

        self.patch(self.clock, "callLater", counted)

    def count_pumps(self) -> None:
        """So that lanes that go round for ever within one moment are seen as that."""
        turns, pumps = self.dispatcher.turns, Counter[float]()
        pump = turns._pump_marked

        def counted() -> None:
            pumps[self.clock.seconds()] += 1
            assert pumps[self.clock.seconds()] < 500, "lanes go round and round"
            pump()

        turns._pump_marked = counted  # type: ignore[method-assign]

    def stuck(self, name: tuple[str, int]) -> object:
        lane = self.schedule.known(self.schedule.lane_for(self.store.rows[name]).key)
        turn = lane.turn if lane is not None else None
        return (name, self.now(), self.store.rows[name], turn and (turn.gate and turn.gate.words(), turn.let_go))

    # -- what happens

    def bear(self) -> None:
        self.born += 1
        self.children.append(self.join(f"00000005-{self.born}", ("default", "hop")[self.born % 2]))

    def look(self) -> None:
        for child in self.children:
            for frame in child.heard():
                if type(frame) is Offer:
                    connection = self.ledger.get(frame.connection)
                    goes = connection is not None and is_under_way(connection)
                    self.working[frame.lease] = Relayed(child, frame, goes)
                elif type(frame) in (frames.Go, frames.Dial):
                    for one in self.working.values():
                        if one.offer.connection == frame.connection:
                            one.calls = True
                            if type(frame) is frames.Go:
                                one.goes, one.many = True, frame.many

    def note(self, frame: frames.Frame) -> None:
        """What the host will see: a message begins now, if a child is told that it may."""
        if type(frame) is Offer:
            self.reaches[frame.connection] = [
                host for host, local in zip(HOSTS, (frame.local_address, frame.local_address6), strict=True) if local
            ]
        elif type(frame) is frames.Go:
            self.reaches[frame.connection] = [self.faces[frame.connection]]
        if type(frame) in (Offer, frames.Dial):
            self.note_call(frame)
        if type(frame) is Offer:
            self.lease_on[frame.connection] = frame.lease
            many = 1 + len(frame.fellows)
        elif type(frame) is frames.Go:
            many = frame.many
        else:
            return
        self.most = max(self.most, many)
        connection = self.ledger.get(frame.connection)
        assert connection is not None
        lease = self.lease_on[frame.connection]
        if not is_under_way(connection):
            return
        for rates in (connection.way.sending, connection.address.sending):
            for rate in rates:
                noted = self.begun.setdefault(rate, {})
                self.assertNotIn(lease, noted, "it was begun already")
                noted[lease] = (self.clock.seconds(), float(many))
        for rates in (connection.way.volume, connection.address.volume):
            for rate in rates:
                self.begun.setdefault(rate, {})[lease] = (self.clock.seconds(), float(connection.size))

    def note_call(self, frame: Any) -> None:
        """A host is called now: on a new number, or by leave for another one."""
        connection = self.ledger.get(frame.connection)
        assert connection is not None
        if type(frame) is frames.Dial or frame.connection not in self.lease_on:
            self.calls_made += 1
            hosts = self.reaches[frame.connection]
            face = self.upcoming.pop(frame.connection, hosts[self.calls_made * 7 % 5 % len(hosts)])
            self.faces[frame.connection] = face
            for rate in (*connection.way.opening, *connection.leaving.towards(face).opening):
                self.begun.setdefault(rate, {})[-self.calls_made] = (self.clock.seconds(), 1.0)

    def answer(self, lease: int) -> None:
        one = self.working[lease]
        if one.calls and not one.answered:
            one.answered = True
            self.says(one.child, frames.Answered(one.offer.connection, "mx.test", self.faces[one.offer.connection]))

    def finish(self, lease: int, kept: bool, outcome: Outcome = DELIVERED) -> None:
        one = self.working.pop(lease)
        if outcome.stage in ("connect", "banner", "ehlo"):
            self.forget(lease)
        if outcome.host_address:
            outcome = msgspec.structs.replace(outcome, host_address=self.faces[one.offer.connection])
        while one.others:
            self.fare(one, outcome)
        self.took(one, one.offer.seq, outcome)
        self.done(one.child, one.offer, outcome, kept)

    def fare(self, one: Relayed, outcome: Outcome) -> None:
        """The last one that nothing was said of. Who may not go is left behind, and of the others every third one is:
        its host takes no more."""
        number, fellow = one.others.pop()
        if number > one.many or (one.goes and outcome.stage in ("rcpt", "dot") and number % 3 == 0):
            if number <= one.many:
                self.left_behind(one.offer.lease)
            self.says(one.child, frames.Fared(fellow.lease, None))
        else:
            self.took(one, fellow.seq, outcome)
            self.says(one.child, frames.Fared(fellow.lease, outcome))

    def took(self, one: Relayed, seq: int, outcome: Outcome) -> None:
        if outcome.result is Result.DELIVERED:
            self.delivered.append(f"{one.offer.id}.{seq:03x}")

    def left_behind(self, lease: int) -> None:
        """Its host has seen one recipient less."""
        for rate, noted in self.begun.items():
            if rate.kind == "messages" and lease in noted:
                when, many = noted[lease]
                noted[lease] = (when, many - 1)

    def forget(self, lease: int, begun: bool = False) -> None:
        """Its host has seen nothing of it, or it is `begun` and goes to another."""
        self.forgotten += 1
        for noted in self.begun.values():
            known = noted.pop(lease, None)
            if known is not None and begun:
                noted[-self.forgotten] = known

    def moved(self) -> None:
        self.shutters.look_again()
        self.addresses.look_again()
        self.turn()

    def one(self, n: int, going: bool = True) -> int | None:
        names = [lease for lease, one in sorted(self.working.items()) if one.goes is going]
        return names[n % len(names)] if names else None

    def do_birth(self, n: int) -> None:
        if len(self.children) < 5:
            self.bear()

    def do_mail(self, n: int) -> None:
        domains = [f"d{(n + k) % 5}.test" for k in range(1 + n % 4)]
        flow = flow_text(Flow(USERS[n % 3], "high" if n % 7 == 0 else "normal"))
        zone, body, sender = ("default", "hop")[n % 2], b"x" * (50 * n) + b"\r\n", f"s{n % 4}@src.test"
        self.accept(*domains, zone=zone, flow=flow, body=body, sender=sender)

    def do_deliver(self, n: int) -> None:
        lease = self.one(n)
        if lease is not None:
            self.finish(lease, False)

    def do_deliver_and_keep(self, n: int) -> None:
        lease = self.one(n)
        if lease is not None:
            self.finish(lease, True)

    def do_defer(self, n: int) -> None:
        self.end(n, DEFERRED, n % 2 == 0)

    def do_bounce(self, n: int) -> None:
        self.end(n, BOUNCED, n % 2 == 0)

    def do_complain(self, n: int) -> None:
        self.end(n, RATE, False)

    def do_list(self, n: int) -> None:
        self.end(n, LISTED, False)

    def do_redial(self, n: int) -> None:
        """Another of its hosts is to be called, whatever has become of the first."""
        names = [lease for lease, one in sorted(self.working.items()) if one.calls]
        if names:
            one = self.working[names[n % len(names)]]
            begun = one.goes and n % 2 == 0
            one.calls = one.answered = one.goes = False
            self.forget(one.offer.lease, begun)
            face = self.faces[one.offer.connection]
            hosts = self.reaches[one.offer.connection]
            self.upcoming[one.offer.connection] = hosts[n // 2 % len(hosts)]
            self.says(one.child, frames.Redial(one.offer.connection, begun, face, hosts[n // 2 % len(hosts)]))

    def do_early(self, n: int) -> None:
        lease = self.one(n, going=n % 3 == 0)
        if lease is not None:
            self.finish(lease, False, EARLY)

    def end(self, n: int, outcome: Outcome, kept: bool) -> None:
        lease = self.one(n)
        if lease is not None:
            self.finish(lease, kept, outcome)

    def do_silence(self, n: int) -> None:
        lease = self.one(n, going=False)
        if lease is not None and not self.working[lease].answered:
            self.finish(lease, False, SILENT)

    def do_answer(self, n: int) -> None:
        lease = self.one(n, going=False)
        if lease is not None:
            self.answer(lease)

    def do_quiet(self, n: int) -> None:
        self.say(n, frames.Quiet)

    def do_active(self, n: int) -> None:
        self.say(n, frames.Active)

    def say(self, n: int, what: type[frames.Quiet] | type[frames.Active]) -> None:
        names = sorted(self.working)
        if names:
            one = self.working[names[n % len(names)]]
            self.says(one.child, what(one.offer.connection))

    def do_close(self, n: int) -> None:
        for connection in self.ledger.connections():
            number = connection.number
            resting = connection.kept and connection.state is State.SENDING and not self.is_at_work(number)
            if connection.state is State.IDLE or (resting and not connection.gone):
                child = next(child for child in self.children if child.id == connection.child.key)
                self.says(child, frames.Closed(connection.number))
                return

    def do_part(self, n: int) -> None:
        """Some of the connections that are to be closed are gone."""
        for child in self.joined:
            for number in child.parting[: 1 + n % 3]:
                child.parting.remove(number)
                self.says(child, frames.Closed(number))

    def has_answered(self, number: int) -> bool:
        return any(one.answered for one in self.working.values() if one.offer.connection == number)

    def is_at_work(self, number: int) -> bool:
        return any(one.offer.connection == number for one in self.working.values())

    def do_death(self, n: int) -> None:
        if self.children:
            child = self.children.pop(n % len(self.children))
            self.dispatcher.gone(child, [], n % 5 == 0)
            self.turn()
            self.working = {lease: one for lease, one in self.working.items() if one.child is not child}

    def do_fare(self, n: int) -> None:
        """Something is said of some fellows, and the rest comes later, if ever."""
        names = [lease for lease, one in sorted(self.working.items()) if one.goes and one.others]
        if names:
            one = self.working[names[n % len(names)]]
            outcome = (DELIVERED, DEFERRED)[n % 2]
            for _ in one.others[: 1 + n % 4]:
                self.fare(one, outcome)

    def do_death_with_a_journal(self, n: int) -> None:
        """Hosts had taken some of what it had in hand, and it was told nobody."""
        if self.children:
            child = self.children.pop(n % len(self.children))
            taken = []
            for one in [one for one in self.working.values() if one.child is child and one.goes]:
                places = [(1, one.offer), *one.others]
                for _, theirs in [place for place in places if place[0] <= one.many and (place[0] + n) % 2]:
                    taken.append(self.entry(one.offer)._replace(seq=theirs.seq, lease=theirs.lease))
                    self.took(one, theirs.seq, DELIVERED)
            self.dispatcher.gone(child, taken, n % 3 == 0)
            self.turn()
            self.working = {lease: one for lease, one in self.working.items() if one.child is not child}

    def do_send_now(self, n: int) -> None:
        if self.store.rows:
            name = sorted(self.store.rows)[n % len(self.store.rows)]
            self.operator.send_now(name[0], None if n % 3 else name[1])
            self.turn()

    def do_delete(self, n: int) -> None:
        if self.store.rows:
            self.operator.delete(*sorted(self.store.rows)[n % len(self.store.rows)])
            self.turn()

    def do_full_disk(self, n: int) -> None:
        """The store can't write for a while, or can again."""
        self.broken = not self.broken
        if self.broken:
            self.dispatcher.hold()
        else:
            self.dispatcher.resume()
        self.turn()

    def do_wait(self, n: int) -> None:
        self.clock.pump([0.5] * n)

    def do_tell(self, n: int) -> None:
        self.tell()

    def do_hold(self, n: int) -> None:
        self.holds.hold = Hold("h", Scope(domain=f"d{n % 5}.test"), "so", self.now())
        self.moved()

    def do_release(self, n: int) -> None:
        self.holds.hold = None
        self.moved()

    def do_lose(self, n: int) -> None:
        self.plumbed.gone = frozenset(POOL[: 1 + n % 2])
        self.moved()

    def do_regain(self, n: int) -> None:
        self.plumbed.gone = frozenset()
        self.moved()

    def do_unknown(self, n: int) -> None:
        self.sites.unknown.add(f"d{n % 5}.test")

    def do_found(self, n: int) -> None:
        domain = f"d{n % 5}.test"
        if domain in self.sites.unknown:
            self.sites.unknown.discard(domain)
            self.sites.found(domain)
            self.turn()

    def do_move(self, n: int) -> None:
        """The DNS names other hosts than before."""
        domain = f"d{n % 5}.test"
        if self.sites.named.pop(domain, "") != "big":
            self.sites.named[domain] = "big"
        self.sites.found(domain)
        self.turn()

    def do_warm(self, n: int) -> None:
        """It is midnight: another amount may go by the address in warm-up."""
        self.warm(n % 5)

    def warm(self, amount: int) -> None:
        if self.cold:
            # What is on its way may come back.
            self.warming.left[POOL[0]] = amount
            self.addresses.look_again()
            self.turn()

    # -- what must hold

    def gates(self) -> set[Gate]:
        found: set[Gate] = {gate for scoped in self.limits._scoped.values() for gate in scoped.gates}
        return found | set(self.limits._targets.values())

    def check(self, at_rest: bool = False) -> None:
        connections = self.ledger.connections()
        counted: Counter[Gate] = Counter()
        pending: Counter[Gate] = Counter()
        idle: Counter[Gate] = Counter()
        closing: Counter[Gate] = Counter()
        for connection in connections:
            counted.update(connection.way.counted)
            counted.update(connection.address.connections)
            if connection.state is State.IDLE:
                idle.update((*connection.way.counted, *connection.address.connections))
            elif connection.state is State.CLOSING:
                closing.update((*connection.way.counted, *connection.address.connections))
            else:
                counted.update(connection.way.busy)
            used = connection.local.facing(self.faces[connection.number])
            theirs = self.limits.at(self.made[connection.child.zone], used).connections
            self.assertLessEqual(set(theirs), set(connection.address.connections), "it doesn't count where it leaves")
            for rate, wanted in connection.pending:
                pending[rate] += wanted  # type: ignore[assignment]
        # Each scope has one count, however often its limits are asked for and forgotten.
        scopes: dict[tuple[str, object], Gate] = {}
        for gate in counted:
            if gate.kind == "connections":
                self.assertIs(scopes.setdefault((gate.kind, gate.scope), gate), gate)
        for lane in self.schedule.lanes():
            stands = lane.turn and lane.turn.gate
            if stands and stands.kind in ("connections", "messages", "bytes", "new connections"):
                self.assertIn(stands, self.gates(), f"nobody counts by it: {stands.words()}")
        for rate, noted in self.begun.items():
            self.assert_within(rate, sorted(noted.values()))
        waiting = 0
        for gate in self.gates():
            waiting += len(gate.ring)
            if isinstance(gate, Connections):
                wanted = counted[gate], idle[gate], closing[gate]
                self.assertEqual((gate.open, gate.idle, gate.closing), wanted, gate.words())
                if gate.kind == "connections":
                    self.assertLessEqual(gate.open, gate.most, gate.words())
            elif isinstance(gate, Rate):
                self.assertAlmostEqual(gate.pending, pending[gate])
                self.assertLessEqual(set(gate.kept), set(gate.ring))
                for connection in gate.parked:
                    self.assertIn(connection, connections)
                    if gate.kind != NEW_CONNECTIONS and connection.state not in (State.PARKED, State.WAITING):
                        # It calls another host. When that has answered it may wait for a place in its child first.
                        self.assertFalse(self.has_answered(connection.number), connection.state)
            if at_rest:
                self.assertEqual(len(gate.ring), 0, gate.words())
        rates = [gate for gate in self.gates() if isinstance(gate, Rate) and gate.kind != NEW_CONNECTIONS]
        parked = {one for gate in rates for one in gate.parked}
        self.assertLessEqual({one for one in connections if one.state is State.PARKED}, parked)
        if at_rest:
            room = self.dispatcher.turns.waiting
            self.assertEqual((waiting, room.count, room._without), (0, 0, {}))


    def assert_within(self, rate: Rate, noted: list[tuple[float, float]]) -> None:
        """In no span of its unit more than its amount has begun; of bytes, one message more."""
        first, total = 0, 0.0
        for when, much in noted:
            total += much
            while noted[first][0] <= when - rate.bucket.unit:
                total -= noted[first][1]
                first += 1
            one = 0.0 if rate.kind != "bytes" else max(size for _, size in noted)
            self.assertLessEqual(total, rate.bucket.amount + one, (rate.words(), noted))


class TightChaos(ShapedChaos):
    """One connection and few messages by each address, one of which is being warmed up."""

    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(
            connections=4,
            pool_hash="from",
            address=Limits(max_connections=1, messages=("20/m",), new_connections=("30/m",)),
        ),
        "hop": Zone(connections=2, host="hop.test", max_connections=3, address=Limits(bytes=("2KB/s",))),
    }
    domains: ClassVar[dict[str, Domain]] = {
        "default": Domain(max_connections=1),
        "d0.test": Domain(new_connections=("6/m",)),
    }
    senders: ClassVar[dict[str, Sender]] = {"one": Sender(bytes=("1KB/s",)), "two": Sender(priority="high", weight=1)}
    backoff_section = Backoff(unreachable=(5.0, 20.0), pauses=(1.0, 5.0), climb=30.0, blacklist=20.0)
    cold: ClassVar[tuple[str, ...]] = POOL[:1]

    def setUp(self) -> None:
        super().setUp()
        self.warming.left = {POOL[0]: 3}

    @settings(max_examples=250, deadline=None, report_multiple_bugs=False)
    @given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30)), min_size=20, max_size=150))
    def test_no_limit_is_passed_and_no_mail_forgotten(self, steps: list[tuple[str, int]]) -> None:
        self.live(steps)


class ManyChaos(ShapedChaos):
    """Several recipients travel together, as many as rates have tokens for and hosts take."""

    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(connections=3, recipients_per_transaction=4, messages=("100/s",), bytes=("4KB/s",)),
        "hop": Zone(
            connections=2, host="hop.test", recipients_per_transaction=100, pool_hash="from", throttling="20/s", reuse=6
        ),
    }
    cold: ClassVar[tuple[str, ...]] = POOL[:1]

    def setUp(self) -> None:
        super().setUp()
        self.warming.left = {POOL[0]: 10}

    def do_mail(self, n: int) -> None:
        """To several at one domain."""
        domains = [f"d{(n + k // 6) % 5}.test" for k in range(1 + n % 9)]
        flow = flow_text(Flow(USERS[n % 3], "high" if n % 7 == 0 else "normal"))
        self.accept(*domains, zone=("default", "hop")[n % 2], flow=flow, sender=f"s{n % 4}@src.test")

    def test_they_do(self) -> None:
        """Or the other test shows nothing."""
        self.go_through([("m", 8), ("m", 7)])
        self.assertEqual(self.most, 6)

    @settings(max_examples=250, deadline=None, report_multiple_bugs=False)
    @given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30)), min_size=20, max_size=150))
    def test_no_limit_is_passed_and_no_mail_forgotten(self, steps: list[tuple[str, int]]) -> None:
        self.live(steps)


class SitesChaos(ManyChaos):
    """Several domains travel together; their children find out that some can't, and leave them behind as they do those
    for whom a connection came to nothing."""

    domains: ClassVar[dict[str, Domain]] = {
        "default": Domain(max_connections=2),
        "d0.test": Domain(max_connections=2, messages=("20/m",)),
    }

    def setUp(self) -> None:
        super().setUp()
        self.sites.named = dict.fromkeys(("d0.test", "d1.test", "d2.test"), "small") | self.sites.named
        self.shared = 0

    def fare(self, one: Relayed, outcome: Outcome) -> None:
        number, fellow = one.others[-1]
        early = outcome.stage in ("connect", "banner", "ehlo")
        if not fellow.domain or number > one.many or not (early or number % 4 == 0):
            super().fare(one, outcome)
            return
        one.others.pop()
        if one.goes and not early:
            self.left_behind(one.offer.lease)
        self.says(one.child, frames.Fared(fellow.lease, None, not early))

    def note(self, frame: frames.Frame) -> None:
        super().note(frame)
        if type(frame) is Offer:
            connection = self.ledger.get(frame.connection)
            assert connection is not None
            for domain in {one.domain for one in frame.fellows} - {""}:
                self.shared += 1
                way = self.limits.way(self.made[connection.child.zone], domain, connection.way.site, "")
                self.assertLessEqual(set(way.own.connections), set(connection.way.counted), "it counts for each")
                self.assertEqual(way.own.rates, ())

    def do_mail(self, n: int) -> None:
        """To several at several domains."""
        domains = [f"d{(n + k * k) % 5}.test" for k in range(1 + n % 9)]
        self.accept(*domains, zone=("default", "hop")[n % 2], sender=f"s{n % 4}@src.test")

    def test_they_do(self) -> None:
        self.go_through([("m", 8), ("m", 7)])
        self.assertGreater(self.shared, 2)

    @settings(max_examples=250, deadline=None, report_multiple_bugs=False)
    @given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30)), min_size=20, max_size=150))
    def test_no_limit_is_passed_and_no_mail_forgotten(self, steps: list[tuple[str, int]]) -> None:
        self.live(steps)


class BothChaos(ShapedChaos):
    """Hosts are reached over IPv4 and over IPv6, and each address has its limits."""

    zones: ClassVar[dict[str, Zone]] = {
        "default": Zone(
            connections=4, address=Limits(max_connections=1, messages=("20/m",), new_connections=("30/m",))
        ),
        "hop": Zone(connections=3, host="hop.test", address=Limits(max_connections=2, bytes=("2KB/s",))),
    }
    domains: ClassVar[dict[str, Domain]] = {"default": Domain(max_connections=3)}
    pool: ClassVar[tuple[str, ...]] = (*POOL, "2001:db8::1", "2001:db8::2")

    @settings(max_examples=250, deadline=None, report_multiple_bugs=False)
    @given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30)), min_size=20, max_size=150))
    def test_no_limit_is_passed_and_no_mail_forgotten(self, steps: list[tuple[str, int]]) -> None:
        self.live(steps)


_NAMES = {
    "a": "answer", "m": "mail", "d": "deliver", "k": "deliver_and_keep", "o": "defer", "q": "quiet", "v": "active",
    "c": "close", "z": "death", "w": "wait", "t": "tell", "r": "birth", "p": "complain", "b": "list",
    "s": "silence", "e": "early", "h": "hold", "H": "release", "g": "lose", "G": "regain", "u": "unknown", "l": "found",
    "n": "part", "f": "redial", "M": "move", "W": "warm", "x": "fare", "D": "death_with_a_journal", "S": "send_now",
    "X": "delete", "P": "full_disk", "B": "bounce", "L": "suppress",
}  # fmt: skip
