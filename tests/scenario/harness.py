"""A whole relay, a hostile MX and senders, as real processes, with counts on both sides.

A scenario starts a Relay and an Mx in a directory of its own on free ports, lets a Load send
numbered messages, does something cruel, and asks `verdict` what became of every message that
was answered with 250. Waiting is always for something, with a deadline; nothing outlives a test.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import signal
import smtplib
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from twisted.internet import task
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from bench.network import free_ports, greets
from bench.peers import REPOSITORY, environment, zonerelay_command
from bench.proctree import ProcessTree, command
from relay.message.values import Delivery
from relay.queue import keys
from relay.queue.engine import LevelDb
from relay.queue.records import read_delivery

EVIL_MX = os.path.join(REPOSITORY, "tests", "peers", "evil_mx.py")
EVIL_DNS = os.path.join(REPOSITORY, "tests", "peers", "evil_dns.py")
# A job in the background of a shell ignores SIGINT, and whatever it starts would too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
#: A retry schedule: each second, for as long as it takes.
EACH_SECOND = '["1s"]\nretry_repeat_last = true'
#: Where deliveries are in the queue.
_ROWS = keys.of_message(b"d", ""), b"e"
_SUBREAPER = 36  # prctl: orphans of a killed master become ours, so that they can be seen

CONFIG = """hostname = "relay.test"
shutdown_timeout = "{shutdown_timeout}"
[queue]
path = "{queue}"
sync = {sync}
retry = {retry}
min_free = {min_free}
[listeners.feeder]
endpoint = "tcp:{smtp}:interface=127.0.0.1"
max_size = "100MB"
processes = {receivers}
{listener}
[api]
endpoint = "tcp:{api}:interface={api_host}"
{http}
[channel]
endpoint = "tcp:{channel}:interface=127.0.0.1"
heartbeat = "{heartbeat}"
lease = "{lease}"
[pools]
default = [{pool}]
[zones.default]
pool = "default"
{hop}
port = {mx}
processes = {processes}
connections = {connections}
bounce_mail = {bounces}
{zone}
[domains.default]
max_connections = 1000
{extra}
"""


class Lines:
    """A JSONL file that grows: each look reads only what is new, and no half line."""

    def __init__(self, path: str) -> None:
        self.path, self._position = path, 0
        self._known: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        if os.path.exists(self.path):
            with open(self.path, "rb") as file:
                file.seek(self._position)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._position += len(line)
                    self._known.append(json.loads(line))
        return self._known


class Mx:
    """evil_mx in a process: its log is what really arrived."""

    def __init__(
        self, directory: str, port: int, host: str = "127.0.0.1", options: Sequence[str] = ()
    ) -> None:
        """`options`: more of them for the command, such as where to keep the messages."""
        self.options = options
        self.log, self.events, self.port, self.host = (
            f"{directory}/mx.jsonl",
            f"{directory}/mx-events.jsonl",
            port,
            host,
        )
        self.directory = directory
        self.process: subprocess.Popen[bytes] | None = None
        self._output = f"{directory}/mx.out"
        self._begun = 0
        self._accepted = Lines(self.log)
        self._seen = Lines(self.events)

    def start(self) -> None:
        with open(self._output, "ab") as out:
            self._begun = out.tell()
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    EVIL_MX,
                    "--host",
                    self.host,
                    "--port",
                    str(self.port),
                    "--log",
                    self.log,
                    "--events",
                    self.events,
                    *self.options,
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    def ready(self) -> bool:
        """Whether it listens: it says so. True before it is started, and where that went wrong."""
        if self.process is None or self.process.poll() is not None:
            return True
        with open(self._output, "rb") as file:
            file.seek(self._begun)
            return b"evil_mx on " in file.read()

    def accepted(self) -> list[dict[str, Any]]:
        """What it took, in order; a line under way is left for the next look."""
        return self._accepted.read()

    def seen(self) -> list[dict[str, Any]]:
        """Refusals, drops, hangs, and slow replies that begin to wait."""
        return self._seen.read()

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


class Relay:
    """The relay under test: one queue directory, any number of lives."""

    def __init__(self, directory: str, mx_port: int, **settings: Any) -> None:
        self.directory = directory
        self.smtp, self.api, self.channel = free_ports(3)
        self.settings = {
            "queue": f"{directory}/queue",
            "sync": "true",
            "retry": '["1s", "1s", "1s", "2s", "4s", "8s", "60s"]',
            "min_free": 0,
            "heartbeat": "0.5s",
            "lease": "2s",
            "processes": 1,
            "receivers": 0,
            "listener": "",
            "http": "",
            "connections": 20,
            # Notices come to the MX too, which is there to count: only where a test is about them.
            "bounces": "false",
            "shutdown_timeout": "10s",
            "hop": 'host = "127.0.0.1"',
            "zone": "",
            "pool": '{ address = "0.0.0.0", name = "relay.test" }',
            "extra": "",
            "smtp": self.smtp,
            "api": self.api,
            "api_host": "127.0.0.1",
            "channel": self.channel,
            "mx": mx_port,
            **settings,
        }
        self.queue = str(self.settings["queue"])
        self.config = f"{directory}/zonerelay.toml"
        self.output = f"{directory}/relay.out"
        self.process: subprocess.Popen[bytes] | None = None
        self.trees: list[ProcessTree] = []
        with open(self.config, "w") as file:
            file.write(CONFIG.format(**self.settings))

    def start(self, before: Sequence[str] = (), **variables: str) -> None:
        """Start it, in the foreground; `before` is put in front of the command (strace ...)."""
        with open(self.output, "ab") as out:
            self.process = subprocess.Popen(
                [*before, *zonerelay_command(self.config)],
                cwd=self.directory,
                env=environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.trees.append(ProcessTree(self.process.pid))

    @property
    def tree(self) -> ProcessTree:
        return self.trees[-1]

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def master(self) -> int:
        """The master's pid: the root, or its only child when something was put before it."""
        assert self.process is not None
        if "strace" not in command(self.process.pid):
            return self.process.pid
        return next(p.pid for p in self.tree.members() if p.parent == self.process.pid and p.state != "Z")

    def children(self) -> list[int]:
        """Sender children that live."""
        return [pid for pid in self.tree.pids() if "relay.delivery" in command(pid)]

    def receivers(self) -> list[int]:
        """Receiver children that live."""
        return [pid for pid in self.tree.pids() if "relay.reception" in command(pid)]

    def kill(self) -> None:
        """kill -9 of the whole tree at once."""
        for tree in self.trees:
            tree.kill()
        if self.process:
            self.process.wait()

    def said(self) -> str:
        """All it wrote to stdout and stderr."""
        with open(self.output, errors="replace") as file:
            return file.read()


