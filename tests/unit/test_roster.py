"""All children: replaced with back-off, watched by heartbeats, their journals read at the end."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from relay.channel import frames
from relay.channel.briefing import ReceiverBriefing, decode
from relay.channel.codec import STRANGER, TO_RECEIVER, FrameReader, pack
from relay.channel.frames import VERSION, Hello
from relay.channel.journal import Acceptance, encode
from relay.channel.link import Link
from relay.channel.reception import Entered
from relay.channel.reception import Heed as Heeded
from relay.children import fence as fences
from relay.children import roster as module
from relay.children.child import GRACE, Child
from relay.children.fence import fence
from relay.children.roster import Roster, Staff
from relay.children.senders import Senders, read_journals
from relay.config.schema import Listener
from relay.intake.heed import Heed
from relay.intake.receivers import Receivers
from relay.suppression.entry import Entry
from tests.unit.suppression_rig import a_list
from tests.unit.test_child import WELCOME, FakeProcess, a_briefing, linked, said
from tests.unit.test_desk import FakeDoor
from tests.unit.test_gate import Wire
from tests.unit.test_receiver import BRIEFING

BEAT = WELCOME.heartbeat


class SpawningClock(Clock):
    """A reactor whose processes are fakes."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned: list[FakeProcess] = []
        self.commands: list[tuple[Any, ...]] = []
        self.error: OSError | None = None

    def spawnProcess(self, protocol: Any, path: str, args: Sequence[str], env: Any, childFDs: Any) -> None:
        self.commands.append((path, list(args), dict(env), childFDs))
        if self.error is not None:
            raise self.error
        process = FakeProcess(protocol, 1000 + len(self.spawned))
        self.spawned.append(process)
        protocol.makeConnection(process)


class FakeWork:
    def __init__(self) -> None:
        self.joins: list[Child] = []
        self.ends: list[tuple[str, list[Acceptance], bool]] = []
        self.on_disk: Deferred[None] | None = None

    def joined(self, child: Child) -> None:
        self.joins.append(child)

    def frame(self, child: Child, frame: Any) -> None:
        pass

    def gone(self, child: Child, accepted: Sequence[Acceptance], crashed: bool) -> Deferred[None]:
        self.ends.append((child.id, list(accepted), crashed))
        return self.on_disk if self.on_disk is not None else succeed(None)


