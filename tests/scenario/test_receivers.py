"""Receivers that die, freeze and come back, and a master that does (N07, N08, N11, N17, N19, N22): no 250
is lost, nobody else is disturbed, and the port is there when it is wanted.
"""

from __future__ import annotations

import os
import smtplib
import time
from typing import Any

import msgspec
from argon2 import PasswordHasher
from twisted.internet import task
from twisted.internet.protocol import Factory
from twisted.trial.unittest import TestCase

from bench.network import greets
from bench.proctree import command, rss
from relay.channel.frames import CHUNK, Welcome
from relay.children import roster as rosters
from relay.children.roster import Roster
from relay.config.schema import Listener
from relay.intake.heed import Heed
from relay.intake.receivers import Receivers
from relay.net.shared import hold
from tests.scenario.harness import Load, Relay, Scenario, deferToThread, post, signal
from tests.unit.suppression_rig import a_list
from tests.unit.test_desk import FakeDoor
from tests.unit.test_receiver import BRIEFING

_MB = 1 << 20


class ReceiversCase(Scenario):
    async def serving(self, count: int = 2, **settings: Any) -> Relay:
        """A relay whose receivers are all there."""
        relay = self.relay(receivers=count, **settings)
        await self.up(relay)
        await self.all_there(relay, count)
        return relay

    async def all_there(self, relay: Relay, count: int = 2) -> None:
        await self.until(lambda: len(relay.receivers()) == count, 10, f"{count} receivers", relay)


class Watched(ReceiversCase):
    async def test_what_happens_in_receivers_is_in_the_metrics(self) -> None:
        relay = await self.serving()
        self.assert_safe(await self.drained(relay, await self.send(relay, 5)), relay)
        accepted = b'zonerelay_listener_events_total{event="accepted",listener="feeder"} 5.0'
        await self.until(lambda: accepted in post(relay.api, "/metrics", method="GET")[1], 10, "the count", relay)


class Deaths(ReceiversCase):
    async def test_N07_receivers_killed_under_load(self) -> None:
        """N07: one of two killed each second, 20 sessions: no 250 is lost, and the port never closes."""
        relay = await self.serving()
        master = relay.master()
        load = self.load(relay, sessions=20, pause=0.01)
        await self.more(load, 50, relay)
        for number in range(10):
            await self.until(relay.receivers, 10, "a receiver", relay)
            victims = relay.receivers()
            os.kill(victims[number % len(victims)], signal.SIGKILL)
            self.assertTrue(await deferToThread(greets, relay.smtp, timeout=20.0), "the port is not served")
            await task.deferLater(self.reactor(), 1.0)
            await self.more(load, 50, relay)
        await self.stop(load)
        await self.all_there(relay)
        self.assertEqual((relay.alive, relay.master()), (True, master))
        self.assert_safe(await self.drained(relay, load), relay)

    async def test_N07_all_at_once(self) -> None:
        """N07: both killed: who connects waits a moment and is served."""
        relay = await self.serving()
        for pid in relay.receivers():
            os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        self.assertTrue(await deferToThread(greets, relay.smtp, timeout=10.0))
        self.assertLess(time.monotonic() - begun, 5.0)
        self.assert_safe(await self.drained(relay, await self.send(relay, 5)), relay)

    async def test_N08_a_frozen_receiver_is_replaced(self) -> None:
        """N08: one that stands still is killed after some beats; its port is served meanwhile and after."""
        relay = await self.serving()
        frozen = relay.receivers()[0]
        os.kill(frozen, signal.SIGSTOP)
        # Missed beats end it in 4 s; one that had no time yet to say hello has half a minute for it.
        await self.until(lambda: frozen not in relay.receivers(), 45, "the end of the frozen one", relay)
        await self.all_there(relay)
        self.assert_safe(await self.drained(relay, await self.send(relay, 10, sessions=2)), relay)

    async def test_N11_master_killed_leaves_no_receiver(self) -> None:
        """N11: kill -9 of the master alone, under load: its receivers end with it, the next start binds."""
        relay = await self.serving()
        load = self.load(relay, sessions=8, pause=0.01)
        await self.more(load, 50, relay)
        receivers = relay.receivers()
        os.kill(relay.master(), signal.SIGKILL)
        await self.until(lambda: not any(map(command, receivers)), 1, "the end of the receivers", relay)
        await self.up(relay)
        await self.all_there(relay)
        await self.more(load, 50, relay)
        await self.stop(load)
        # What was at its dot when all died may go twice.
        self.assert_safe(await self.drained(relay, load), relay, duplicates=20)

    async def test_N17_stopped_under_load(self) -> None:
        """N17: SIGTERM: texts under way get their verdict, all is over in time, nothing is lost."""
        relay = await self.serving()
        load = self.load(relay, sessions=8, pause=0.01)
        await self.more(load, 50, relay)
        client = smtplib.SMTP("127.0.0.1", relay.smtp, timeout=20)
        self.addCleanup(client.close)
        await deferToThread(self._to_text, client)
        receivers = relay.receivers()
        assert relay.process is not None
        relay.process.send_signal(signal.SIGTERM)
        await task.deferLater(self.reactor(), 0.5)
        client.send(b"Subject: late\r\n\r\nlate\r\n.\r\n")
        code, answer = await deferToThread(client.getreply)
        self.assertEqual(code, 250, answer)
        self.assertEqual(await deferToThread(relay.process.wait, 15), 0)
        self.assertEqual([pid for pid in receivers if os.path.exists(f"/proc/{pid}")], [])
        await self.stop(load)
        await self.up(relay)
        self.assert_safe(await self.drained(relay, load), relay)

    def _to_text(self, client: smtplib.SMTP) -> None:
        client.ehlo()
        client.mail("a@src.test")
        client.rcpt("ok+late@evil.test")
        client.docmd("DATA")

    async def test_N22_when_nothing_can_be_forked(self) -> None:
        """N22: as by prlimit --nproc: those that run go on, forks are tried again with back-off."""
        relay = await self.serving()
        calls = "clone,clone3,fork,vfork"
        tracer = await self.meddle(relay, f"--trace={calls}", f"--inject={calls}:error=EAGAIN")
        os.kill(relay.receivers()[0], signal.SIGKILL)
        await self.until(lambda: relay.said().count("no child for listener") > 2, 10, "tries", relay)
        load = await self.send(relay, 10)
        self.assertEqual((len(relay.receivers()), len(relay.children())), (1, 1))
        self.assertLess(relay.said().count("no child for listener"), 10)
        tracer.terminate()
        await self.all_there(relay)
        self.assert_safe(await self.drained(relay, load), relay)

    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor


