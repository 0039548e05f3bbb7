"""Ports that are opened at once, or a reason in one line."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import TestCase

from relay.net.listening import CannotListen, listen


class Tcp(TestCase):
    def test_backlog(self) -> None:
        """A burst of connections finds room."""
        reactor, factory = MemoryReactor(), Factory()
        listen(reactor, "tcp:25:interface=192.0.2.1", factory)
        listen(reactor, "tcp6:26", factory)
        listen(reactor, "tcp:27:backlog=7", factory)
        self.assertEqual(
            reactor.tcpServers,
            [(25, factory, 1024, "192.0.2.1"), (26, factory, 1024, "::"), (27, factory, 7, "")],
        )

    def test_a_busy_port(self) -> None:
        class Busy(MemoryReactor):
            def listenTCP(self, port: int, *rest: Any, **more: Any) -> IListeningPort:
                raise CannotListenError("", port, OSError(98, "Address already in use"))

        error = self.assertRaises(CannotListen, listen, Busy(), "tcp:25", Factory())
        self.assertTrue(str(error).startswith("can't listen on tcp:25: "), error)
        self.assertIn("Address already in use", str(error))

    def test_nonsense(self) -> None:
        for endpoint in ("tcp:x", "nothing", "systemd:domain=INET:index=0", "systemd:domain=INET:name=smtp"):
            error = self.assertRaises(CannotListen, listen, MemoryReactor(), endpoint, Factory())
            self.assertTrue(str(error).startswith(f"can't listen on {endpoint}: "), error)
            self.assertNotIn("\n", str(error))


class Unix(TestCase):
    def setUp(self) -> None:
        # Not below the working directory: the path of a socket has to be short.
        self.path = Path(os.path.relpath(self.mktemp()))
        self.endpoint = f"unix:{self.path}:mode=620"

    def listen(self) -> IListeningPort:
        from twisted.internet import reactor

        port = listen(reactor, self.endpoint, Factory())
        self.addCleanup(port.stopListening)
        return port

    def refused(self) -> str:
        from twisted.internet import reactor

        error = str(self.assertRaises(CannotListen, listen, reactor, self.endpoint, Factory()))
        prefix = f"can't listen on {self.endpoint}: "
        self.assertTrue(error.startswith(prefix), error)
        return error.removeprefix(prefix)

    def left_behind(self) -> None:
        """The socket of a process that was killed."""
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(str(self.path))
            s.listen()

    def test_mode(self) -> None:
        self.listen()
        self.assertEqual(stat.S_IMODE(os.stat(self.path).st_mode), 0o620)

    def test_a_socket_that_nobody_listens_to(self) -> None:
        self.left_behind()
        self.listen()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(self.path))

    def test_the_lock_of_a_dead_process_is_no_matter(self) -> None:
        """N20: whatever process has its number now."""
        os.symlink(str(os.getpid()), f"{self.path}.lock")
        self.left_behind()
        self.listen()

    async def test_one_that_somebody_listens_to(self) -> None:
        port = self.listen()
        self.assertEqual(self.refused(), "somebody listens to it")
        self.assertTrue(self.path.is_socket())
        await port.stopListening()  # type: ignore[misc]
        self.assertFalse(self.path.exists())
        self.listen()

    def test_one_whose_backlog_is_full(self) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.path))
            server.listen(0)
            clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
            for client in clients:
                self.addCleanup(client.close)
                client.setblocking(False)
                client.connect_ex(str(self.path))
            self.assertEqual(self.refused(), "somebody listens to it")

    def test_a_file(self) -> None:
        self.path.write_text("precious")
        self.assertEqual(self.refused(), "there is a file of that name that is no socket")
        self.assertEqual(self.path.read_text(), "precious")

    def test_two_that_start_together(self) -> None:
        self.left_behind()
        with open(f"{self.path}.start", "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            self.assertEqual(self.refused(), "another process is about to")
        self.listen()

    def test_no_directory(self) -> None:
        self.endpoint = "unix:/nowhere/at/all"
        self.assertEqual(self.refused(), "/nowhere/at/all.start: No such file or directory")
