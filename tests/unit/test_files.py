"""File descriptors that are kept for others, and ports that can't accept (N21)."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any
from unittest import mock

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from relay.net import files
from relay.net.files import REST, shortage, spare_files


class Port:
    """As much of a port of Twisted's as is touched."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(5)
        self.fileno = self.socket.fileno
        self.connected, self.disconnecting, self.reading = True, False, True

    def stopReading(self) -> None:
        self.reading = False

    def startReading(self) -> None:
        self.reading = True


class ListeningSockets(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.port: Any = Port()
        self.number = self.port.fileno()
        spare_files(self.port, self.clock, 32, b"421 later\r\n")
        self.addCleanup(self.port.socket.close)

    def call(self) -> socket.socket:
        client = socket.create_connection(self.port.socket.getsockname(), 5)
        self.addCleanup(client.close)
        return client

    def accept(self) -> None:
        client, _ = self.port.socket.accept()
        self.addCleanup(client.close)

    def no_file(self, error: int) -> Any:
        return mock.patch.object(socket.socket, "accept", side_effect=OSError(error, os.strerror(error)))

    def test_it_takes_the_place_of_the_other(self) -> None:
        self.assertEqual((self.port.fileno(), self.port.socket.fileno()), (self.number, self.number))
        self.assertFalse(self.port.socket.getblocking())
        self.call()
        self.accept()
        self.assertRaises(BlockingIOError, self.accept)
        self.assertTrue(self.port.reading)

    def test_nearly_none_left(self) -> None:
        """Whoever would get one of the last descriptors hears why not; that is logged once."""
        clients = [self.call() for _ in range(3)]
        with mock.patch.object(files, "_limit", lambda: self.number + 8), capturedLogs() as logs:
            self.assertRaises(BlockingIOError, self.accept)
        for client in clients:
            self.assertEqual(client.recv(100), b"421 later\r\n")
            self.assertEqual(client.recv(100), b"")
        self.assertEqual([event["what"][:21] for event in logs], ["clients are sent away"])
        self.call()
        self.accept()

    def test_a_low_limit_leaves_something(self) -> None:
        """The reserve is a quarter of the limit at most, else a small one would serve nobody."""
        self.call()
        with mock.patch.object(files, "_limit", lambda: max(24, self.number * 2)):
            self.accept()

    def test_none_left(self) -> None:
        """The port rests for a second, for level-triggered readiness would make it spin."""
        for error in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            with self.no_file(error), capturedLogs() as logs:
                self.assertRaises(BlockingIOError, self.accept)
            self.assertFalse(self.port.reading)
            self.assertEqual(len(logs), error == errno.EMFILE)
            self.clock.advance(REST)
            self.assertTrue(self.port.reading)
        self.clock.advance(files.LOG_EVERY)
        with self.no_file(errno.EMFILE), capturedLogs() as logs:
            self.assertRaises(BlockingIOError, self.accept)
        self.assertEqual(len(logs), 1)

    def test_a_port_that_was_closed_meanwhile(self) -> None:
        for name, value in (("connected", False), ("disconnecting", True)):
            with self.no_file(errno.EMFILE):
                self.assertRaises(BlockingIOError, self.accept)
            with mock.patch.object(self.port, name, value):
                self.clock.advance(REST)
            self.assertFalse(self.port.reading)

    def test_other_errors_are_for_the_port(self) -> None:
        with self.no_file(errno.EPERM):
            self.assertRaises(PermissionError, self.accept)
        self.assertTrue(self.port.reading)

    def test_others_have_their_turn(self) -> None:
        for _ in range(files._IN_A_TURN + 1):
            self.call()
        for _ in range(files._IN_A_TURN):
            self.accept()
        self.assertRaises(BlockingIOError, self.accept)
        self.accept()


class Limits(SynchronousTestCase):
    def test_shortage(self) -> None:
        self.assertEqual(shortage(1000, 1000 + files.RESERVE + files.OVERHEAD), "")
        self.assertIn("max_connections allow 1001 ", shortage(1001, 1000 + files.RESERVE + files.OVERHEAD))
