"""Who gets no mail: before each attempt, at submission by every way in, after a kill, and as a file."""

from __future__ import annotations

import os
import smtplib
import subprocess
import sys
from typing import Any

from bench.peers import environment
from tests.scenario.harness import Relay, deferToThread, post
from tests.scenario.recording import Recorder
from tests.scenario.test_limits import LimitsCase

PATH = "/v1/suppressions"
TEXT = b"From: <a@src.test>\r\nSubject: x\r\n\r\nhello\r\n"


class SuppressionCase(LimitsCase):
    async def add(self, relay: Relay, **fields: Any) -> Any:
        return await deferToThread(self.asked, relay, PATH, "POST", fields)

    async def by_smtp(self, relay: Relay, *to: str) -> list[int]:
        """What was answered to each recipient, and at the end."""

        def send() -> list[int]:
            with smtplib.SMTP("127.0.0.1", relay.smtp, "client.test", timeout=20) as client:
                client.ehlo()
                client.mail("a@src.test")
                codes = [client.rcpt(one)[0] for one in to]
                return [*codes, client.data(TEXT)[0]]

        return await deferToThread(send)

    async def by_http(self, relay: Relay, *to: str, user: str = "") -> tuple[int, str]:
        path = f"/send-raw?from=a@src.test&to={','.join(to)}"
        headers = {"X-Authenticated-User": user} if user else {}
        status, body = await deferToThread(post, relay.api, path, TEXT, "POST", headers)
        return status, body.decode()

    def struck(self, relay: Relay, to: str) -> list[str]:
        return [line for line in relay.said().splitlines() if " suppressed id=" in line and f" to=<{to}> " in line]

    async def is_struck(self, relay: Relay, to: str) -> str:
        await self.until(lambda: self.struck(relay, to), 20, f"{to} is struck off", relay)
        return self.struck(relay, to)[0]

    def taken(self, sink: Recorder) -> list[str]:
        return sorted(rcpt for _, rcpt, _ in sink.taken)


class BeforeTheAttempt(SuppressionCase):
    async def test_it_is_dropped_and_nobody_is_told(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink)
        made = await self.add(relay, address="Gone@One.test", reason="he asked")
        await self.add(relay, domain="all.test")
        await self.add(relay, address="hers@one.test", tenant="ann")
        codes = await self.by_smtp(relay, "gone@one.test", "who@all.test", "hers@one.test", "here@one.test")
        self.assertEqual(codes, [250] * 5)
        self.assertEqual((await self.by_http(relay, "hers@one.test", "mine@one.test", user="Ann"))[0], 200)
        line = await self.is_struck(relay, "gone@one.test")
        self.assertIn(f'entry={made["id"]} source=manual reason="he asked"', line)
        await self.is_struck(relay, "who@all.test")
        self.assertIn(" user=Ann ", await self.is_struck(relay, "hers@one.test"))
        wanted = ["here@one.test", "hers@one.test", "mine@one.test"]
        await self.until(lambda: self.taken(sink) == wanted, 20, "the others", relay)
        self.assertEqual(len(self.struck(relay, "hers@one.test")), 1)
        self.assertEqual([rcpt for _, rcpt in sink.asked if rcpt not in wanted], [])
        await self.until(lambda: self.asked(relay, "/zones") and not self.left(relay), 20, "an empty queue", relay)
        metrics = (await deferToThread(post, relay.api, "/metrics", b"", "GET"))[1].decode()
        self.assertIn('zonerelay_suppressed_total{where="attempt"} 3.0', metrics)
        self.assertIn("zonerelay_suppressions 3.0", metrics)
        self.assertIn("zonemta_bounce_generation 0.0", metrics)

    def left(self, relay: Relay) -> int:
        counts = self.asked(relay, "/counter/zone/")
        return sum(entry["value"] for kind in ("active", "deferred") for entry in counts[kind]["entries"])

    async def test_what_waited_for_its_retry(self) -> None:
        """Whoever comes on the list meanwhile gets no second attempt; and mail again once the entry is over."""
        sink = self.recorder(answer=lambda peer, rcpt: "450 4.2.1 later" if rcpt == "late@one.test" else "")
        relay = await self.serving(sink, retry='["1s", "1s"]')
        await self.by_smtp(relay, "late@one.test")
        await self.until(lambda: " deferred id=" in relay.said(), 20, "its first attempt", relay)
        made = await self.add(relay, address="late@one.test", duration="1h")
        await self.is_struck(relay, "late@one.test")
        self.assertEqual(self.taken(sink), [])
        await deferToThread(self.asked, relay, f"{PATH}/{made['id']}", "DELETE")
        sink.answer = lambda peer, rcpt: ""
        await self.by_smtp(relay, "late@one.test")
        await self.until(lambda: self.taken(sink) == ["late@one.test"], 20, "its mail", relay)

    async def test_killed_right_behind_the_answer(self) -> None:
        """What was answered is on the list of the next life, however this one ends."""
        sink = self.recorder()
        relay = await self.serving(sink)
        made = await deferToThread(self.asked, relay, "/suppressionlist", "POST", {"address": "gone@one.test"})
        relay.kill()
        await self.up(relay)
        listed = await deferToThread(self.asked, relay, "/suppressionlist")
        self.assertEqual([one["id"] for one in listed["suppressed"]], [made["suppressed"]["id"]])
        await self.by_smtp(relay, "gone@one.test", "here@one.test")
        await self.is_struck(relay, "gone@one.test")
        await self.until(lambda: self.taken(sink) == ["here@one.test"], 20, "the other", relay)


