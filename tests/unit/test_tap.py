"""The twistd subcommand, and a start that fails in one line, without any process."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.application.service import IService, IServiceMaker, Service
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError
from twisted.trial.unittest import TestCase

from relay.startup import LoudStart, Refused
from relay.tap import Options, makeService


class No(Exception):
    """How the service below refuses."""


class Dummy(Service):
    """A service that refuses to start when it is told a reason, and stops slowly."""

    def __init__(self, reason: Exception | None = None) -> None:
        self.reason = reason
        self.stopped: Deferred[None] = Deferred()

    def startService(self) -> None:
        if self.reason:
            raise self.reason
        super().startService()

    async def stopService(self) -> None:
        super().stopService()
        await self.stopped


class Words(TestCase):
    def read(self, *words: str) -> Options:
        options = Options()
        options.parseOptions(list(words))
        return options

    def test_start(self) -> None:
        self.assertEqual("etc/zonerelay.toml", self.read("start").subOptions["config"])
        self.assertEqual("x.toml", self.read("start", "--config", "x.toml").subOptions["config"])
        self.assertEqual("x.toml", self.read("start", "-c", "x.toml").subOptions["config"])

    def test_anything_else(self) -> None:
        for words in ((), ("stop",), ("start", "now"), ("start", "--confg", "x"), ("--config", "x", "start")):
            self.assertRaises(UsageError, self.read, *words)

    def test_the_plugin_is_seen(self) -> None:
        makers = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
        self.assertIs(Options, makers["zonerelay"].options)
        self.assertIs(makeService, makers["zonerelay"].makeService)

    def test_the_plugins_hide_nothing(self) -> None:
        """An __init__.py beside them would hide Twisted itself."""
        plugins = Path(__file__).parents[2] / "twisted"
        self.assertEqual([], list(plugins.rglob("__init__.py")))


class MakeService(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.patch(reactor, "callWhenRunning", lambda call: None)
        service = ModuleType("relay.service")
        service.RelayService = lambda config, reactor: self.built.append(config) or Dummy()  # type: ignore[attr-defined]
        service.StartupError = No  # type: ignore[attr-defined]
        self.built: list[object] = []
        self.patch(sys, "stderr", io.StringIO())
        before = sys.modules.pop("relay.service", None)
        sys.modules["relay.service"] = service
        if before is None:
            self.addCleanup(sys.modules.pop, "relay.service")
        else:
            self.addCleanup(sys.modules.__setitem__, "relay.service", before)

    def options(self, text: str) -> Options:
        path = self.mktemp()
        Path(path).write_text(text)
        options = Options()
        options.parseOptions(["start", "--config", path])
        return options

    def test_built_from_the_file(self) -> None:
        service = makeService(self.options("hostname = 'a.example'\n"))
        self.assertTrue(IService.providedBy(service))
        self.assertEqual(["a.example"], [config.hostname for config in self.built])  # type: ignore[attr-defined]
        service.startService()

    def test_bad_file(self) -> None:
        """G01: every fault on standard error, exit code 1, and nothing built."""
        options = self.options("a = 1\nb = 2\n")
        self.assertEqual(1, self.assertRaises(SystemExit, makeService, options).code)
        self.assertEqual(2, sys.stderr.getvalue().count("unknown key"))  # type: ignore[attr-defined]
        self.assertEqual([], self.built)


class Loud(TestCase):
    def setUp(self) -> None:
        self.signals: list[tuple[int, object]] = []
        self.patch(signal, "signal", lambda number, action: self.signals.append((number, action)))
        self.patch(sys, "excepthook", sys.excepthook)

    def start(self, reason: Exception | None, quiet: bool = True) -> tuple[LoudStart, str]:
        """Starts a service whose standard error is a pipe; what came out of that."""
        reading, writing = os.pipe()
        dup = os.dup
        self.patch(os, "dup", lambda fd: writing if fd == 2 else dup(fd))
        service = LoudStart(Dummy(reason), No, quiet)
        try:
            service.startService()
        except Refused:
            self.assertIsNotNone(reason)
        # Ends only because the service has let go of its side.
        with os.fdopen(reading) as pipe:
            return service, pipe.read()

    def test_one_line(self) -> None:
        _, said = self.start(No("port taken:\n\t98"))
        self.assertEqual("zonerelay: port taken: 98\n", said)

    def test_no_traceback(self) -> None:
        self.start(No("port taken"))
        shown = io.StringIO()
        self.patch(sys, "stderr", shown)
        sys.excepthook(Refused, Refused("x"), None)
        self.assertEqual("", shown.getvalue())
        sys.excepthook(ValueError, ValueError("x"), None)
        self.assertIn("ValueError: x", shown.getvalue())

    def test_logged_where_the_log_is_elsewhere(self) -> None:
        for quiet, reasons in ((False, ["port taken"]), (True, [])):
            with capturedLogs() as events:
                self.start(No("port taken"), quiet)
            self.assertEqual(reasons, [event["reason"] for event in events if "reason" in event])

    def test_any_other_failure_is_a_traceback(self) -> None:
        self.assertRaises(ZeroDivisionError, self.start, ZeroDivisionError())

    def test_a_daemon_lets_go_of_the_terminal(self) -> None:
        service, said = self.start(None)
        self.assertEqual("", said)
        self.assertTrue(service.running)

    def test_stop_is_waited_for(self) -> None:
        dummy = Dummy()
        service = LoudStart(dummy, No, quiet=True)
        service.startService()
        stopped = service.stopService()
        self.assertNoResult(stopped)
        dummy.stopped.callback(None)
        self.successResultOf(stopped)

    def test_N17_one_signal_is_enough(self) -> None:
        service = LoudStart(Dummy(), No, quiet=True)
        service.startService()
        self.assertEqual([], self.signals)
        service.stopService()
        ignored = [(signal.SIGINT, signal.SIG_IGN), (signal.SIGTERM, signal.SIG_IGN)]
        self.assertEqual(ignored, self.signals)

    def test_N17_of_two_signals_that_come_together_one_is_heard(self) -> None:
        heard: list[int] = []
        self.patch(signal, "getsignal", lambda number: lambda *told: heard.append(told[0]))
        running: list[Callable[[], None]] = []
        LoudStart(Dummy(), No, True, running.append).startService()
        self.assertEqual([], self.signals)
        running[0]()  # the reactor has put its own in place by now
        actions: dict[int, Any] = dict(self.signals)
        self.assertEqual({signal.SIGINT, signal.SIGTERM}, set(actions))
        self.signals.clear()
        actions[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual([signal.SIGTERM], heard)
        ignored = [(signal.SIGINT, signal.SIG_IGN), (signal.SIGTERM, signal.SIG_IGN)]
        self.assertEqual(ignored, self.signals)

    def test_signals_are_the_main_threads(self) -> None:
        """Python lets no other thread change them."""
        service = LoudStart(Dummy(), No, quiet=True)
        service.startService()
        thread = threading.Thread(target=service.stopService)
        thread.start()
        thread.join()
        self.assertEqual([], self.signals)