class Bodies(ReceiversCase):
    async def test_Q17_bodies_of_several_chunks(self) -> None:
        relay = await self.serving()
        load = Load(relay.smtp, size=int(3.5 * CHUNK))
        await deferToThread(load.send, 30, 6)
        self.assertEqual(len(load.accepted()), 30)
        self.assert_safe(await self.drained(relay, load), relay)

    async def test_Q17_a_big_message_in_bounded_memory(self) -> None:
        """90 MB pass a receiver, the channel and the master, which grows by LevelDB's buffers and maps."""
        relay = await self.serving(count=1)
        await deferToThread(Load(relay.smtp).send, 3, 1)
        watched = [relay.receivers()[0], relay.master()]
        before = [rss(pid) for pid in watched]
        load = Load(relay.smtp, size=90 * _MB)
        highest = list(before)
        sending = deferToThread(load.send, 1, 1)
        while not sending.called:
            highest = [max(high, rss(pid)) for high, pid in zip(highest, watched, strict=True)]
            await task.deferLater(self.reactor(), 0.02)
        await sending
        self.assertEqual(len(load.accepted()), 1)
        grown = [(high - low) / _MB for high, low in zip(highest, before, strict=True)]
        self.assertTrue(grown[0] < 20 and grown[1] < 80, f"grew by {grown} MB")
        self.assert_safe(await self.drained(relay, load), relay)

    def reactor(self) -> Any:
        from twisted.internet import reactor

        return reactor


class Logins(ReceiversCase):
    async def test_a_login_is_judged_by_the_master(self) -> None:
        """Whichever receiver asks: guesses at one are counted at the other too."""
        users = f"{self.directory}/users.toml"
        hashed = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash("right")
        with open(users, "w") as file:
            file.write(f"[users.me]\npassword = '{hashed}'\n")
        relay = await self.serving(
            listener="auth = true\ninsecure_auth = true\nallow_networks = []",
            extra=f'[access]\nusers = "{users}"\nattempts = 3',
        )

        def login(password: str) -> int:
            with smtplib.SMTP("127.0.0.1", relay.smtp, timeout=20) as client:
                try:
                    client.login("me", password)
                except smtplib.SMTPAuthenticationError as error:
                    return error.smtp_code
                client.sendmail("me@src.test", ["ok@evil.test"], "Subject: x\r\n\r\nx\r\n")
                return 235

        self.assertEqual(await deferToThread(login, "right"), 235)
        await self.until(self.mx.accepted, 20, "the message", relay)
        # smtplib tries two mechanisms each time: that was guess one and two of three.
        self.assertEqual(await deferToThread(login, "wrong"), 535)
        for pid in relay.receivers():
            os.kill(pid, signal.SIGKILL)
        self.assertEqual(await deferToThread(login, "wrong"), 421)


class Births(TestCase):
    """N19: with real processes, and pauses that are short."""

    timeout = 120

    async def test_N19_killed_before_hello_50_times(self) -> None:
        """No zombie, no descriptor and no slot is left."""
        from twisted.internet import reactor

        self.patch(rosters, "_FIRST_PAUSE", 0.001)
        self.patch(rosters, "_LONGEST_PAUSE", 0.001)
        trade = Receivers(
            lambda listener, child, section: msgspec.structs.replace(BRIEFING, child=child, master=os.getpid()),
            Heed("refuse", a_list()),
        )
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")  # type: ignore[attr-defined]
        hold(port)
        self.addCleanup(port.stopListening)
        trade.serve("feeder", Listener(processes=1), FakeDoor(), port)  # type: ignore[arg-type]
        roster = Roster(reactor, trade, Welcome(5, 60.0, 90.0))
        born: set[int | None] = set()

        async def live(births: int) -> int:
            """Descriptors that are open when all those are gone."""
            wanted = len(born) + births
            roster.start(trade.places())
            while len(born) < wanted:
                for child in roster.children():
                    if child.pid not in born:
                        born.add(child.pid)
                        child.kill()
                await task.deferLater(reactor, 0.002)
            stopped = roster.stop()
            roster.kill()
            await stopped
            self.assertEqual(roster.children(), [])
            return len(os.listdir("/proc/self/fd"))

        before = await live(1)  # With the first, the reactor makes itself a pipe for signals.
        self.assertEqual(await live(50), before)
        self.assertEqual([pid for pid in born if os.path.exists(f"/proc/{pid}")], [])