class RosterRig(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = SpawningClock()
        self.work = FakeWork()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.roster = Roster(self.clock, Senders(self.brief, self.directory, self.work), WELCOME)
        self.links: dict[FakeProcess, tuple[Link, Wire]] = {}

    def brief(self, zone: str, name: str) -> Any:
        return a_briefing(zone, name, self.directory / name)

    def join(self, process: FakeProcess) -> Wire:
        self.links[process] = linked(process.protocol)
        self.links[process][0].heard = 1  # its hello
        said(self.links[process][1])
        return self.links[process][1]

    def end(self, process: FakeProcess, status: int = 0, by_signal: int | None = None) -> None:
        process.end(status, by_signal)
        if process in self.links:
            self.links.pop(process)[0].connectionLost(Failure(ConnectionError("closed")))

    def speak(self, process: FakeProcess) -> None:
        self.links[process][0].dataReceived(pack(frames.Pong(1)))


class Spawning(RosterRig):
    def test_one_child_for_each_process_of_each_zone(self) -> None:
        self.roster.start([("a", 2), ("b", 1)])
        self.assertEqual([child.place for child in self.roster.children()], ["a", "a", "b"])
        names = [child.id for child in self.roster.children()]
        self.assertEqual(names, ["00000005-1", "00000005-2", "00000005-3"])

    def test_P05_no_secret_in_arguments_or_environment_and_no_descriptor_but_pipes(self) -> None:
        self.roster.start([("a", 1)])
        _, args, env, descriptors = self.clock.commands[0]
        self.assertNotIn("s3cret", repr((args, env)))
        self.assertEqual(descriptors, {0: "w", 1: "r", 2: "r"})

    def test_admit(self) -> None:
        self.roster.start([("a", 1)])
        child, link = self.roster.children()[0], Link(self.work, FrameReader(STRANGER))  # type: ignore[arg-type]
        self.assertIs(self.roster.admit(Hello(VERSION, "", child.id, "a", 1), link), child)
        self.assertIsNone(self.roster.admit(Hello(VERSION, "", child.id, "b", 1), link))
        self.assertIsNone(self.roster.admit(Hello(VERSION, "", "00000004-1", "a", 1), link))
        self.join(self.clock.spawned[0])
        self.assertIsNone(self.roster.admit(Hello(VERSION, "", child.id, "a", 1), link))

    def test_N07_a_child_that_dies_is_replaced_at_once_by_a_new_one(self) -> None:
        self.roster.start([("a", 1)])
        self.join(self.clock.spawned[0])
        self.clock.advance(10)
        self.end(self.clock.spawned[0], by_signal=9)
        self.assertEqual(self.work.ends, [("00000005-1", [], True)])
        self.clock.advance(module._FIRST_PAUSE)
        self.assertEqual([child.id for child in self.roster.children()], ["00000005-2"])

    def test_how_many_are_here_and_have_crashed(self) -> None:
        self.roster.start([("a", 2), ("b", 1)])
        self.assertEqual(self.roster.staff(), {"a": Staff(2, 0, 0), "b": Staff(1, 0, 0)})
        for process in self.clock.spawned[:]:
            self.join(process)
        self.assertEqual(self.roster.staff(), {"a": Staff(2, 2, 0), "b": Staff(1, 1, 0)})
        self.end(self.clock.spawned[0], by_signal=9)
        self.end(self.clock.spawned[1])
        self.assertEqual(self.roster.staff(), {"a": Staff(2, 0, 1), "b": Staff(1, 1, 0)})
        self.clock.error = OSError("no more processes")
        self.clock.advance(module._FIRST_PAUSE)
        self.assertEqual(self.roster.staff()["a"], Staff(2, 0, 3))

    def test_N16_a_crash_loop_is_throttled_and_harms_no_other_zone(self) -> None:
        self.roster.start([("a", 1), ("b", 1)])
        self.join(self.clock.spawned[1])
        for _ in range(600):
            for process in self.clock.spawned:
                if not process.over and process.protocol.place == "a":
                    self.join(process)
                    self.end(process, 1)
            self.speak(self.clock.spawned[1])
            self.clock.advance(0.1)
        spawned = [process.protocol.place for process in self.clock.spawned]
        self.assertEqual(spawned.count("b"), 1)
        self.assertTrue(10 <= spawned.count("a") <= 20, spawned.count("a"))
        self.assertEqual(len(self.roster.children()), 2 if self.roster.children()[0].place == "a" else 1)

    def test_a_child_that_lived_for_long_is_replaced_soon_again(self) -> None:
        self.roster.start([("a", 1)])
        for _ in range(6):
            self.end(self.clock.spawned[-1], 1)
            self.clock.advance(module._LONGEST_PAUSE)
        self.join(self.clock.spawned[-1])
        self.clock.advance(Senders.soon + 0.1)
        count = len(self.clock.spawned)
        self.end(self.clock.spawned[-1], 1)
        self.clock.advance(module._FIRST_PAUSE)
        self.assertEqual(len(self.clock.spawned), count + 1)

    def test_N19_children_that_end_before_hello_leak_nothing(self) -> None:
        self.roster.start([("a", 1)])
        for _ in range(50):
            self.end(self.clock.spawned[-1], by_signal=9)
            self.clock.advance(module._LONGEST_PAUSE)
        self.assertEqual(len(self.roster.children()), 1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 2)  # the heartbeat, and one hello awaited

    def test_N22_a_fork_that_fails_is_tried_again(self) -> None:
        self.clock.error = OSError(11, "Resource temporarily unavailable")
        self.roster.start([("a", 1)])
        self.clock.advance(module._FIRST_PAUSE)
        self.clock.advance(2 * module._FIRST_PAUSE)
        self.assertEqual((len(self.clock.commands), self.roster.children()), (3, []))
        self.clock.error = None
        self.clock.advance(4 * module._FIRST_PAUSE)
        self.assertEqual(len(self.roster.children()), 1)


class FakePort:
    def fileno(self) -> int:
        return 17


class ReceiverPosts(SynchronousTestCase):
    """N19, N22, P05: receivers are spawned as senders are, with the socket they accept on."""

    def setUp(self) -> None:
        self.clock = SpawningClock()
        self.section = Listener(processes=2)
        self.door = FakeDoor()
        self.suppressions = a_list()
        self.trade = Receivers(self.brief, Heed("refuse", self.suppressions))
        self.trade.serve("feeder", self.section, self.door, FakePort())  # type: ignore[arg-type]
        self.roster = Roster(self.clock, self.trade, WELCOME)

    def brief(self, listener: str, child: str, section: Listener) -> Any:
        return msgspec.structs.replace(BRIEFING, place=listener, child=child, section=section)

    def join(self, process: FakeProcess) -> Link:
        link = Link(process.protocol, FrameReader(STRANGER))
        link.makeConnection(Wire())
        return link

    def heard(self, link: Link) -> list[Any]:
        """What a child was told of recipients since that was asked last."""
        wire: Any = link.transport
        found = [frame for frame in FrameReader(TO_RECEIVER).feed(wire.value()) if type(frame) is Heeded]
        wire.clear()
        return found

    def test_P05_what_one_is_started_with(self) -> None:
        self.roster.start(self.trade.places())
        self.assertEqual([child.id for child in self.roster.children()], ["00000005-r1", "00000005-r2"])
        _, args, env, descriptors = self.clock.commands[0]
        self.assertEqual(args[1:], ["-m", "relay.reception", "feeder"])
        self.assertNotIn("s3cret", repr((args, env)))
        self.assertEqual(descriptors, {0: "w", 1: "r", 2: "r", 3: 17})
        self.assertEqual(decode(self.clock.spawned[0].written, ReceiverBriefing).section, self.section)

    def test_it_speaks_as_a_receiver_and_not_as_a_sender(self) -> None:
        self.roster.start(self.trade.places())
        link = self.join(self.clock.spawned[0])
        link.dataReceived(pack(Entered(1, "192.0.2.1")))
        self.assertEqual(self.door.inside, ["192.0.2.1"])
        link.dataReceived(pack(frames.Pong(1)))
        self.assertFalse(link.transport.aborted)  # type: ignore[attr-defined]
        link.dataReceived(pack(frames.Closed(1)))
        self.assertTrue(link.transport.aborted)  # type: ignore[attr-defined]

    def test_each_is_told_whether_recipients_are_to_be_named(self) -> None:
        self.roster.start(self.trade.places())
        first, second = self.clock.spawned
        link = self.join(first)
        self.assertEqual(self.heard(link), [Heeded(False)])
        entry = self.successResultOf(self.suppressions.add(Entry("x@to.test"))).entry
        self.assertEqual(self.heard(link), [Heeded(True)])
        other = self.join(second)
        self.assertEqual(self.heard(other), [Heeded(True)])
        first.end(by_signal=9)
        link.connectionLost(Failure(ConnectionError("closed")))
        self.successResultOf(self.suppressions.remove(entry.id))
        self.assertEqual((self.heard(link), self.heard(other)), ([], [Heeded(False)]))
        self.assertEqual(len(self.suppressions._watchers), 1)

    def test_N07_one_that_dies_takes_its_clients_along_and_is_back_at_once(self) -> None:
        self.roster.start(self.trade.places())
        first, second = self.clock.spawned
        link = self.join(first)
        link.dataReceived(pack(Entered(1, "192.0.2.1")))
        self.join(second).dataReceived(pack(Entered(1, "192.0.2.2")))
        for _ in range(5):
            self.clock.advance(Receivers.soon + 0.1)
            first.end(by_signal=9)
            link.connectionLost(Failure(ConnectionError("closed")))
            self.clock.advance(module._FIRST_PAUSE)
            first = self.clock.spawned[-1]
            link = self.join(first)
        self.assertEqual((len(self.clock.spawned), self.door.inside), (7, ["192.0.2.2"]))

    def test_N22_a_fork_that_fails_is_tried_again_later_and_later_and_the_rest_goes_on(self) -> None:
        self.roster.start(self.trade.places())
        well, lost = self.clock.spawned
        link = self.join(well)
        self.clock.error = BlockingIOError(11, "Resource temporarily unavailable")
        before = len(self.clock.commands)
        lost.end(by_signal=9)
        for _ in range(600):
            link.dataReceived(pack(frames.Pong(1)))
            self.clock.advance(0.1)
        self.assertTrue(10 <= len(self.clock.commands) - before <= 20)
        self.assertEqual(([child.id for child in self.roster.children()], well.signals), (["00000005-r1"], []))
        self.clock.error = None
        link.dataReceived(pack(frames.Pong(1)))
        self.clock.advance(module._LONGEST_PAUSE)
        self.assertEqual(len(self.roster.children()), 2)

    def test_N19_those_that_end_before_hello_leak_nothing(self) -> None:
        self.roster.start(self.trade.places())
        for _ in range(50):
            for process in self.clock.spawned:
                if not process.over:
                    process.end(by_signal=9)
            self.clock.advance(module._LONGEST_PAUSE)
        self.assertEqual(len(self.roster.children()), 2)
        self.assertEqual(len(self.clock.getDelayedCalls()), 3)  # the heartbeat, and two hellos awaited
        self.assertEqual(self.trade._desks, {})


class Journals(RosterRig):
    def setUp(self) -> None:
        super().setUp()
        self.roster.start([("a", 1)])
        self.entry = Acceptance("0" * 18, 1, 9, "mx.test", "250 ok")
        self.files = [self.directory / f"00000005-1.{n}" for n in (0, 1)]
        for file in self.files:
            file.write_bytes(encode(self.entry))
        self.process = self.clock.spawned[0]
        self.join(self.process)

    def test_N26_the_journal_is_read_only_when_the_process_has_ended(self) -> None:
        self.links.pop(self.process)[0].connectionLost(Failure(ConnectionError("closed")))
        self.clock.advance(GRACE)
        self.assertEqual(self.process.signals, [signal.SIGKILL])
        self.assertEqual(self.work.ends, [])
        self.files[1].write_bytes(b"")  # written until the very end
        self.end(self.process, by_signal=9)
        self.assertEqual(self.work.ends, [("00000005-1", [self.entry], True)])

    def test_N26_it_is_removed_only_when_all_is_on_disk(self) -> None:
        self.work.on_disk = Deferred()
        self.end(self.process, 0)
        self.assertTrue(all(file.exists() for file in self.files))
        self.work.on_disk.callback(None)
        self.assertFalse(any(file.exists() for file in self.files))

    def test_N26_it_stays_when_the_outcomes_could_not_be_written(self) -> None:
        self.work.on_disk = Deferred()
        self.end(self.process, 0)
        self.work.on_disk.errback(OSError("disk"))
        self.assertTrue(all(file.exists() for file in self.files))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.roster.children()), 1)

    def test_an_error_above_keeps_no_place_empty(self) -> None:
        def breaks(*_: object) -> Deferred[None]:
            raise KeyError("bug")

        self.work.gone = breaks  # type: ignore[method-assign]
        self.end(self.process, 1)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.clock.advance(1)
        self.assertEqual(len(self.roster.children()), 1)
        self.assertTrue(self.files[0].exists())

    def test_what_cannot_be_read_does_not_hide_the_rest(self) -> None:
        missing = self.directory / "none.0"
        self.files[1].write_bytes(b"garbage\n")
        self.assertEqual(
            read_journals([missing, *self.files]), {self.files[0]: [self.entry], self.files[1]: []}
        )

    def test_N26_one_that_cannot_be_read_is_kept(self) -> None:
        self.files[1].unlink()
        self.files[1].mkdir()  # reading it fails, whoever we are
        self.end(self.process, 0)
        self.assertEqual([file.exists() for file in self.files], [False, True])
        self.assertEqual(self.work.ends, [("00000005-1", [self.entry], False)])


