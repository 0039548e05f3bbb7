"""Every behaviour of hostile hosts and name servers at once, on real processes: each ends as the table says (D).

All tests look at one run, of some twenty seconds, which the first of them waits for.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise
from typing import Any, ClassVar

from twisted.trial.unittest import TestCase

from bench.network import free_ports, greets
from bench.peers import REPOSITORY
from tests.peers.evil_mx import CONN, IP, RCPT
from tests.scenario.endings import CASES, GUARDED, LOOPING, Case
from tests.scenario.harness import Mx, Relay, post
from tests.scenario.told import attempts

EVIL_DNS = os.path.join(REPOSITORY, "tests", "peers", "evil_dns.py")
#: All endings have come within (seconds).
ALL_ENDED = 35.0
#: Mail for a good host, among all of these, has arrived within (seconds).
UNHINDERED = 3.0
GOOD = 20
#: Most memory that a child has used (bytes), whatever hosts have said to it.
MOST_MEMORY = 150 << 20
#: Steps of the schedule (seconds).
STEPS = (1, 2, 3)
#: Children: two of the default zone, and those of the other two.
PROCESSES = 2
CHILDREN = 4
#: Most questions for one try: of both kinds for each of twenty hosts, and some to find them.
MOST_ASKED = 60
#: Kinds of questions.
A, MX, AAAA = 1, 15, 28

MORE = """
[listeners.second]
endpoint = "tcp:{second}:interface=127.0.0.1"
[zones.{guarded}]
port = {mx}
[zones.{looping}]
port = {second}
[sites.default]
max_connections = 0
[domains."dns-v6hole.evil.test"]
max_connections = 1000
prefer_ipv6 = "on"
{one_at_a_time}
[dns]
nameservers = ["127.0.0.1:{dns}"]
tries = 1
[backoff]
unreachable = ["1s"]
pauses = ["1s"]
[timeouts]
connect = "2s"
banner = "8s"
tls = "1s"
ehlo = "8s"
mail = "3s"
rcpt = "5s"
data = "3s"
body = "2s"
dot = "7s"
quit = "500ms"
"""


class Run:
    """One life of a relay among them, and what was told of it."""

    current: ClassVar[Run | None] = None

    def __init__(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="zonerelay-test-")
        mx, dns, second = free_ports(3)
        hosts = ",".join(("127.0.0.1", *IP.values()))
        self.mx = Mx(self.directory, mx, hosts)
        self.queries = f"{self.directory}/dns.jsonl"
        self.names = subprocess.Popen(
            [sys.executable, EVIL_DNS, "--port", str(dns), "--log", self.queries],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        ordered = {domain(case) for case in CASES if case.count > 1}
        extra = MORE.format(
            mx=mx,
            dns=dns,
            second=second,
            guarded=GUARDED,
            looping=LOOPING,
            one_at_a_time="\n".join(f'[domains."{name}"]\nmax_connections = 1' for name in sorted(ordered)),
        )
        wildcards = ", ".join(f'{{ address = "{one}", name = "relay.test" }}' for one in ("0.0.0.0", "::"))
        steps = ", ".join(f'"{step}s"' for step in STEPS)
        self.relay = Relay(
            self.directory,
            mx,
            hop="block_local_addresses = false",
            processes=PROCESSES,
            connections=40,
            pool=wildcards,
            retry=f'[{steps}, "1h"]',
            extra=extra,
        )
        self.told: dict[str, list[dict[str, str]]] = {}
        self.good: dict[str, float] = {}

    @classmethod
    def once(cls) -> Run:
        """The one that there is, over."""
        if cls.current is None:
            cls.current = Run()
            atexit.register(cls.current.end)
            cls.current.go()
        return cls.current

    def go(self) -> None:
        try:
            self.mx.start()
            self.relay.start()
            self.wait(self.mx.ready, 20)
            self.wait(lambda: greets(self.relay.smtp) and len(self.relay.children()) == CHILDREN, 20)
            self.first_children = set(self.relay.children())
            for number, case in enumerate(CASES):
                for one in range(case.count):
                    self.submit(name(number, one), recipient(number, case), case)
            for number in range(GOOD):
                to = f"ok+good{number}@good{number}.evil.test"
                self.good[to] = time.time()
                self.submit(f"good{number}", to, Case("", "ok", "delivered"))
                time.sleep(0.1)
            self.wait(self.is_over, ALL_ENDED)
            self.children = set(self.relay.children())
            self.peak = max(map(peak, self.children))
            self.lives = self.relay.alive
            self.said = self.relay.said()
        finally:
            self.end()
            self.told = self.lines()
            self.arrived = self.mx.accepted()
            self.events = self.mx.seen()
            with open(self.queries) as file:
                self.asked = [json.loads(line) for line in file if line.endswith("\n")]
            if not os.environ.get("KEEP_SCENARIOS"):
                shutil.rmtree(self.directory, ignore_errors=True)

    def end(self) -> None:
        self.relay.kill()
        self.mx.stop()
        self.names.kill()
        self.names.wait()

    def wait(self, condition: Callable[[], Any], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or not self.relay.alive:
                return  # The tests say what is missing.
            time.sleep(0.1)

    def submit(self, audit: str, to: str, case: Case) -> None:
        head = f"From: <{audit}@src.test>\r\nTo: <{to}>\r\nSubject: x\r\nX-Audit-Id: {audit}\r\n"
        head += "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
        status, body = post(
            self.relay.api,
            f"/send-raw?from={audit}@src.test&to={to.replace('+', '%2B')}",
            f"{head}X-Sending-Zone: {case.zone}\r\n\r\n".encode() + case.body,
            headers={"Content-Type": "message/rfc822"},
        )
        assert status in (200, 202), (audit, status, body)

    def lines(self) -> dict[str, list[dict[str, str]]]:
        """The attempts of each message, by its sender."""
        found = defaultdict(list)
        for attempt in attempts(self.relay.said()):
            found[attempt["sender"][1:].partition("@")[0]].append(attempt)
        return found

    def is_over(self) -> bool:
        told = self.lines()
        return all(
            ended(case, told.get(name(number, one), []))
            for number, case in enumerate(CASES)
            for one in range(case.count)
        )


def peak(pid: int) -> int:
    """The most memory that a process has used (bytes)."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM:"))


