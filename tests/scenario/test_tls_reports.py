"""TLS reports of real processes: what deliveries came to arrives where the domains want it, by mail and by HTTPS."""

from __future__ import annotations

import email
import email.policy
import gzip
import json
import os
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
from twisted.internet import reactor as _reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import DatagramProtocol

from tests.scenario.harness import Mx, Relay, Scenario, deferToThread, post
from tests.unit.certificates import Authority
from tests.unit.dkim_rig import ED25519, put, records, verdicts
from tests.unit.test_tlsrpt_post import Shown, Web

reactor: Any = _reactor


class Names(DatagramProtocol):
    """A name server that knows these records, as (name, type)."""

    def __init__(self, known: dict[tuple[str, str], str]) -> None:
        self._known = known

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        query = dns.message.from_wire(data)
        response = dns.message.make_response(query)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), question.rdtype.name
        found = self._known.get((name, kind))
        if found is not None:
            response.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, found))
        elif all(known != name for known, _ in self._known):
            response.set_rcode(dns.rcode.NXDOMAIN)
        assert self.transport is not None
        self.transport.write(response.to_wire(), addr)


class TlsReports(Scenario):
    timeout = 60

    def names(self, web: int) -> int:
        known = {
            ("good.test", "MX"): "10 mx.good.test.",
            ("bad.test", "MX"): "10 mx.bad.test.",
            ("mute.test", "MX"): "10 mx.good.test.",
            ("mx.good.test", "A"): "127.0.0.1",
            ("mx.bad.test", "A"): "127.0.0.1",
            ("web.test", "A"): "127.0.0.1",
            ("_smtp._tls.good.test", "TXT"): f'"v=TLSRPTv1; rua=https://web.test:{web}/reports"',
            ("_smtp._tls.bad.test", "TXT"): '"v=TLSRPTv1; rua=" "mailto:ok-0+reports@bad.test"',
        }
        port = reactor.listenUDP(0, Names(known), interface="127.0.0.1")
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        return int(port.getHost().port)

    async def begun(self) -> Relay:
        """A relay that wants all hosts proven, and a host that can prove to be mx.good.test alone."""
        authority = Authority()
        Path(self.directory, "ca.pem").write_bytes(authority.chain_pem)
        shown = authority.server("mx.good.test").write(f"{self.directory}/mx.pem")
        os.makedirs(f"{self.directory}/mail")
        options = ("--tls", "--cert", shown, "--key", shown, "--dump", f"{self.directory}/mail")
        self.mx = Mx(self.directory, self.mx.port, "127.0.0.1", options)
        self.addCleanup(self.mx.stop)
        self.web = Web(b"HTTP/1.1 201 Created\r\n\r\n")
        port = reactor.listenSSL(0, self.web, Shown(authority.server("web.test")), interface="127.0.0.1")
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        self.keys = f"{self.directory}/keys"
        put(self.keys, "from.test.s1.pem", ED25519)
        relay = self.relay(
            hop="block_local_addresses = false\nignore_ipv6 = true",
            zone='tls = "verify"',
            extra=f"""
[dns]
nameservers = ["127.0.0.1:{self.names(port.getHost().port)}"]
[tls]
authorities = "{self.directory}/ca.pem"
[tls_reports]
organization = "The Senders"
sender = "tls-reports@from.test"
block_local_addresses = false
[dkim]
keys = "{self.keys}"
""",
        )
        await self.up(relay)
        return relay

    async def ask(self, relay: Relay, path: str, method: str = "GET") -> Any:
        status, body = await deferToThread(post, relay.api, path, method=method)
        self.assertIn(status, (200, 202), body)
        return json.loads(body)

    async def counted(self, relay: Relay) -> dict[str, tuple[int, dict[str, int]]]:
        told = await self.ask(relay, "/v1/tls-reports")
        domains = ((one["domain"], *one["policies"]) for one in told["domains"])
        return {domain: (policy["agreed"], policy["failures"]) for domain, policy in domains}

    async def test_a_day(self) -> None:
        relay = await self.begun()

        def submit() -> None:
            for to in ("ok-0+1@good.test", "ok-0+2@bad.test", "ok-0+3@mute.test"):
                text = f"From: <a@src.test>\r\nTo: <{to}>\r\nSubject: x\r\n\r\nhello\r\n".encode()
                status, body = post(relay.api, "/send-raw", text, headers={"Content-Type": "message/rfc822"})
                assert status in (200, 202), (to, status, body)

        await deferToThread(submit)
        ended = (" delivered id=", " deferred id=")
        await self.until(lambda: sum(map(relay.said().count, ended)) >= 3, 15, "all outcomes", relay)
        # What a child has counted it tells at leaving, and the next relay goes on from there.
        relay.process.terminate()  # type: ignore[union-attr]
        await self.until(lambda: not relay.alive, 15, "the end of the relay", relay)
        await self.up(relay)
        counts = await self.counted(relay)
        self.assertEqual((counts["good.test"], counts["mute.test"]), ((1, {}), (1, {})))
        agreed, failures = counts["bad.test"]
        self.assertEqual((agreed, list(failures)), (0, ["certificate-host-mismatch"]))

        self.assertEqual(await self.ask(relay, "/v1/tls-reports/send", "POST"), {"domains": 3})
        await self.until(lambda: len(self.mail()) == 1, 15, "the report by mail", relay)
        self.check_mail(self.mail()[0])
        await self.until(lambda: len(self.web.heard) == 1, 10, "the report by HTTPS", relay)
        head, _, packed = self.web.heard[0].partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"POST /reports HTTP/1.1\r\n"), head)
        report = json.loads(gzip.decompress(packed))
        policy, summary = report["policies"][0]["policy"], report["policies"][0]["summary"]
        self.assertEqual(policy, {"policy-type": "no-policy-found", "policy-domain": "good.test"})
        self.assertEqual(summary, {"total-successful-session-count": 1, "total-failure-session-count": 0})
        told = await self.ask(relay, "/v1/tls-reports")
        sent = sorted((one["domain"], one["error"]) for one in told["sent"])
        self.assertEqual(sent, [("bad.test", None), ("good.test", None)])
        self.assertEqual(told["waiting"], [])

    def mail(self) -> list[bytes]:
        """Reports that have arrived, by the host that can't prove who it is."""
        taken = [one for one in self.mx.accepted() if one["rcpt"] == "ok-0+reports@bad.test"]
        return [Path(self.directory, "mail", one["file"]).read_bytes() for one in taken]

    def check_mail(self, text: bytes) -> None:
        self.assertEqual(verdicts(text, records(self.keys)), [True])
        mail: Any = email.message_from_bytes(text, policy=email.policy.SMTP)
        self.assertEqual(mail["From"], "tls-reports@from.test")
        self.assertEqual(mail["TLS-Report-Domain"], "bad.test")
        self.assertIn("d=from.test", mail["DKIM-Signature"])
        self.assertIsNone(mail["X-Idempotency-Key"])
        _, attached = mail.iter_parts()
        report = json.loads(gzip.decompress(attached.get_content()))
        self.assertEqual(report["organization-name"], "The Senders")
        self.assertEqual(report["contact-info"], "tls-reports@from.test")
        [policy] = report["policies"]
        failed = policy["summary"]["total-failure-session-count"]
        self.assertEqual(policy["summary"]["total-successful-session-count"], 0)
        self.assertGreaterEqual(failed, 1)
        [failure] = policy["failure-details"]
        self.assertEqual(failure["result-type"], "certificate-host-mismatch")
        self.assertEqual((failure["receiving-mx-hostname"], failure["receiving-ip"]), ("mx.bad.test", "127.0.0.1"))
        self.assertEqual((failure["sending-mta-ip"], failure["failed-session-count"]), ("127.0.0.1", failed))