class Heartbeats(RosterRig):
    def setUp(self) -> None:
        super().setUp()
        self.roster.start([("a", 2)])
        self.well, self.frozen = self.clock.spawned
        self.join(self.well)
        self.join(self.frozen)

    def beat(self, count: int) -> None:
        for _ in range(count):
            self.speak(self.well)
            self.clock.advance(BEAT)

    def test_pings_go_to_all(self) -> None:
        self.beat(2)
        self.assertEqual(said(self.links[self.frozen][1]), [frames.Ping(1), frames.Ping(2)])

    def test_N08_N10_a_silent_child_is_killed_and_no_lease_ends_before_it_is_dead(self) -> None:
        self.beat(module._MISSED)
        self.assertEqual(self.frozen.signals, [])
        self.beat(1)
        self.assertEqual((self.frozen.signals[:1], self.well.signals), ([signal.SIGKILL], []))
        self.assertEqual(self.work.ends, [])
        self.end(self.frozen, by_signal=9)
        self.assertEqual([(name, crashed) for name, _, crashed in self.work.ends], [("00000005-2", True)])

    def test_N08_it_takes_longer_than_a_lease_and_less_than_half_a_minute(self) -> None:
        self.assertTrue(WELCOME.lease < module._MISSED * BEAT < 30)

    def test_N09_when_the_master_stood_still_its_children_were_not_silent(self) -> None:
        self.beat(module._MISSED - 1)
        self.clock.rightNow += 60
        self.clock.advance(BEAT)
        self.beat(module._MISSED - 1)
        self.assertEqual(self.frozen.signals, [])
        self.beat(2)
        self.assertEqual(self.frozen.signals[:1], [signal.SIGKILL])

    def test_a_new_child_in_the_place_begins_anew(self) -> None:
        self.beat(module._MISSED)
        self.end(self.frozen, by_signal=9)
        self.clock.advance(0.1)
        born = self.clock.spawned[-1]
        self.join(born)
        self.beat(module._MISSED - 1)
        self.assertEqual(born.signals, [])


