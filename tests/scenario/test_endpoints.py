"""One relay with a listener of every kind; a message through each of them arrives."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
import stat
import sys
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from bench.network import free_ports
from bench.proctree import command
from tests.scenario.harness import Relay, Scenario, deferToThread
from tests.unit.certificates import Authority

LISTENERS = """
[listeners.six]
processes = {processes}
endpoint = "tcp6:{six}:interface=\\\\:\\\\:1"
[listeners.local]
processes = {processes}
endpoint = "unix:{directory}/smtp:mode=600"
[listeners.passed]
processes = {processes}
endpoint = "systemd:domain=INET:name=submission"
[listeners.secure]
processes = {processes}
endpoint = "tcp:{secure}:interface=127.0.0.1"
tls = "implicit"
certificate = "{directory}/mail.pem"
certificates = "{directory}/names"
"""

#: What systemd does for a socket unit: listens, and starts the command with the socket as its descriptor 3.
ACTIVATE = """
import os, socket, sys
passed = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if passed.fileno() != 3:
    os.dup2(passed.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="submission")
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Local(smtplib.SMTP):
    """smtplib over a UNIX socket, whose path is the host."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(host)
        return connection


class EveryKind(Scenario):
    processes = 0

    def endpoints(self) -> Relay:
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError as error:
            raise SkipTest(f"no ::1 here ({error}): endpoints NOT TESTED") from None
        self.six, self.secure, self.passed = free_ports(3)
        self.authority = Authority()
        self.authority.server("mail.test").write(f"{self.directory}/mail.pem")
        os.mkdir(f"{self.directory}/names")
        self.authority.server("one.test").write(f"{self.directory}/names/one.test.pem")
        Path(f"{self.directory}/ca.pem").write_bytes(self.authority.chain_pem)
        extra = LISTENERS.format(six=self.six, secure=self.secure, directory=self.directory, processes=self.processes)
        return self.relay(extra=extra)

    async def start(self, relay: Relay) -> None:
        await self.up(relay, (sys.executable, "-c", ACTIVATE, str(self.passed)))

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=f"{self.directory}/ca.pem")

    async def sent(self, kind: type[smtplib.SMTP], *where: Any, **more: Any) -> None:
        def send() -> None:
            with kind(*where, timeout=20, **more) as client:
                client.sendmail("a@src.test", ["ok@evil.test"], b"Subject: x\r\n\r\nx\r\n")

        await deferToThread(send)

    async def by_each(self) -> None:
        await self.sent(smtplib.SMTP, "::1", self.six)
        await self.sent(Local, f"{self.directory}/smtp", 1)
        await self.sent(smtplib.SMTP, "127.0.0.1", self.passed)
        await self.sent(Trusting, "127.0.0.1", self.secure, context=self.trusting(), name="mail.test")
        await self.sent(Trusting, "127.0.0.1", self.secure, context=self.trusting(), name="one.test")

    async def test_a_message_by_each(self) -> None:
        """And once more after the relay was killed: the socket it left behind is no matter."""
        relay = self.endpoints()
        await self.start(relay)
        self.assertEqual(0o600, stat.S_IMODE(os.stat(f"{self.directory}/smtp").st_mode))
        await self.by_each()
        await self.until(lambda: len(self.mx.accepted()) == 5, 20, "five arrivals", relay)
        receivers = relay.receivers()
        relay.kill()
        # The socket that systemd would keep is ours to bind again, once nobody has it.
        await self.until(lambda: not any(map(command, receivers)), 5, "the end of the receivers", relay)
        self.assertTrue(os.path.exists(f"{self.directory}/smtp"))
        await self.start(relay)
        await self.by_each()
        await self.until(lambda: len(self.mx.accepted()) == 10, 20, "ten arrivals", relay)

    async def test_a_certificate_that_is_renewed(self) -> None:
        """Clients that trust only the new authority are served a second later (on a busy machine in ten), however
        many ask meanwhile; one from before is not cut off."""
        relay = self.endpoints()
        await self.start(relay)
        former = self.trusting()
        client = await deferToThread(
            lambda: Trusting("127.0.0.1", self.secure, timeout=20, context=former, name="mail.test")
        )
        self.addCleanup(client.close)
        renewed = Authority()
        renewed.server("mail.test").write(f"{self.directory}/new.pem")
        os.replace(f"{self.directory}/new.pem", f"{self.directory}/mail.pem")
        Path(f"{self.directory}/ca.pem").write_bytes(renewed.chain_pem)
        end = time.monotonic() + 10

        def serves() -> bool:
            try:
                Trusting("127.0.0.1", self.secure, timeout=20, context=self.trusting(), name="mail.test").close()
            except ssl.SSLCertVerificationError:
                return False
            return True

        while not await deferToThread(serves):
            self.assertLess(time.monotonic(), end, relay.said()[-1000:])
        code, _ = await deferToThread(client.noop)
        self.assertEqual(250, code)


class EveryKindByReceivers(EveryKind):
    """The same where receivers have inherited the sockets."""

    processes = 2


class Trusting(smtplib.SMTP_SSL):
    """Checks the certificate for a name that no DNS knows."""

    def __init__(self, host: str, port: int, name: str, **more: Any) -> None:
        self.name = name
        super().__init__(host, port, **more)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = socket.create_connection((host, port), timeout)
        return self.context.wrap_socket(plain, server_hostname=self.name)