def submit_required(relay: Relay, *recipients: str, sender: str = "a@src.test") -> None:
    """A message to each with REQUIRETLS, which a listener takes over TLS alone."""
    with smtplib.SMTP("127.0.0.1", relay.smtp, "required.test", timeout=30) as client:
        client.starttls(context=ssl._create_unverified_context())
        for to in recipients:
            text = f"From: <a@src.test>\r\nTo: <{to}>\r\nSubject: x\r\n\r\nhello\r\n"
            client.sendmail(sender, [to], text, ["REQUIRETLS"])


class Speaks(Protocol):
    """What can be asked for its last words: the relay, or a peer."""

    def said(self) -> str: ...


class Verdict(NamedTuple):
    """Recount of everything sent: queue ids don't matter, only what the senders and the MX know."""

    accepted: int
    refused: int
    lost: list[str]
    corrupt: list[str]
    ghosts: list[str]
    duplicates: list[str]


class Load:
    """Sessions that send numbered messages and note each answer; threads, so that the reactor stays free."""

    def __init__(
        self,
        port: int,
        recipients: Sequence[str] = ("ok+{id}@evil.test",),
        size: int = 2000,
        host: str = "127.0.0.1",
    ) -> None:
        self.port, self.recipients, self.size, self.host = port, recipients, size, host
        self.tag = f"{os.getpid():x}-{time.monotonic_ns() % 10**9:x}"
        self.state: dict[str, str] = {}
        self.hash: dict[str, str] = {}
        self.to: dict[str, str] = {}
        self.replies: Counter[str] = Counter()
        self.latencies: list[float] = []
        self._number = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, sessions: int, pause: float = 0.0) -> None:
        """Send from so many sessions until `stop`; each waits `pause` seconds between messages."""
        self._over.clear()
        self._threads = [
            threading.Thread(target=self._session, args=(pause,), daemon=True) for _ in range(sessions)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(40)

    def send(self, count: int, sessions: int = 1) -> None:
        """Send so many messages and come back with their answers noted."""
        left = iter(range(count))
        lock = threading.Lock()

        def some() -> None:
            client = None
            while True:
                with lock:
                    if next(left, None) is None:
                        break
                client = self._one(client or self._connect())
            if client:
                client.close()

        threads = [threading.Thread(target=some, daemon=True) for _ in range(sessions)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)

    def accepted(self) -> list[str]:
        return [name for name, state in self.state.copy().items() if state == "accepted"]

    def _connect(self) -> smtplib.SMTP | None:
        try:
            client = smtplib.SMTP(self.host, self.port, "load.test", timeout=30)
            client.ehlo()
            return client
        except (OSError, smtplib.SMTPException):
            return None

    def _session(self, pause: float) -> None:
        client = None
        while not self._over.is_set():
            client = client or self._connect()
            if client is None:
                self._over.wait(0.1)
                continue
            client = self._one(client)
            if pause:
                self._over.wait(pause)
        if client:
            client.close()

    def _one(self, client: smtplib.SMTP | None) -> smtplib.SMTP | None:
        """One message; the session, or None when it is no good any more."""
        if client is None:
            return None
        with self._lock:
            self._number += 1
            number = self._number
        name = f"{self.tag}-{number}"
        recipient = self.recipients[number % len(self.recipients)].replace("{id}", name)
        body = f"{name}\r\n.dot\r\n".encode() + b"x" * 70 + b"\r\n"
        body *= max(1, self.size // len(body))
        self.hash[name], self.to[name], self.state[name] = (
            hashlib.sha256(body).hexdigest(),
            recipient,
            "unsent",
        )
        head = f"From: <load@src.test>\r\nTo: <{recipient}>\r\nX-Audit-Id: {name}\r\n\r\n".encode()
        try:
            for step, argument in ((client.mail, "load@src.test"), (client.rcpt, recipient)):
                code, reply = step(argument)
                if code != 250:
                    return self._refused(client, name, code, reply)
            self.state[name] = "unknown"
            begun = time.monotonic()
            code, reply = client.data(head + body)
            if code != 250:
                return self._refused(client, name, code, reply)
            self.latencies.append(time.monotonic() - begun)
            self.state[name] = "accepted"
            return client
        except smtplib.SMTPDataError as e:  # DATA itself was refused
            return self._refused(client, name, e.smtp_code, e.smtp_error)
        except (OSError, smtplib.SMTPException):
            client.close()
            return None

    def _refused(self, client: smtplib.SMTP, name: str, code: int, reply: bytes | str) -> smtplib.SMTP | None:
        self.state[name] = "refused"
        words = reply.decode("latin-1") if isinstance(reply, bytes) else reply
        self.replies[f"{code} {words.split(chr(10))[0][:70]}"] += 1
        self._over.wait(0.05)  # a real sender doesn't hammer either
        try:
            client.rset()
            return client
        except (OSError, smtplib.SMTPException):
            client.close()
            return None


def recount(mx: Mx, *loads: Load) -> Verdict:
    """Compare what was answered with what arrived."""
    arrived: dict[str, list[str]] = defaultdict(list)
    for line in mx.accepted():
        arrived[line["id"]].append(line["sha256"])
    state = {name: value for load in loads for name, value in load.state.copy().items()}
    hashes = {name: value for load in loads for name, value in load.hash.copy().items()}
    return Verdict(
        accepted=sum(value == "accepted" for value in state.values()),
        refused=sum(value == "refused" for value in state.values()),
        lost=[name for name, value in state.items() if value == "accepted" and name not in arrived],
        corrupt=[name for name in state if any(h != hashes[name] for h in arrived.get(name, ()))],
        ghosts=[name for name, value in state.items() if value in ("refused", "unsent") and name in arrived],
        duplicates=[name for name in state for _ in arrived.get(name, ())[1:]],
    )


class Scenario(TestCase):
    """A trial case with a relay to be cruel to. Everything it started is gone when it ends."""

    timeout = 180

    def setUp(self) -> None:
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        self.directory = tempfile.mkdtemp(prefix="zonerelay-test-")
        self.addCleanup(self._remove)
        self.mx = Mx(self.directory, free_ports(1)[0])
        self.addCleanup(self.mx.stop)

    def _remove(self) -> None:
        if os.environ.get("KEEP_SCENARIOS"):
            print(f"{self.id()}: kept {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def relay(self, **settings: Any) -> Relay:
        """A relay of this test, not started."""
        relay = Relay(self.directory, self.mx.port, **settings)
        self.addCleanup(relay.kill)
        return relay

    async def up(
        self, relay: Relay, before: Sequence[str] = (), seconds: float = 20.0, **variables: str
    ) -> float:
        """Start it (and the MX, when it isn't yet) and wait until both are there; seconds the relay took."""
        if self.mx.process is None:
            self.mx.start()
        begun = time.monotonic()
        relay.start(before, **variables)
        await self.until(
            lambda: greets(relay.smtp) or not relay.alive, seconds, "the relay's greeting", relay
        )
        if not relay.alive:
            self.fail(f"the relay ended at its start: {relay.said()[-2000:]}")
        took = time.monotonic() - begun
        await self.until(self.mx.ready, seconds, "the MX")
        return took

    async def names(self, *options: str) -> int:
        """Start evil_dns; the port at which it answers from now on."""
        [port] = free_ports(1)
        names = subprocess.Popen(
            [sys.executable, EVIL_DNS, "--port", str(port), *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert names.stdout is not None
        self.addCleanup(names.stdout.close)
        self.addCleanup(names.wait)
        self.addCleanup(names.kill)
        self.assertTrue(await deferToThread(names.stdout.readline), "evil_dns has not begun")
        return port

    async def stopped(self, relay: Relay) -> None:
        """End it as an operator does; after that it has said and written all it will."""
        assert relay.process is not None
        relay.process.terminate()
        await self.until(lambda: not relay.alive, 30, "the relay's end", relay)

    async def waiting(self, relay: Relay, count: int = 1) -> None:
        """Wait until so many deliveries of `slow-rcpt` or `slow-dot` stand at the MX without a reply."""
        await self.until(
            lambda: sum(one["ev"] == "wait" for one in self.mx.seen()) >= count, 20, f"{count} that wait", relay
        )

    async def until(
        self, condition: Callable[[], Any], seconds: float, what: str, relay: Speaks | None = None
    ) -> float:
        """Wait for a condition; seconds it took. Fails, with what the relay said, when it doesn't come."""
        from twisted.internet import reactor

        begun = time.monotonic()
        while not condition():
            if time.monotonic() - begun > seconds:
                said = f"; last words: {relay.said()[-1500:]}" if relay else ""
                self.fail(f"not within {seconds} s: {what}{said}")
            await task.deferLater(reactor, 0.02)
        return time.monotonic() - begun

    async def remains(self, condition: Callable[[], Any], seconds: float, what: str) -> None:
        """A condition has to hold for so long."""
        from twisted.internet import reactor

        begun = time.monotonic()
        while time.monotonic() - begun < seconds:
            self.assertTrue(condition(), what)
            await task.deferLater(reactor, 0.02)

    async def send(
        self, relay: Relay, count: int, recipient: str = "ok+{id}@evil.test", sessions: int = 1
    ) -> Load:
        """Send so many messages; their answers are in the Load."""
        load = Load(relay.smtp, [recipient])
        await deferToThread(load.send, count, sessions)
        return load

    def load(
        self,
        relay: Relay,
        sessions: int = 20,
        pause: float = 0.0,
        recipients: Sequence[str] = ("ok+{id}@evil.test",),
    ) -> Load:
        """Senders that go on until the test ends or stops them."""
        load = Load(relay.smtp, recipients)
        load.start(sessions, pause)
        self.addCleanup(load.stop)
        return load

    async def meddle(self, relay: Relay, *options: str) -> subprocess.Popen[bytes]:
        """Put strace on the running master; it leaves when it is terminated."""
        command = [*strace(*options, output=f"{self.directory}/trace"), "-p", str(relay.master())]
        tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(tracer.wait)
        self.addCleanup(tracer.kill)
        await self.until(lambda: tracer.poll() is not None or traced(relay.master()), 10, "strace")
        if tracer.poll() is not None:
            raise SkipTest("strace may not attach here: faults at a system call NOT TESTED")
        return tracer

    async def more(self, load: Load, count: int, relay: Relay) -> None:
        """Wait until the load has had that many more messages accepted."""
        wanted = len(load.accepted()) + count
        await self.until(lambda: len(load.accepted()) > wanted, 30, f"{count} more accepted", relay)

    async def stop(self, load: Load) -> None:
        await deferToThread(load.stop)

    async def drained(
        self, relay: Relay, *loads: Load, seconds: float = 60.0, settle: float = 1.0
    ) -> Verdict:
        """Wait until everything accepted has arrived, then a little more for late second copies."""

        def missing() -> int:
            return len(recount(self.mx, *loads).lost)

        from twisted.internet import reactor

        end = time.monotonic() + seconds
        while missing() and time.monotonic() < end:
            await task.deferLater(reactor, 0.2)
        await task.deferLater(reactor, settle)
        return recount(self.mx, *loads)

    def assert_safe(
        self, verdict: Verdict, relay: Relay | None = None, duplicates: int = 0, ghosts: int = 0
    ) -> None:
        """Nothing lost or changed, no more second copies and no more refused messages that came than that."""
        said = f"\nrelay said: {relay.said()[-1500:]}" if relay else ""
        self.assertGreater(verdict.accepted, 0, "nothing was accepted: the test shows nothing" + said)
        self.assertEqual(
            (verdict.lost[:5], verdict.corrupt[:5]),
            ([], []),
            f"of {verdict.accepted} accepted: {len(verdict.lost)} lost{said}",
        )
        self.assertLessEqual(len(verdict.ghosts), ghosts, f"refused, yet here: {verdict.ghosts[:5]}{said}")
        self.assertLessEqual(
            len(verdict.duplicates), duplicates, f"second copies of {verdict.duplicates[:5]}{said}"
        )

    async def arrival(self, load: Load, seconds: float, relay: Relay) -> float:
        """Wait until all that a load had accepted has arrived."""
        return await self.until(
            lambda: not recount(self.mx, load).lost, seconds, "arrival of all accepted", relay
        )


def on_disk(relay: Relay) -> list[Delivery]:
    """The deliveries in the queue of a relay that is not running."""
    database = LevelDb(Path(relay.queue) / "db", sync=False)
    try:
        return [read_delivery(record) for _, record in database.items(*_ROWS)]
    finally:
        database.close()


def needs(tool: str, why: str) -> str:
    """The path of a tool; skips the test loudly when it isn't there."""
    path = shutil.which(tool)
    if not path:
        raise SkipTest(f"{tool} isn't installed: {why} NOT TESTED")
    return path


def needs_root(why: str) -> None:
    if os.geteuid():
        raise SkipTest(f"not root: {why} NOT TESTED")


def strace(*options: str, output: str) -> list[str]:
    """strace in front of a command, quiet, threads and children followed; skips where it may not trace."""
    path = needs("strace", "faults at a system call")
    tried = subprocess.run([path, "-qq", "-e", "trace=none", "true"], capture_output=True)
    if tried.returncode:
        raise SkipTest(f"strace may not trace here: {tried.stderr.decode()[:100]}")
    return [path, "-f", "-qq", "-o", output, *options]


def traced(pid: int) -> bool:
    """Whether somebody traces all threads of that process."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/status") as file:
            if "TracerPid:\t0\n" in file.read():
                return False
    return True


def post(
    port: int,
    path: str,
    body: bytes = b"",
    method: str = "POST",
    headers: dict[str, str] | None = None,
    timeout: float = 20.0,
) -> tuple[int, bytes]:
    """One HTTP request to loopback, in this thread: status and body."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body or None, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read(1 << 20)
    finally:
        connection.close()


__all__ = [
    "EACH_SECOND",
    "Load",
    "Mx",
    "Relay",
    "Scenario",
    "Verdict",
    "deferToThread",
    "needs",
    "needs_root",
    "on_disk",
    "post",
    "recount",
    "signal",
    "strace",
]