class Stopping(RosterRig):
    def test_N17_all_are_asked_and_awaited_and_none_is_replaced(self) -> None:
        self.roster.start([("a", 2)])
        first, second = self.clock.spawned
        wires = [self.join(process) for process in (first, second)]
        stopped = self.roster.stop()
        self.assertEqual([said(wire) for wire in wires], [[frames.Quit()]] * 2)
        self.end(first, 0)
        self.assertNoResult(stopped)
        self.end(second, 0)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual([crashed for _, _, crashed in self.work.ends], [False, False])
        self.clock.advance(60)
        self.assertEqual((len(self.clock.spawned), self.clock.getDelayedCalls()), (2, []))

    def test_a_place_that_waits_for_its_next_child_is_not_waited_for(self) -> None:
        self.roster.start([("a", 1)])
        self.end(self.clock.spawned[0], 1)
        self.assertIsNone(self.successResultOf(self.roster.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_without_a_start(self) -> None:
        self.assertIsNone(self.successResultOf(self.roster.stop()))

    def test_those_that_do_not_go_can_be_killed(self) -> None:
        self.roster.start([("a", 1)])
        first = self.roster.stop().addTimeout(10, self.clock)
        self.clock.advance(10)
        self.failureResultOf(first)
        self.roster.kill()
        again = self.roster.stop()
        self.end(self.clock.spawned[0], by_signal=9)
        self.assertIsNone(self.successResultOf(again))


class Fence(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.holders: dict[str, int] = {}
        self.silent: set[str] = set()
        self.killed: list[int] = []
        self.patch(fences, "holder", self.holder)
        self.patch(os, "kill", self.kill)
        self.error: type[OSError] | None = None

    def holder(self, path: Path) -> int | None:
        if path.name == "missing.0":
            raise FileNotFoundError(path)
        if path.name in self.silent:
            raise OSError(5, "Input/output error")
        return self.holders.get(path.name)

    def kill(self, pid: int, number: int) -> None:
        self.killed.append(pid)
        if self.error is not None:
            raise self.error()
        self.holders = {name: holder for name, holder in self.holders.items() if holder != pid}

    def fence(self) -> Deferred[None]:
        return Deferred.fromCoroutine(fence([Path("a.0"), Path("a.1"), Path("missing.0")], self.clock))

    def wait(self, seconds: float) -> None:
        self.clock.pump([0.1] * round(seconds * 10))

    def test_nobody_is_there(self) -> None:
        self.assertIsNone(self.successResultOf(self.fence()))

    def test_N11_an_orphan_gets_time_to_leave(self) -> None:
        self.holders = {"a.0": 99, "a.1": 99}
        done = self.fence()
        self.wait(fences.PATIENCE - 0.5)
        self.assertNoResult(done)
        self.holders.clear()
        self.wait(0.2)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.killed, [])

    def test_one_that_does_not_tell_who_holds_it_is_passed_over(self) -> None:
        self.silent, self.holders = {"a.0"}, {"a.1": 99}
        done = self.fence()
        self.wait(fences.PATIENCE - 0.5)
        self.assertNoResult(done)
        with capturedLogs() as events:
            self.wait(1.0)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.killed, [99])
        self.assertEqual([event["file"] for event in events if "file" in event], ["a.0"])

    def test_one_that_tells_after_all(self) -> None:
        self.silent = {"a.0"}
        done = self.fence()
        self.wait(1.0)
        self.assertNoResult(done)
        self.silent.clear()
        self.wait(0.2)
        self.assertIsNone(self.successResultOf(done))

    def test_N12_one_that_stays_is_killed(self) -> None:
        self.holders = {"a.0": 99, "a.1": 99}
        done = self.fence()
        self.wait(fences.PATIENCE + 0.5)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(self.killed, [99])

    def test_N20_nobody_is_killed_twice_or_by_no_id(self) -> None:
        for pid, killed, error in ((-1, [], None), (0, [], None), (99, [99], PermissionError)):
            self.holders, self.killed, self.error = {"a.0": pid}, [], error
            done = self.fence()
            self.wait(fences.PATIENCE + 5)
            self.assertNoResult(done)
            self.assertEqual(self.killed, killed)
            self.holders.clear()
            self.wait(0.2)
            self.assertIsNone(self.successResultOf(done))

    def test_one_that_went_just_now(self) -> None:
        self.holders, self.error = {"a.0": 99}, ProcessLookupError
        done = self.fence()
        self.wait(fences.PATIENCE + 0.5)
        self.holders.clear()
        self.wait(0.2)
        self.assertIsNone(self.successResultOf(done))
