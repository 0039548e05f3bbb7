"""Recipients of a message in one transaction, and LMTP, on real processes: each has its own result."""

from __future__ import annotations

import os
import smtplib
import subprocess
import sys
from collections import Counter
from typing import Any

from bench.network import free_ports
from bench.peers import environment
from tests.scenario.harness import Mx, Relay, Scenario, deferToThread, signal
from tests.scenario.told import attempts


def transactions(mx: Mx) -> Counter[int]:
    """How many recipients each transaction had that was taken."""
    return Counter(line["tx"] for line in mx.accepted())


class TogetherCase(Scenario):
    timeout = 60

    def host(self, *options: str) -> None:
        self.mx = Mx(self.directory, self.mx.port, options=options)
        self.addCleanup(self.mx.stop)

    async def begun(self, many: int, *, more: str = "", **settings: Any) -> Relay:
        settings.setdefault("retry", '["60s"]')
        relay = self.relay(zone=f"recipients_per_transaction = {many}\n{more}", **settings)
        await self.up(relay)
        await self.until(lambda: relay.children(), 20, "a child", relay)
        return relay

    async def submit(self, relay: Relay, *recipients: str, name: str = "m1") -> None:
        def send() -> None:
            text = f"From: <a@src.test>\r\nX-Audit-Id: {name}\r\nSubject: x\r\n\r\nhello\r\n"
            with smtplib.SMTP("127.0.0.1", relay.smtp, timeout=30) as client:
                assert client.sendmail("a@src.test", recipients, text) == {}

        await deferToThread(send)

    async def told(self, relay: Relay, count: int) -> list[dict[str, str]]:
        """What the mail log says of so many attempts."""
        await self.until(lambda: len(attempts(relay.said())) >= count, 30, f"{count} outcomes", relay)
        return attempts(relay.said())


