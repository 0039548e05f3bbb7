"""Processes that die, freeze and come back (N07-N09, N11-N13, N15-N17, N26): nothing lost, nothing twice.

Leases are two seconds here and heartbeats half a second, so that a freeze needn't last minutes;
`make audit` runs the long forms.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.network import greets
from bench.proctree import command, wait_gone
from tests.scenario.harness import Load, Relay, Scenario, deferToThread, on_disk, recount, signal


class Children(Scenario):
    async def test_N07_child_killed_in_data(self) -> None:
        """N07: killed while a body is on its way: redelivered within 10 s, once."""
        relay = self.relay()
        await self.up(relay)
        load = await self.send(relay, 1, "hang-data+{id}@evil.test")
        await self.until(lambda: any(e["ev"] == "hang" for e in self.mx.seen()), 15, "the DATA phase", relay)
        victim = relay.children()[0]
        os.kill(victim, signal.SIGKILL)
        await self.arrival(load, 10, relay)
        self.assert_safe(await self.drained(relay, load), relay)
        self.assertNotIn(victim, relay.children())

    async def test_N07_children_killed_under_load(self) -> None:
        """N07: five kills under load: nothing lost, second copies only of what was at the dot."""
        relay = self.relay()
        await self.up(relay)
        load = self.load(relay, sessions=4, pause=0.01)
        killed: set[int] = set()
        found: list[int] = []

        def another(count: int) -> bool:
            found[:] = [child for child in relay.children() if child not in killed]
            return len(self.mx.accepted()) > count and bool(found)

        for number in range(5):
            await self.until(lambda n=number: another(n * 50 + 50), 30, "mail", relay)
            killed.add(found[0])
            os.kill(found[0], signal.SIGKILL)
        await self.stop(load)
        self.assert_safe(await self.drained(relay, load), relay, duplicates=5 * 20)

    async def test_N08_frozen_child_notices_before_the_dot(self) -> None:
        """N08: a child stopped between RCPT and DATA loses its lease; thawed, it must not send the dot."""
        relay = self.relay()
        await self.up(relay)
        load = await self.send(relay, 1, "slow-rcpt-3+{id}@evil.test")
        await self.waiting(relay)
        frozen = relay.children()[0]
        os.kill(frozen, signal.SIGSTOP)
        self.addCleanup(_thaw, frozen)
        await self.arrival(load, 30, relay)
        _thaw(frozen)
        self.assert_safe(await self.drained(relay, load, settle=3.0), relay)

    async def test_N09_frozen_master(self) -> None:
        """N09: the master stopped for longer than a lease, under load and with a delivery before its dot:
        no second copy, clients get their answers afterwards."""
        relay = self.relay()
        await self.up(relay)
        early = await self.send(relay, 1, "slow-rcpt-3+{id}@evil.test")
        await self.waiting(relay)
        load = self.load(relay, sessions=4, pause=0.01)
        await self.until(lambda: len(load.accepted()) > 50, 15, "load", relay)
        master = relay.master()
        os.kill(master, signal.SIGSTOP)
        self.addCleanup(_thaw, master)
        seen = len(load.accepted())
        await self.remains(lambda: len(load.accepted()) <= seen + 4, 6.0, "a stopped master answers")
        _thaw(master)
        await self.until(lambda: len(load.accepted()) > seen + 50, 20, "service after the thaw", relay)
        await self.stop(load)
        self.assert_safe(await self.drained(relay, early, load, settle=4.0), relay)

    async def test_N16_crash_loop_is_throttled(self) -> None:
        """N16: a zone whose children die at once: restarts slow down, the other zone's mail flows."""
        relay = self.relay(
            extra=f"""[zones.other]
pool = "default"
host = "127.0.0.1"
port = {self.mx.port}
recipient_domains = ["other.test"]
"""
        )
        await self.up(relay)
        await self.until(lambda: len(relay.children()) == 2, 15, "a child per zone", relay)
        first = {pid: command(pid) for pid in relay.children()}
        await self.send(relay, 1, "ok+{id}@other.test")
        spared = await self._child_of_zone(relay, "ok+{id}@other.test", first)
        killed, end = set(), time.monotonic() + 6

        def strike() -> bool:
            for pid in relay.children():
                if pid != spared:
                    killed.add(pid)
                    _kill(pid)
            return time.monotonic() > end

        await self.until(strike, 30, "six seconds of killing", relay)
        self.assertTrue(2 <= len(killed) <= 24, f"{len(killed)} children started in 6 s")
        good = await self.send(relay, 1, "ok+{id}@other.test")
        await self.arrival(good, 5, relay)
        waiting = await self.send(relay, 1)
        await self.arrival(waiting, 70, relay)

    async def _child_of_zone(self, relay: Relay, recipient: str, children: dict[int, str]) -> int:
        """The child that holds a connection to the MX after a delivery to that zone alone."""
        load = await self.send(relay, 1, recipient)
        await self.arrival(load, 10, relay)
        named = [pid for pid, words in children.items() if "other" in words]
        return named[0] if named else max(children, key=_sockets)


