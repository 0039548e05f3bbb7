"""`zonerelay hold`, `release`, `holds` and `decisions`, asking a site that listens."""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet import reactor as _reactor
from twisted.internet.defer import execute
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from relay.cli import api as cli_api
from relay.cli.api import Api, ApiError, NoAnswer, plain
from relay.cli.decisions import follow
from relay.cli.main import main
from relay.dispatch.decisions import Decisions
from relay.dispatch.holds import Holds
from relay.http.decisions import DecisionsApi
from relay.http.holds import HoldsApi
from relay.logs.maillog import MailLog
from relay.zone.decision import Decision, Scope
from tests.unit.api_rig import NOW, Rig

reactor: Any = _reactor
ISO = "2026-11-22T03:58:10.123Z"


def never(config: str) -> IService:
    raise AssertionError("nothing was to be started")


def streams(case: Any) -> None:
    """What commands print goes into `out` and `err` of the case."""
    case.out, case.err = io.StringIO(), io.StringIO()
    case.patch(sys, "stdout", case.out)
    case.patch(sys, "stderr", case.err)


class Asking(TestCase):
    out: io.StringIO
    err: io.StringIO

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.decisions = Decisions(MailLog(Clock(), lambda: NOW), lambda: NOW)
        ids = iter(("a1", "a2", "a3"))
        self.holds = Holds(
            self.folder / "holds.json", reactor, lambda: NOW, execute, self.decisions, lambda: None, lambda: next(ids)
        )
        self.holds.start()
        self.addCleanup(self.holds.stop)
        api = HoldsApi(self.holds, lambda: ("default",), reactor, lambda: NOW)
        self.site = Rig(clock=reactor, more=(api, DecisionsApi(self.decisions))).site
        port = self.listening(self.site)
        self.url = f"http://127.0.0.1:{port}"
        streams(self)

    def listening(self, factory: Any) -> int:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    async def run_it(self, *words: str, where: tuple[str, ...] = ()) -> tuple[int, str, str]:
        """Exit code, and what was printed."""
        code = await deferToThread(main, [*words, *(where or ("--api", self.url))], never)
        said = self.out.getvalue(), self.err.getvalue()
        for stream in (self.out, self.err):
            stream.seek(0)
            stream.truncate()
        return (code, *said)

    async def test_the_whole_way(self) -> None:
        words = ("hold", "--domain", "Example.com", "--user", "al", "--reason", "complaints", "--for", "2h")
        end = "2026-11-22T05:58:10.123Z"
        self.assertEqual(
            await self.run_it(*words), (0, f"a1: domain example.com, user al: held until {end}\n", "")
        )
        self.assertEqual(
            await self.run_it("hold", "--everything", "--reason", "über"),
            (0, "a2: everything: held until it is released\n", ""),
        )
        self.assertEqual(
            await self.run_it("holds"),
            (
                0,
                f"a1: domain example.com, user al: since {ISO}, until {end}: complaints\n"
                f"a2: everything: since {ISO}, until it is released: über\n",
                "",
            ),
        )
        self.assertEqual(await self.run_it("release", "a2"), (0, "a2: everything: released\n", ""))
        self.assertEqual(await self.run_it("release", "a2"), (1, "", 'zonerelay: There is no hold "a2"\n'))
        code, out, _ = await self.run_it("decisions")
        self.assertEqual(
            (code, out.splitlines()[::2]),
            (
                0,
                [
                    f"{ISO} held: domain example.com, user al until {end}: hold a1: complaints",
                    f"{ISO} released: everything: hold a2 ended by hand: über",
                ],
            ),
        )
        code, out, _ = await self.run_it("decisions", "--kind", "released")
        self.assertEqual((code, len(out.splitlines())), (0, 1))

    async def test_resumed_by_what_it_names(self) -> None:
        for words in (("--domain", "a.test"), ("--domain", "a.test", "--user", "al"), ("--everything",)):
            await self.run_it("suspend", "--reason", "x", *words)
        self.assertEqual(await self.run_it("resume", "--domain", "A.test"), (0, "a1: domain a.test: released\n", ""))
        self.assertEqual(
            await self.run_it("resume", "--domain", "a.test"), (1, "", "zonerelay: there is no hold of domain a.test\n")
        )
        self.assertEqual(await self.run_it("resume", "--everything"), (0, "a3: everything: released\n", ""))
        for words in ((), ("a2", "--everything"), ("--user", "al", "--everything")):
            code, _, err = await self.run_it("resume", *words)
            self.assertEqual((code, err.startswith("zonerelay: expected the ID of a hold, ")), (1, True))
        self.assertEqual([hold.id for hold in self.holds.listed()], ["a2"])

    async def test_as_json(self) -> None:
        code, out, _ = await self.run_it("suspend", "--domain", "a.test", "--reason", "x", "--json")
        made = json.loads(out)
        self.assertEqual((code, made["id"], made["domain"]), (0, "a1", "a.test"))
        code, out, _ = await self.run_it("holds", "--json")
        self.assertEqual((code, json.loads(out)), (0, {"holds": [made]}))

    async def test_until_is_of_this_machine(self) -> None:
        before = os.environ.get("TZ")

        def zone(name: str | None) -> None:
            os.environ.pop("TZ", None)
            if name is not None:
                os.environ["TZ"] = name
            time.tzset()

        self.addCleanup(zone, before)
        zone("Asia/Tokyo")
        for text, expected in (
            ("2026-12-01T08:00", "2026-11-30T23:00:00.000Z"),
            ("2026-12-01T08:00Z", "2026-12-01T08:00:00.000Z"),
        ):
            code, out, err = await self.run_it("hold", "--zone", "default", "--reason", "x", "--until", text)
            self.assertEqual((code, err), (0, ""))
            self.assertIn(f"held until {expected}", out)

    async def test_refused(self) -> None:
        for words, why in (
            (("hold", "--domain", "a b", "--reason", "x"), "domain: expected a domain"),
            (("hold", "--reason", "x"), "everything: expected true"),
            (("hold", "--zone", "defualt", "--reason", "x"), 'did you mean "default"?'),
            (("hold", "--user", "x", "--reason", "x", "--until", "soon"), "--until: expected a time"),
            (("hold", "--user", "x", "--reason", "x", "--for", "soon"), "duration: expected a duration"),
            (("release", "../x?y"), "does not exist"),
        ):
            code, out, err = await self.run_it(*words)
            self.assertEqual((code, out), (1, ""))
            self.assertTrue(err.startswith("zonerelay: ") and err.count("\n") == 1, err)
            self.assertIn(why, err)
        self.assertEqual(self.holds.listed(), [])

    async def test_where_the_configuration_says(self) -> None:
        config = self.folder / "zonerelay.toml"
        port = self.url.rpartition(":")[2]
        for endpoint in (f"tcp:{port}:interface=127.0.0.1", f"tcp:{port}", f"tcp:{port}:interface=0.0.0.0"):
            config.write_text(f"[api]\nendpoint = '{endpoint}'\n")
            self.assertEqual(await self.run_it("holds", where=("--config", str(config))), (0, "", ""))
        for endpoint in ("systemd:domain=INET:index=0", "tcp:0"):
            config.write_text(f"[api]\nendpoint = '{endpoint}'\n")
            code, _, err = await self.run_it("holds", where=("--config", str(config)))
            self.assertEqual(code, 1)
            self.assertIn("give --api", err)
        code, _, err = await self.run_it("holds", where=("--config", str(self.folder / "none")))
        self.assertEqual(code, 1)
        self.assertIn("cannot be read", err)

    async def test_a_unix_socket(self) -> None:
        path = tempfile.mkdtemp() + "/api"  # A socket's path must be short.
        port = reactor.listenUNIX(path, self.site)
        self.addCleanup(lambda: os.rmdir(os.path.dirname(path)))
        self.addCleanup(port.stopListening)
        await self.run_it("hold", "--zone", "default", "--reason", "x", where=("--api", f"unix:{path}"))
        self.assertEqual(len(self.holds.listed()), 1)
        config = self.folder / "zonerelay.toml"
        config.write_text(f"[api]\nendpoint = 'unix:{path}'\n")
        code, out, _ = await self.run_it("holds", where=("--config", str(config)))
        self.assertEqual((code, out[:3]), (0, "a1:"))

    async def test_no_answer(self) -> None:
        path = f"unix:{self.folder}/none"
        code, _, err = await self.run_it("holds", where=("--api", path))
        why = f"zonerelay: no answer from the relay at {path}: No such file or directory\n"
        self.assertEqual((code, err), (1, why))
        for url in ("unix:", "127.0.0.1:80", "ftp://127.0.0.1", "https://", "http://", "http://a@b", "http://a/b", "http://a:99999"):
            code, _, err = await self.run_it("holds", where=("--api", url))
            self.assertEqual(code, 1)
            self.assertIn("--api: expected ", err)

    async def test_what_is_no_relay(self) -> None:
        class Other(Protocol):
            said = b""

            def dataReceived(self, data: bytes) -> None:
                self.transport.write(self.said)  # type: ignore[union-attr]
                self.transport.loseConnection()  # type: ignore[union-attr]

        for body in (b"<html>", b"[1]", b"{}", b"\xff", b"[" * 100_000):
            head = b"HTTP/1.1 500 Oh\r\nContent-Length: %d\r\n\r\n" % len(body)
            self.patch(Other, "said", head + body)
            port = self.listening(Factory.forProtocol(Other))
            code, _, err = await self.run_it("holds", where=("--api", f"http://127.0.0.1:{port}"))
            self.assertEqual(code, 1)
            self.assertIn("answers as no relay does: 500", err)
        self.patch(Other, "said", b"220 smtp\r\n")
        code, _, err = await self.run_it("holds", where=("--api", f"http://127.0.0.1:{port}"))
        self.assertEqual(code, 1)
        self.assertIn("no answer", err)

    async def test_a_relay_that_is_slow(self) -> None:
        self.patch(cli_api, "_PATIENCE", 0.05)
        port = self.listening(Factory.forProtocol(Protocol))
        code, _, err = await self.run_it("holds", where=("--api", f"http://127.0.0.1:{port}"))
        self.assertEqual((code, err[:20]), (1, "zonerelay: no answer"))

    async def test_nothing_steers_the_terminal(self) -> None:
        self.decisions(Decision("suspended", Scope(user="a\x9bb"), "\x1b[2J\u202e", NOW))
        _, out, _ = await self.run_it("decisions")
        self.assertIn("user a\\u009bb: \\u001b[2J\\u202e", out)

    async def test_follow(self) -> None:
        """Until it is interrupted, each decision once."""
        self.decisions(Decision("held", Scope(), "first", NOW))
        pauses = iter(("second", "third", ""))

        def pause(seconds: float) -> None:
            reason = next(pauses)
            if not reason:
                raise KeyboardInterrupt
            for _ in range(2):
                self.decisions(Decision("held", Scope(), reason, NOW))

        self.patch(time, "sleep", pause)
        code, out, err = await self.run_it("decisions", "--follow")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(
            [line.partition(": everything: ")[2] for line in out.splitlines()],
            ["first", "second (2 times)", "third (2 times)"],
        )