class Together(TogetherCase):
    async def test_100_recipients_in_transactions_of_20(self) -> None:
        kept = f"{self.directory}/kept"
        os.mkdir(kept)
        self.host("--dump", kept)
        relay = await self.begun(20)
        await self.submit(relay, *(f"ok+{number}@to.test" for number in range(100)))
        told = await self.told(relay, 100)
        self.assertEqual(sorted(transactions(self.mx).values()), [20] * 5)
        self.assertEqual(len({line["rcpt"] for line in self.mx.accepted()}), 100)
        self.assertEqual(Counter(one["result"] for one in told), {"delivered": 100})
        self.assertEqual(len({one["id"] for one in told}), 100)
        # Nobody learns who else was written to.
        for name in os.listdir(kept):
            with open(f"{kept}/{name}", "rb") as file:
                head = file.read().partition(b"\r\n\r\n")[0]
            self.assertIn(b"Received: ", head)
            self.assertNotIn(b"@to.test", head)

    async def test_by_default_each_has_a_transaction_of_its_own(self) -> None:
        relay = await self.begun(1)
        await self.submit(relay, *(f"ok+{number}@to.test" for number in range(10)))
        await self.told(relay, 10)
        self.assertEqual(sorted(transactions(self.mx).values()), [1] * 10)

    async def test_D12_each_its_own_result(self) -> None:
        relay = await self.begun(20, retry='["1s", "60s"]')
        wanted = ["ok+1@to.test", "perm-rcpt+2@to.test", "tempfail-rcpt-1+3@to.test", "ok+4@to.test"]
        await self.submit(relay, *wanted)
        told = await self.told(relay, 5)
        by = Counter((one["result"], one["to"].strip("<>"), one["stage"]) for one in told)
        self.assertEqual(
            by,
            {
                ("delivered", wanted[0], "dot"): 1,
                ("bounced", wanted[1], "rcpt"): 1,
                ("deferred", wanted[2], "rcpt"): 1,
                ("delivered", wanted[3], "dot"): 1,
                ("delivered", wanted[2], "dot"): 1,
            },
        )
        self.assertEqual(sorted(line["rcpt"] for line in self.mx.accepted()), sorted([*wanted[:1], *wanted[2:]]))

    async def test_D13_who_is_too_many_goes_next(self) -> None:
        """At once, and not by a retry: that would come after a minute."""
        self.host("--most", "7")
        relay = await self.begun(20)
        recipients = [f"ok+{number}@to.test" for number in range(38)] + ["452-rcpt-1+x@to.test", "452-rcpt-1+y@to.test"]
        await self.submit(relay, *recipients)
        told = await self.told(relay, 40)
        self.assertEqual(Counter(one["result"] for one in told), {"delivered": 40})
        self.assertEqual(sorted(line["rcpt"] for line in self.mx.accepted()), sorted(recipients))
        self.assertLessEqual(max(transactions(self.mx).values()), 7)

    async def test_N07_killed_at_the_dot(self) -> None:
        """All are sent again, each alone: one of them might have been to blame."""
        relay = await self.begun(10)
        recipients = ["hang-dot-1+0@to.test", *(f"ok+{number}@to.test" for number in range(1, 10))]
        await self.submit(relay, *recipients)
        await self.until(lambda: any(one["ev"] == "hang" for one in self.mx.seen()), 10, "the dot", relay)
        os.kill(relay.children()[0], signal.SIGKILL)
        told = await self.told(relay, 10)
        self.assertEqual(Counter(one["result"] for one in told), {"delivered": 10})
        self.assertEqual(sorted(line["rcpt"] for line in self.mx.accepted()), sorted(recipients))
        self.assertEqual(sorted(transactions(self.mx).values()), [1] * 10)

    async def test_N26_killed_between_dot_and_report(self) -> None:
        """Only those are sent again that the journal doesn't tell of."""
        relay = await self.begun(10, lease="8s")
        recipients = ["slow-dot-1+0@to.test", *(f"ok+{number}@to.test" for number in range(1, 10))]
        await self.submit(relay, *recipients)
        await self.until(lambda: any(one["ev"] == "wait" for one in self.mx.seen()), 10, "the dot", relay)
        os.kill(relay.master(), signal.SIGSTOP)  # nobody hears the report
        journals = f"{relay.queue}/journal"

        def lines() -> list[bytes]:
            return [line for name in os.listdir(journals) for line in _read(f"{journals}/{name}").splitlines(True)]

        await self.until(lambda: len(lines()) == 10, 10, "ten acceptances in the journal")
        written = lines()
        await deferToThread(relay.kill)
        for name in os.listdir(journals):
            if _read(f"{journals}/{name}"):
                with open(f"{journals}/{name}", "wb") as file:
                    file.writelines(written[:4])
        await self.up(relay)
        told = await self.told(relay, 10)
        self.assertEqual(Counter(one["result"] for one in told), {"delivered": 10})
        copies = Counter(line["rcpt"] for line in self.mx.accepted())
        self.assertEqual(sorted(copies.values()), [1] * 4 + [2] * 6)
        self.assertEqual([copies[to] for to in recipients[:4]], [1] * 4)

    async def test_N07_killed_under_load(self) -> None:
        """Nothing is lost, and no more comes twice than the transactions that were under way."""
        relay = await self.begun(10, retry='["1s", "1s", "1s", "60s"]', processes=2, connections=4)
        names = [f"m{number}" for number in range(24)]
        wanted = set()
        for name in names:
            recipients = [f"ok+{name}.{place}@d{place % 3}.test" for place in range(30)]
            wanted.update(recipients)
            await self.submit(relay, *recipients, name=name)
            if name in ("m8", "m16"):
                os.kill(relay.children()[0], signal.SIGKILL)
        await self.until(lambda: wanted <= {line["rcpt"] for line in self.mx.accepted()}, 30, "all of them", relay)
        copies = Counter(line["rcpt"] for line in self.mx.accepted())
        self.assertEqual(set(copies), wanted)
        self.assertLessEqual(sum(copies.values()) - len(wanted), 2 * 4 * 10)
        self.assertEqual(max(transactions(self.mx).values()), 10)