class Master(Scenario):
    async def test_N11_orphans_leave(self) -> None:
        """N11: master killed: its children are gone within 5 s, a new one serves on the same ports."""
        relay = self.relay()
        await self.up(relay)
        load = self.load(relay, sessions=4, pause=0.01)
        await self.until(lambda: len(load.accepted()) > 50, 15, "load", relay)
        os.kill(relay.master(), signal.SIGKILL)
        gone = await deferToThread(wait_gone, relay.tree, 5.0)
        self.assertTrue(gone, f"orphans: {[command(pid) for pid in relay.tree.pids()]}")
        self.assertLess(await self.up(relay), 10.0)
        await self.more(load, 50, relay)
        await self.stop(load)
        self.assert_safe(await self.drained(relay, load), relay, duplicates=20)

    async def test_N12_old_children_are_fenced(self) -> None:
        """N12: a new master beside a child of the old one, thawed before its dot: one copy."""
        relay = self.relay()
        await self.up(relay)
        load = await self.send(relay, 1, "slow-rcpt-3+{id}@evil.test")
        await self.waiting(relay)
        old = relay.children()[0]
        os.kill(old, signal.SIGSTOP)
        self.addCleanup(_kill, old)
        os.kill(relay.master(), signal.SIGKILL)
        await self.until(lambda: not greets(relay.smtp), 10, "the old master's end")
        await self.up(relay)
        _thaw(old)
        self.assert_safe(await self.drained(relay, load, settle=4.0), relay)
        await self.until(lambda: old not in relay.trees[0].pids(), 5, "the orphan's end")

    async def test_N13_everything_killed_at_once(self) -> None:
        """N13: the whole tree, three times under load: 0 lost."""
        relay = self.relay()
        await self.up(relay)
        load = self.load(
            relay, sessions=8, pause=0.005, recipients=["ok+{id}@evil.test", "greylist+{id}@evil.test"]
        )
        for _ in range(3):
            await self.more(load, 100, relay)
            await deferToThread(relay.kill)
            await self.up(relay)
        await self.stop(load)
        self.assert_safe(await self.drained(relay, load), relay, duplicates=3 * 20)

    async def test_N15_second_master_is_refused(self) -> None:
        """N15: on the same queue, same and other ports: refused with a clear line, the first unharmed."""
        relay = self.relay()
        await self.up(relay)
        ports = {"smtp": relay.smtp, "api": relay.api, "channel": relay.channel}
        for name, same in (("other-ports", {}), ("same-ports", ports)):
            os.mkdir(f"{self.directory}/{name}")
            second = Relay(f"{self.directory}/{name}", self.mx.port, queue=relay.queue, **same)
            self.addCleanup(second.kill)
            second.start()
            await self.until(lambda s=second: not s.alive, 10, "the second master's end", second)
            assert second.process is not None
            self.assertNotEqual(second.process.returncode, 0)
            said = [line for line in second.said().splitlines() if line.strip()]
            self.assertRegex(said[-1].lower(), "queue|in use|held|address|listen")
            self.assertNotIn("Traceback", second.said())
        load = await self.send(relay, 1)
        await self.arrival(load, 5, relay)