class Following(SynchronousTestCase):
    def test_over_a_restart(self) -> None:
        """It is waited for, said once; what was missed is said."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        asked: list[str] = []
        empty: dict[str, Any] = {"decisions": [], "next": 8, "missed": False}
        answers: list[Any] = [empty, NoAnswer("no answer"), NoAnswer("no answer"), {**empty, "next": 9, "missed": True},
                              NoAnswer("no answer"), ApiError("closed")]  # fmt: skip

        class Fake:
            def ask(self, method: str, path: str) -> Any:
                asked.append(path)
                answer = answers.pop(0)
                if isinstance(answer, Exception):
                    raise answer
                return answer

        fake: Any = Fake()
        error = self.assertRaises(ApiError, follow, fake, "/p?x", 7, lambda _: None, lambda one: one["next"])
        self.assertEqual(str(error), "closed")
        self.assertEqual(asked, [f"/p?x&after={after}" for after in (7, 8, 8, 8, 9, 9)])
        trying, missed = "zonerelay: no answer; still trying", "zonerelay: some in between are forgotten"
        self.assertEqual(err.getvalue().splitlines(), [trying, missed, trying])

    def test_plain(self) -> None:
        self.assertEqual(plain("é 1\n\t\x7f\ud800"), "é 1\\n\\t\\u007f\\ud800")

    def test_a_url(self) -> None:
        for url in ("http://127.0.0.1:8080", "http://[::1]:8080/", "http://localhost", "unix:/run/api"):
            Api(url)