class Neighbours(TogetherCase):
    """Domains below shared.test have one host, all others each its own; all hosts are at one address."""

    async def named(self, many: int, *domains: str, **settings: Any) -> Relay:
        """A relay that asks a DNS server, and has met these domains."""
        [port] = free_ports(1)
        names = subprocess.Popen(
            [sys.executable, "-m", "bench.names", "--port", str(port)],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(names.wait)
        self.addCleanup(names.kill)
        assert names.stdout is not None
        self.addCleanup(names.stdout.close)
        await deferToThread(names.stdout.readline)
        extra = f'[dns]\nnameservers = ["127.0.0.1:{port}"]'
        relay = await self.begun(many, hop="block_local_addresses = false", extra=extra, **settings)
        await self.submit(relay, *(f"ok+met@{domain}" for domain in domains), name="met")
        await self.told(relay, len(domains))
        return relay

    def sent(self, name: str) -> tuple[list[str], list[int]]:
        """Who has a message, and how many recipients each of its transactions had."""
        lines = [line for line in self.mx.accepted() if line["id"] == name]
        return sorted(line["rcpt"] for line in lines), sorted(Counter(line["tx"] for line in lines).values())

    async def test_D12_at_domains_with_the_same_host(self) -> None:
        """One transaction, and each its own result. Domains whose hosts differ only in name have theirs."""
        domains = ("a.shared.test", "b.shared.test", "c.shared.test", "one.test", "two.test")
        relay = await self.named(20, *domains)
        recipients = [f"ok+{number}@{domain}" for number in range(2) for domain in domains]
        recipients[1] = "perm-rcpt+0@b.shared.test"
        await self.submit(relay, *recipients)
        told = (await self.told(relay, 15))[5:]
        by = Counter((one["result"], one["to"].strip("<>")) for one in told)
        wanted = [("bounced" if to.startswith("perm") else "delivered", to) for to in recipients]
        self.assertEqual(by, Counter(wanted))
        taken = sorted(to for result, to in wanted if result == "delivered")
        self.assertEqual(self.sent("m1"), (taken, [2, 2, 5]))

    async def test_N07_killed_at_the_dot(self) -> None:
        """All are sent again, each alone."""
        domains = ("a.shared.test", "b.shared.test", "c.shared.test")
        relay = await self.named(20, *domains)
        recipients = [f"ok+{number}@{domain}" for number in range(2) for domain in domains]
        recipients[4] = "hang-dot-1+1@b.shared.test"
        await self.submit(relay, *recipients)
        await self.until(lambda: any(one["ev"] == "hang" for one in self.mx.seen()), 10, "the dot", relay)
        os.kill(relay.children()[0], signal.SIGKILL)
        told = (await self.told(relay, 9))[3:]
        self.assertEqual(Counter(one["result"] for one in told), {"delivered": 6})
        self.assertEqual(self.sent("m1"), (sorted(recipients), [1] * 6))

    async def test_N26_killed_between_dot_and_report(self) -> None:
        """What the journal tells of isn't sent again, of whatever domain it is."""
        domains = ("a.shared.test", "b.shared.test", "c.shared.test")
        relay = await self.named(20, *domains, lease="8s")
        recipients = [f"ok+{number}@{domain}" for number in range(2) for domain in domains]
        recipients[0] = "slow-dot-1+0@a.shared.test"
        await self.submit(relay, *recipients)
        await self.until(lambda: any(one["ev"] == "wait" for one in self.mx.seen()), 10, "the dot", relay)
        os.kill(relay.master(), signal.SIGSTOP)  # nobody hears the report
        journals = f"{relay.queue}/journal"

        def lines() -> list[bytes]:
            return [line for name in os.listdir(journals) for line in _read(f"{journals}/{name}").splitlines(True)]

        await self.until(lambda: len(lines()) >= 6, 10, "the acceptances in the journal")
        await deferToThread(relay.kill)
        await self.up(relay)
        told = (await self.told(relay, 9))[3:]
        self.assertEqual(Counter(one["result"] for one in told), {"delivered": 6})
        self.assertEqual(self.sent("m1"), (sorted(recipients), [6]))


class Lmtp(TogetherCase):
    async def check(self, relay: Relay) -> None:
        """A reply for each to the end of the text: one is full, one is gone, and they alone have that."""
        wanted = [f"ok+{number}@to.test" for number in range(3)]
        others = ["tempfail-dot-1+t@to.test", "perm-dot+p@to.test", "perm-rcpt+q@to.test"]
        await self.submit(relay, wanted[0], *others, *wanted[1:])
        told = await self.told(relay, 7)
        by = {(one["to"].strip("<>"), one["result"], one["stage"]) for one in told}
        self.assertEqual(
            by,
            {(to, "delivered", "dot") for to in (*wanted, others[0])}
            | {(others[0], "deferred", "dot"), (others[1], "bounced", "dot"), (others[2], "bounced", "rcpt")},
        )
        self.assertEqual(sorted(line["rcpt"] for line in self.mx.accepted()), sorted([*wanted, others[0]]))

    async def test_lmtp_to_a_port(self) -> None:
        self.host("--lmtp")
        await self.check(await self.begun(20, more="lmtp = true", retry='["1s", "60s"]'))
        self.assertEqual(sorted(transactions(self.mx).values()), [1, 3])

    async def test_lmtp_to_a_socket_one_at_a_time(self) -> None:
        path = f"{self.directory}/lmtp"
        self.mx = Mx(self.directory, self.mx.port, options=("--lmtp", "--socket", path))
        self.addCleanup(self.mx.stop)
        relay = self.relay(zone="lmtp = true", hop=f'host = "{path}"', retry='["1s", "60s"]')
        self.mx.start()
        await self.until(lambda: os.path.exists(path), 10, "the socket")
        await self.up(relay)
        await self.check(relay)
        self.assertEqual(sorted(transactions(self.mx).values()), [1, 1, 1, 1])


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
