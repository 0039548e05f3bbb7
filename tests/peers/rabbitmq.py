"""RabbitMQ, unpacked by `make peers`, with a place of its own, and whoever fetches from its queues."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pika

from bench.network import free_ports
from bench.proctree import ProcessTree
from tests.scenario.interop import ROOT, absent

HOME = ROOT / ".peers/rabbitmq-server/usr/lib/rabbitmq/lib"


class RabbitMq:
    """It can be stopped, by force and without a word, and started again on what it has kept.

    Attributes:
        port, tls_port: where it listens; the latter where there is a certificate.
    """

    def __init__(self, directory: str, certificate: str = "") -> None:
        """`certificate`: a file with a certificate and its key. Raises what says that there is no RabbitMQ."""
        servers = sorted(HOME.glob("rabbitmq_server-*"))
        epmd = shutil.which("epmd")
        if not servers or epmd is None:
            raise absent("RabbitMQ")
        self._server, self._epmd = servers[-1], epmd
        self._folder = Path(directory, "rabbitmq")
        self._folder.mkdir()
        self.port, self.tls_port, self._names, self._peers = free_ports(4)
        self._log = self._folder / "out"
        lines = [f"listeners.tcp.1 = 127.0.0.1:{self.port}"]
        if certificate:
            lines += [
                f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}",
                f"ssl_options.cacertfile = {certificate}",
                f"ssl_options.certfile = {certificate}",
                f"ssl_options.keyfile = {certificate}",
            ]
        (self._folder / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """It takes some seconds until it greets."""
        place = str(self._folder)
        with self._log.open("ab") as log:
            # By itself it would start one that stays.
            names = [self._epmd, "-address", "127.0.0.1", "-port", str(self._names)]
            for command in (names, [str(self._server / "sbin/rabbitmq-server")]):
                self._running.append(
                    subprocess.Popen(
                        command,
                        env={
                            "PATH": os.environ["PATH"],
                            "HOME": place,
                            "LANG": "C.UTF-8",
                            "ERL_EPMD_ADDRESS": "127.0.0.1",
                            "ERL_EPMD_PORT": str(self._names),
                            "RABBITMQ_NODENAME": f"zr{self.port}@localhost",
                            "RABBITMQ_DIST_PORT": str(self._peers),
                            "RABBITMQ_CONFIG_FILE": f"{place}/rabbitmq.conf",
                            "RABBITMQ_CONF_ENV_FILE": f"{place}/none",
                            "RABBITMQ_MNESIA_BASE": f"{place}/mnesia",
                            "RABBITMQ_FEATURE_FLAGS_FILE": f"{place}/flags",
                            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{place}/plugins",
                            "RABBITMQ_PLUGINS_DIR": str(self._server / "plugins"),
                            "RABBITMQ_PID_FILE": f"{place}/pid",
                            "RABBITMQ_LOG_BASE": f"{place}/log",
                            "RABBITMQ_LOGS": "-",
                            # Its schedulers are to leave something of a small machine to others.
                            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1 +sbwt none",
                        },
                        cwd=place,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    @property
    def ready(self) -> bool:
        """Somebody can log in, as far as that shows."""
        if self._running[-1].poll() is not None:
            raise AssertionError(f"RabbitMQ has ended: {self._log.read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """kill -9."""
        for process in reversed(self._running):
            ProcessTree(process.pid).kill()
            process.wait()
        self._running.clear()

    def prepare(self, queue: str, key: str) -> None:
        """A durable queue for what comes by these keys. Blocks."""
        with self._connect() as connection:
            channel = connection.channel()
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, "amq.topic", key)

    def fetch(self, queue: str) -> list[tuple[str, Any, dict[str, Any]]]:
        """What is in a queue, out of it: routing key, properties, event. Blocks."""
        found = []
        with self._connect() as connection:
            channel = connection.channel()
            while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
                found.append((got[0].routing_key, got[1], json.loads(got[2])))
        return found

    def _connect(self) -> Any:
        return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", self.port))