def name(number: int, one: int) -> str:
    return f"case{number}-{one}"


def domain(case: Case) -> str:
    return case.to or f"{case.behaviour}.evil.test"


def recipient(number: int, case: Case) -> str:
    by_recipient = case.behaviour in RCPT and case.behaviour != "ok"
    local = case.local or (f"{case.behaviour}-1" if by_recipient else "ok")
    return f"{local}+{number}@{domain(case)}"


def ended(case: Case, told: list[dict[str, str]]) -> bool:
    """Whether there is nothing more to wait for."""
    if case.result == "deferred":
        return len(told) >= case.span[0]
    return bool(told) and told[-1]["result"] != "deferred"


def wrong(run: Run, number: int, case: Case, one: int) -> str:
    """What is not as it should be; "" when all is."""
    audit = name(number, one)
    told = run.told.get(audit, [])
    what = f"{case.behaviour} ({recipient(number, case)}, {audit}): "
    if not told:
        return what + "nothing was told of it"
    results = [line["result"] for line in told]
    last = told[-1]
    least, most = case.span
    copies = [line for line in run.arrived if line["id"] == audit]
    if last["result"] != case.result or set(results[:-1]) - {"deferred"} or not least <= len(results) <= most:
        return what + f"{', '.join(results)}: {last.get('reply')}"
    if not re.search(case.says, last.get("reply", "")):
        return what + f"it said {last.get('reply')!r}"
    if case.stage and last.get("stage") != case.stage:
        return what + f"at {last.get('stage')}: {last.get('reply')}"
    if len(copies) != case.expected:
        return what + f"{len(copies)} copies, {', '.join(results)}"
    if any(line["from"] != f"{audit}@src.test" or line["rcpt"] != recipient(number, case) for line in copies):
        return what + "under another envelope"
    return ""