class Automatic(SuppressionCase):
    async def test_who_has_bounced_gets_no_more(self) -> None:
        """A host that says that nobody is there is asked twice, as the policy has it, and not a third time."""
        gone = "550 5.1.1 <gone@one.test>: Recipient address rejected: User unknown"
        sink = self.recorder(answer=lambda peer, rcpt: gone if rcpt == "gone@one.test" else "")
        relay = await self.serving(sink, extra='[suppression]\nbounces = "recipient"\nafter = 2')
        for number in (1, 2):
            await self.by_smtp(relay, "gone@one.test")
            await self.until(lambda n=number: relay.said().count(" bounced id=") == n, 20, "a bounce", relay)
        await self.until(lambda: "gone@one.test gets no more mail" in relay.said(), 20, "its entry", relay)
        told = await deferToThread(self.asked, relay, f"{PATH}?address=gone@one.test")
        entry = told["suppression"]
        self.assertEqual((entry["source"], entry["tenant"]), ("bounce", None))
        self.assertIn("User unknown", entry["reason"])
        await self.by_smtp(relay, "gone@one.test", "here@one.test")
        await self.is_struck(relay, "gone@one.test")
        await self.until(lambda: self.taken(sink) == ["here@one.test"], 20, "the other", relay)
        self.assertEqual([rcpt for _, rcpt in sink.asked].count("gone@one.test"), 2)


class AtSubmission(SuppressionCase):
    async def refused(self, receivers: int) -> None:
        sink = self.recorder()
        relay = await self.serving(sink, receivers=receivers, extra='[suppression]\nat_submission = "refuse"')
        await self.until(lambda: len(relay.receivers()) == receivers, 20, "receivers", relay)
        self.assertEqual(await self.by_smtp(relay, "gone@one.test"), [250, 250])
        await self.until(lambda: self.taken(sink) == ["gone@one.test"], 20, "the first", relay)
        await self.add(relay, address="gone@one.test")
        self.assertEqual(await self.by_smtp(relay, "Gone@one.test", "here@one.test"), [550, 250, 250])
        status, body = await self.by_http(relay, "gone@one.test", "here@one.test")
        self.assertEqual((status, body), (400, '{"error":"on the suppression list: <gone@one.test>"}'))
        await self.until(lambda: len(sink.taken) == 2, 20, "the other", relay)
        self.assertEqual(self.taken(sink), ["gone@one.test", "here@one.test"])

    async def test_refused_by_the_master(self) -> None:
        await self.refused(0)

    async def test_refused_by_receivers(self) -> None:
        await self.refused(2)

    async def test_dropped(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink, receivers=1, extra='[suppression]\nat_submission = "drop"')
        await self.until(lambda: len(relay.receivers()) == 1, 20, "receivers", relay)
        await self.add(relay, domain="all.test")
        self.assertEqual(await self.by_smtp(relay, "one@all.test", "here@one.test"), [250, 250, 250])
        self.assertEqual(await self.by_smtp(relay, "two@all.test"), [250, 250])
        self.assertEqual((await self.by_http(relay, "three@all.test", "there@one.test"))[0], 200)
        for to in ("one@all.test", "two@all.test", "three@all.test"):
            self.assertIn(" listener=", await self.is_struck(relay, to))
        await self.until(lambda: self.taken(sink) == ["here@one.test", "there@one.test"], 20, "the others", relay)


class OnTheCommandLine(SuppressionCase):
    async def test_a_file_in_and_out(self) -> None:
        sink = self.recorder()
        relay = await self.serving(sink)
        path = os.path.join(self.directory, "list.csv")
        with open(path, "wb") as file:
            file.write(b"email,reason\nodd line,\n" + b"".join(b"u%d@one.test,old\n" % n for n in range(3000)))

        def run(*words: str) -> subprocess.CompletedProcess[bytes]:
            command = [sys.executable, "-m", "relay", "suppression", *words, "--config", relay.config]
            return subprocess.run(command, capture_output=True, env=environment())

        done = await deferToThread(run, "import", path)
        self.assertEqual((done.returncode, done.stdout), (1, b"3000 added, 0 known, 1 bad\n"))
        self.assertEqual(done.stderr, b"line 2: recipient: bad domain\n")
        done = await deferToThread(run, "export")
        self.assertEqual((done.returncode, done.stdout.count(b"@one.test,,old,import,")), (0, 3000))
        done = await deferToThread(run, "check", "U7@one.test")
        self.assertEqual(done.returncode, 1)
        await self.by_smtp(relay, "u2999@one.test", "here@one.test")
        await self.is_struck(relay, "u2999@one.test")
        await self.until(lambda: self.taken(sink) == ["here@one.test"], 20, "the other", relay)