class Shutdown(Scenario):
    async def _stopped(self, *signals: int) -> None:
        relay = self.relay()
        await self.up(relay)
        load = self.load(relay, sessions=8, recipients=["ok+{id}@evil.test", "greylist+{id}@evil.test"])
        await self.until(lambda: len(load.accepted()) > 200, 20, "load", relay)
        for number in signals:
            if relay.alive:
                os.kill(relay.master(), number)
        await self.until(lambda: not relay.alive, 30, "the exit", relay)
        self._assert_clean(relay)
        self.assertTrue(await deferToThread(wait_gone, relay.tree, 5.0), "children left behind")
        await self.up(relay)
        await self.stop(load)
        self.assert_safe(await self.drained(relay, load), relay)

    def _assert_clean(self, relay: Relay) -> None:
        assert relay.process is not None
        self.assertEqual(relay.process.returncode, 0, relay.said()[-800:])
        self.assertNotIn("Traceback", relay.said())

    async def test_N17_term_under_load(self) -> None:
        """N17: SIGTERM: exit 0 within 30 s, nothing lost, nothing twice."""
        await self._stopped(signal.SIGTERM)

    async def test_N17_term_twice(self) -> None:
        """N17: impatience loses nothing either."""
        await self._stopped(signal.SIGTERM, signal.SIGTERM)

    async def test_N17_interrupt(self) -> None:
        """N17: Ctrl-C is a clean stop."""
        await self._stopped(signal.SIGINT)

    async def test_N17_the_final_dot_is_waited_for(self) -> None:
        """N17: a delivery that waits for the answer to its dot is completed, not repeated."""
        relay = self.relay()
        await self.up(relay)
        load = await self.send(relay, 3, "slow-dot-3+{id}@evil.test")
        await self.waiting(relay, 3)
        await self.stopped(relay)
        self._assert_clean(relay)
        self.assertEqual(on_disk(relay), [], "what was taken is still to be sent")
        self.assert_safe(recount(self.mx, load), relay)


class OutcomeJournal(Scenario):
    """N26: accepted by the MX, the report lost. Only the journal keeps that from being a second copy."""

    async def _reports_lost(self, forget: bool) -> tuple[Relay, Load]:
        relay = self.relay(lease="8s")
        await self.up(relay)
        load = await self.send(relay, 20, "slow-dot-4+{id}@evil.test", sessions=20)
        await self.waiting(relay, 20)
        os.kill(relay.master(), signal.SIGSTOP)  # nobody hears the reports
        await self.until(lambda: not recount(self.mx, load).lost, 15, "the MX took all")
        journals = Path(relay.queue, "journal")
        await self.until(
            lambda: sum(file.read_bytes().count(b"\n") for file in journals.iterdir()) >= 20, 15, "20 in the journal"
        )
        await deferToThread(relay.kill)
        if forget:
            for file in journals.iterdir():
                file.unlink()
        await self.up(relay)
        return relay, load

    async def test_N26_lost_reports_are_read_from_the_journal(self) -> None:
        """N26: twenty acceptances whose reports nobody heard: no second copy."""
        relay, load = await self._reports_lost(forget=False)
        await self.stopped(relay)
        self.assertEqual(on_disk(relay), [], "what was taken is still to be sent")
        self.assert_safe(recount(self.mx, load), relay, duplicates=0)

    async def test_N26_negative_control_without_the_journal(self) -> None:
        """Negative control: without the journal there are second copies, or the test above proves nothing."""
        relay, load = await self._reports_lost(forget=True)
        await self.until(lambda: len(recount(self.mx, load).duplicates) >= 10, 20, "second copies", relay)
        self.assertEqual(recount(self.mx, load).lost, [])


def _sockets(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # already gone


def _thaw(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass  # the master has ended it meanwhile, which is right too