class EveryHost(TestCase):
    timeout = 120

    def ends(self, row: str) -> None:
        """Every case of a row has ended as the table says."""
        run = Run.once()
        cases = [(number, case) for number, case in enumerate(CASES) if row in case.rows.split()]
        self.assertTrue(cases)
        found = [wrong(run, number, case, one) for number, case in cases for one in range(case.count)]
        self.assertEqual("", "\n".join(filter(None, found)))

    def test_the_table_has_every_behaviour(self) -> None:
        listed = subprocess.run([sys.executable, EVIL_DNS, "--list"], capture_output=True, text=True, check=True)
        faults = [line.split()[0] for line in listed.stdout.splitlines()]
        self.assertEqual({case.behaviour for case in CASES}, {*CONN, *RCPT, *faults})

    def test_D01_hosts_that_hang_and_tarpits(self) -> None:
        self.ends("D01")
        run = Run.once()
        arrived = {line["rcpt"]: line["t"] - run.good[line["rcpt"]] for line in run.arrived if line["rcpt"] in run.good}
        self.assertEqual(len(arrived), GOOD, "mail for good hosts has not arrived")
        self.assertLess(max(arrived.values()), UNHINDERED)

    def test_D02_slow_ones_are_waited_for(self) -> None:
        self.ends("D02")

    def test_D03_dropped_after_the_dot(self) -> None:
        self.ends("D03")

    def test_D04_taken_and_no_answer(self) -> None:
        """Two copies can't be helped, and it is told."""
        self.ends("D04")
        self.assertEqual({"may be sent more than once"}, {line["doubtful"] for line in self.first("accept-then-drop")})

    def test_D05_half_a_reply(self) -> None:
        self.ends("D05")

    def test_D06_two_replies_to_one_message(self) -> None:
        """The second counts for no other."""
        self.ends("D06")

    def test_D07_all_replies_before_any_command(self) -> None:
        self.ends("D07")

    def test_D08_421_anywhere(self) -> None:
        self.ends("D08")

    def test_D09_hosts_that_turn_away(self) -> None:
        self.ends("D09")

    def test_D10_not_now(self) -> None:
        """It is tried again after gaps that grow as the schedule says."""
        self.ends("D10")
        [to] = {to for to in self.refused("tempfail-rcpt") if to.startswith("tempfail-rcpt-3")}
        tries = self.refused("tempfail-rcpt")[to]
        arrived = [line["t"] for line in Run.once().arrived if line["rcpt"] == to]
        gaps = [after - before for before, after in pairwise([*tries, *arrived])]
        for gap, step in zip(gaps, STEPS, strict=True):
            self.assertTrue(step <= gap <= step + 2, f"{gaps} for {STEPS}")

    def test_D11_never(self) -> None:
        """Bounced at once, and not tried again."""
        self.ends("D11")
        for number, case in enumerate(CASES):
            if case.behaviour in ("perm-rcpt", "perm-data", "perm-dot"):
                self.assertEqual(case.count, len(self.refused(case.behaviour)[recipient(number, case)]))

    def test_D12_D19_good_and_bad_recipients_on_one_connection(self) -> None:
        self.ends("D12")
        self.ends("D19")
        reset = [event for event in Run.once().events if event["beh"] == "rset-fail"]
        self.assertTrue(reset, "no connection was used again after a refusal")

    def test_D13_too_many_recipients(self) -> None:
        self.ends("D13")

    def test_D14_greylisted(self) -> None:
        self.ends("D14")

    def test_D15_replies_without_end(self) -> None:
        self.ends("D15")
        self.assertLess(Run.once().peak, MOST_MEMORY)

    def test_D16_D35_replies_and_names_that_are_none(self) -> None:
        """The relay lives, and its log is fit for a terminal."""
        self.ends("D16")
        self.ends("D35")
        run = Run.once()
        self.assertTrue(run.lives, "the relay has ended")
        self.assertEqual(run.children, run.first_children, "a child has ended")
        for word in ("Traceback", "Unhandled"):
            self.assertNotIn(word, run.said)
        self.assertEqual([], sorted({c for c in run.said if not c.isprintable() and c != "\n"}))
        self.assertIn("\\027", next(line["mx"] for line in self.first("dns-hostile-name")))

    def test_D17_dropped_in_the_midst(self) -> None:
        self.ends("D17")

    def test_D18_what_comes_after_a_message(self) -> None:
        self.ends("D18")

    def test_D20_D21_what_a_host_does_not_take(self) -> None:
        """Nothing of it was sent."""
        self.ends("D20")
        self.ends("D21")

    def test_D22_all_that_was_sent_is_clean(self) -> None:
        run = Run.once()
        self.assertGreater(len(run.arrived), len(CASES) // 2)
        self.assertEqual([], [line for line in run.arrived if line["viol"]])

    def test_D23_D24_starttls_that_fails(self) -> None:
        self.ends("D23")
        self.ends("D24")

    def test_D27_records_that_nobody_has_asked_to_be_held(self) -> None:
        self.ends("D27")

    def test_D28_name_servers_that_can_not_tell(self) -> None:
        self.ends("D28")

    def test_D29_name_servers_that_deny_it(self) -> None:
        self.ends("D29")

    def test_D30_an_mx_that_can_not_be_looked_up(self) -> None:
        """No address is asked for in its place."""
        self.ends("D30")
        asked = Run.once().asked
        for behaviour in ("dns-mx-servfail-a-ok", "dns-mx-timeout-a-ok"):
            kinds = {one["type"] for one in asked if one["q"].endswith(f"{behaviour}.evil.test")}
            self.assertEqual(kinds & {A, MX, AAAA}, {MX})

    def test_D31_answers_without_end(self) -> None:
        """So many questions for each try, whatever the answers."""
        self.ends("D31")
        asked = Counter(one["q"].removesuffix(".evil.test").rpartition(".")[2] for one in Run.once().asked)
        for behaviour in ("dns-cname-loop", "dns-cname-chain", "dns-manymx", "dns-manya"):
            tries = max(len(told) for told in self.of(behaviour))
            self.assertLess(asked[behaviour], MOST_ASKED * (tries + 1), behaviour)

    def test_D32_hosts_inside(self) -> None:
        self.ends("D32")

    def test_D33_the_next_address_in_the_same_attempt(self) -> None:
        self.ends("D33")

    def test_D34_odd_answers(self) -> None:
        self.ends("D34")

    def of(self, behaviour: str) -> list[list[dict[str, str]]]:
        """What was told of each of its cases."""
        told = Run.once().told
        return [told[name(number, 0)] for number, case in enumerate(CASES) if case.behaviour == behaviour]

    def first(self, behaviour: str) -> list[dict[str, str]]:
        return [told[0] for told in self.of(behaviour)]

    def refused(self, behaviour: str) -> dict[str, list[float]]:
        """When the MX has refused each recipient of that behaviour."""
        tries = defaultdict(list)
        for event in Run.once().events:
            if event["ev"] == "refuse" and event["beh"] == behaviour:
                tries[event["rcpts"][0]].append(event["t"])
        return tries
