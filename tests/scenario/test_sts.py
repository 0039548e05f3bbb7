"""MTA-STS on real processes: a policy host, names, and an MX whose certificate is good or bad. Row D26."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.trial.unittest import SkipTest

from bench.network import greets
from tests.peers.names import Names
from tests.peers.policyhost import PolicyHost
from tests.scenario.harness import Relay, Scenario, deferToThread, post, submit_required
from tests.unit.certificates import Authority, Pair

DOMAINS = ("safe.test", "tried.test", "plain.test")
ENFORCED = "4.7.5 TLS with mx.safe.test: the certificate is not trusted: certificate has expired"


def policy(mode: str, mx: str = "mx.safe.test", max_age: int = 86400) -> str:
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {mx}\r\nmax_age: {max_age}\r\n"


class Sts(Scenario):
    """All domains have the same MX, mx.safe.test; safe.test has a policy, tried.test tries one, plain.test has none."""

    timeout = 120
    authority: ClassVar[Authority] = Authority()

    def setUp(self) -> None:
        super().setUp()
        # Port 443, where policies have to be, of an address that no other test has.
        self.address = f"127.{random.randint(16, 250)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
        self.open()
        self.names = Names()
        self.addCleanup(self.names.stop)
        for domain in DOMAINS:
            self.publish(domain, "MX", "10 mx.safe.test.")
            self.publish(f"mta-sts.{domain}", "A", self.address)
        self.publish("mx.safe.test", "A", "127.0.0.1")
        self.policy("safe.test", "1", "enforce")
        self.policy("tried.test", "1", "testing")
        with open(f"{self.directory}/ca.pem", "wb") as file:
            file.write(self.authority.chain_pem)
        self.good = self.authority.server("mx.safe.test")
        self.expired = self.authority.server("mx.safe.test", days=-1)

    def open(self) -> None:
        shown = self.authority.server(*(f"mta-sts.{domain}" for domain in DOMAINS))
        try:
            self.policies = PolicyHost(self.address, shown.write(f"{self.directory}/policyhost.pem"))
        except PermissionError:
            raise SkipTest("port 443 may not be used: MTA-STS by real processes NOT TESTED") from None
        self.addCleanup(self.policies.stop)

    def publish(self, name: str, kind: str, *texts: str) -> None:
        self.names.published[name, kind] = list(texts)

    def policy(self, domain: str, number: str, mode: str, **more: Any) -> None:
        self.publish(f"_mta-sts.{domain}", "TXT", f'"v=STSv1; id={number};"')
        self.policies.policies[f"mta-sts.{domain}"] = policy(mode, **more)

    async def show(self, shown: Pair, *more: str) -> None:
        """The MX, from now on with this certificate, and more options."""
        self.mx.stop()
        path = shown.write(f"{self.directory}/mx.pem")
        self.mx.options = ("--tls", "--cert", path, "--key", path, *more)
        self.mx.start()
        await self.until(lambda: greets(self.mx.port), 10, "the MX")

    async def begun(self, more: str = "", **settings: Any) -> Relay:
        relay = self.relay(
            hop="block_local_addresses = false\nignore_ipv6 = true",
            extra=f'{more}[tls]\nauthorities = "{self.directory}/ca.pem"\n[timeouts]\nsts = "2s"\n'
            f'[dns]\nnameservers = ["127.0.0.1:{self.names.port}"]\ntimeout = "300ms"\ntries = 1\n',
            retry='["60s"]',
            **settings,
        )
        await self.up(relay)
        return relay

    async def ended(self, relay: Relay, *domains: str, header: str = "Subject: x") -> list[str]:
        """Send to each; what the mail log says of it."""

        def submit() -> None:
            for domain in domains:
                text = f"From: <a@src.test>\r\nTo: <ok@{domain}>\r\n{header}\r\n\r\nhello\r\n".encode()
                status, body = post(relay.api, "/send-raw", text, headers={"Content-Type": "message/rfc822"})
                assert status in (200, 202), (domain, status, body)

        return await self.told(relay, submit, *domains)

    async def told(self, relay: Relay, submit: Callable[[], None], *domains: str) -> list[str]:
        """What the mail log says of what is submitted to each."""
        before = len(relay.said())

        def told() -> list[str]:
            lines = relay.said()[before:].splitlines()
            lines = [line for line in lines if re.search(" (delivered|deferred|bounced) id=", line)]
            return [next((line for line in lines if f"to=<ok@{domain}>" in line), "") for domain in domains]

        await deferToThread(submit)
        await self.until(lambda: all(told()), 20, "all outcomes", relay)
        return told()

    def taken(self) -> list[str]:
        """The domains whose mail the MX has, in order."""
        return [one["rcpt"].rpartition("@")[2].rstrip(">") for one in self.mx.accepted()]

    async def test_D26_enforced_and_tested(self) -> None:
        """An expired certificate: never for the domain that enforces its policy. Others on the same host don't suffer
        for it, and one that only tries its own gets its mail as without."""
        await self.show(self.expired)
        relay = await self.begun()
        safe, tried, plain = await self.ended(relay, *DOMAINS)
        self.assertIn(" deferred ", safe)
        self.assertIn(ENFORCED, safe)
        for line in (tried, plain):
            self.assertRegex(line, r" delivered .* untrusted")
        self.assertEqual(sorted(self.taken()), ["plain.test", "tried.test"])
        await self.show(self.good)
        [safe] = await self.ended(relay, "safe.test")
        self.assertRegex(safe, r" delivered .* verified \(sts\)")
        self.assertEqual(sorted(self.policies.asked), ["mta-sts.safe.test", "mta-sts.tried.test"], "once for each")

    async def test_D26_a_host_that_is_not_meant(self) -> None:
        """Somebody has put another before the domain's own: it isn't called, and alone it gets nothing."""
        await self.show(self.good)
        self.publish("mx.evil.test", "A", "127.0.0.1")
        self.publish("safe.test", "MX", "5 mx.evil.test.", "10 mx.safe.test.")
        relay = await self.begun(zone="reuse = 1")
        [safe] = await self.ended(relay, "safe.test")
        self.assertRegex(safe, r" delivered .* mx=mx\.safe\.test .* verified \(sts\)")
        self.publish("safe.test", "MX", "5 mx.evil.test.")
        [safe] = await self.ended(relay, "safe.test")
        self.assertIn(" deferred ", safe)
        self.assertIn("4.7.5 The MTA-STS policy of safe.test allows none of its hosts (mx.evil.test)", safe)
        self.assertEqual(self.taken(), ["safe.test"])

    async def test_D26_what_is_known_holds_whatever_fails(self) -> None:
        """Neither a policy host that is down, nor a record that is gone, nor a master that is killed."""
        await self.show(self.good)
        relay = await self.begun(processes=2)
        await self.ended(relay, "safe.test")
        self.policies.stop()
        for domain in DOMAINS:
            self.names.silent.add(f"_mta-sts.{domain}")
        await self.show(self.expired)
        relay.kill()
        await self.up(relay)
        safe, tried = await self.ended(relay, "safe.test", "tried.test")
        self.assertIn(ENFORCED, safe)
        self.assertIn(" delivered ", tried, "which isn't known")
        self.assertEqual(self.taken(), ["safe.test", "tried.test"])

    async def test_D26_a_policy_that_changes(self) -> None:
        await self.show(self.expired)
        relay = await self.begun(zone="reuse = 1")
        self.assertIn(ENFORCED, (await self.ended(relay, "safe.test"))[0])
        self.policy("safe.test", "2", "none")
        self.assertIn(" delivered ", (await self.ended(relay, "safe.test"))[0])
        self.policy("safe.test", "3", "enforce")
        self.assertIn(ENFORCED, (await self.ended(relay, "safe.test"))[0])
        self.assertEqual(self.policies.asked, ["mta-sts.safe.test"] * 3)

    async def test_D26_a_policy_host_that_hangs(self) -> None:
        """It costs its time-out once; where a policy has to be, the mail waits."""
        await self.show(self.good)
        self.policies.policies["mta-sts.plain.test"] = None
        self.publish("_mta-sts.plain.test", "TXT", '"v=STSv1; id=1"')
        relay = await self.begun(more='[domains."tried.test"]\ntls = "sts"\n')
        begun = time.monotonic()
        [plain] = await self.ended(relay, "plain.test")
        self.assertRegex(plain, r" delivered .* trusted")
        first = time.monotonic() - begun
        begun = time.monotonic()
        plain, tried = await self.ended(relay, "plain.test", "tried.test")
        self.assertRegex(plain, r" delivered ")
        self.assertLess(time.monotonic() - begun, 2, "it isn't asked again")
        self.assertGreater(first, 2)
        self.assertIn('4.7.5 tried.test needs an MTA-STS policy that is enforced: its mode is \\"testing\\"', tried)
        self.assertEqual(self.policies.asked.count("mta-sts.plain.test"), 1)

    async def test_a_message_that_had_rather_arrive(self) -> None:
        """TLS-Required: No (RFC 8689): the policy doesn't stop it, and what went so opens no way for other mail."""
        await self.show(self.expired)
        relay = await self.begun()
        [safe] = await self.ended(relay, "safe.test", header="TLS-Required: No")
        self.assertRegex(safe, r" delivered .* untrusted")
        [safe] = await self.ended(relay, "safe.test")
        self.assertIn(ENFORCED, safe)
        self.assertEqual(self.taken(), ["safe.test"])

    async def test_requiretls(self) -> None:
        """To a host that a policy names, in force or on trial, if it offers the same; else the message bounces."""
        own = self.authority.server("localhost").write(f"{self.directory}/listener.pem")
        await self.show(self.good, "--requiretls")
        relay = await self.begun(listener=f'tls = "starttls"\ncertificate = "{own}"')

        async def required(*domains: str) -> list[str]:
            recipients = [f"ok@{domain}" for domain in domains]
            return await self.told(relay, lambda: submit_required(relay, *recipients), *domains)

        safe, tried, plain = await required(*DOMAINS)
        self.assertRegex(safe, r" delivered .* verified \(sts\)")
        self.assertRegex(tried, r" delivered .* verified")
        self.assertRegex(plain, r" bounced .*5\.7\.10 .* nothing proves which hosts take mail of plain\.test")
        self.assertEqual(sorted(self.taken()), ["safe.test", "tried.test"])
        self.assertEqual({(one["requiretls"], *one["viol"]) for one in self.mx.accepted()}, {(True,)})
        for shown, options, told in (
            (self.good, (), "5.7.30 "),
            (self.expired, ("--requiretls",), "5.7.10 TLS with mx.safe.test"),
        ):
            await self.show(shown, *options)
            [safe] = await required("safe.test")
            self.assertIn(" bounced ", safe)
            self.assertIn(told, safe)
        self.assertEqual(len(self.taken()), 2)
