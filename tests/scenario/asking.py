"""A relay whose API strangers are cruel to: after each test it serves mail both ways, and has no socket more."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any, NamedTuple

from tests.peers.asker import Asker, Said, request
from tests.scenario.harness import post
from tests.scenario.hostile import Hostile

MIB = 1 << 20
_numbers = itertools.count()
MAIL = b"From: <from@src.test>\r\nSubject: x\r\n\r\nhello\r\n"


class Asked(NamedTuple):
    """An operation of the document: what may be asked, what it takes, and what it needs ("": nothing)."""

    method: str
    path: str
    takes: str
    schema: dict[str, Any]
    scope: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Asking(Hostile):
    """A case that knows what the API offers."""

    def setUp(self) -> None:
        super().setUp()
        self.until(self.complete, "all sender processes")
        self._sockets = self.sockets()

    def unharmed(self) -> None:
        """An honest request and an honest client have their mail delivered, and nothing is held open."""
        number = next(_numbers)
        mail = {"from": "from@src.test", "to": f"ok+asked{number}@evil.test", "text": "hello"}
        status, said = post(self.relay.api, "/send", json.dumps(mail).encode())
        self.assertEqual(200, status, said)
        self.assertEqual("250", self.message(f"told{number}", MAIL)[:3])
        super().unharmed()
        for name in ("asked", "told"):
            self.assertEqual(1, len(self.to(f"{name}{number}")), name)
        self.until(lambda: self.sockets() <= self._sockets, "sockets that are given back")

    def complete(self) -> bool:
        """Whether all that belongs to the relay has come: its senders have sockets too."""
        status, said = post(self.relay.api, "/v1/zones", method="GET")
        self.assertEqual(200, status, said)
        return all(len(zone["children"]) == zone["processes"] for zone in json.loads(said)["zones"])

    def sockets(self) -> int:
        """Those that the master has open."""
        directory = f"/proc/{self.relay.master()}/fd"
        return sum(_is_socket(f"{directory}/{name}") for name in os.listdir(directory))

    def ask(self, host: str = "127.0.0.1") -> Asker:
        """A connection of its own."""
        asker = Asker(self.relay.api, host)
        self.addCleanup(asker.close)
        return asker

    def once(self, data: bytes) -> Said:
        """A connection that ends with its one answer."""
        with self.ask() as asker:
            asker.write(data)
            answers = asker.all()
        self.assertEqual(1, len(answers), (data[:200], answers))
        return answers[0]

    def document(self) -> dict[str, Any]:
        """What the API says about itself."""
        with self.ask() as asker:
            document: dict[str, Any] = json.loads(asker.say(request("GET", "/openapi.json")).body)
        return document

    def operations(self) -> list[Asked]:
        """All that can be asked; what a path leaves open is "x"."""
        found = []
        for path, methods in self.document()["paths"].items():
            for method, described in methods.items():
                content: dict[str, Any] = described.get("requestBody", {}).get("content", {})
                takes, body = next(iter(content.items()), ("", {}))
                names = [one["name"] for one in described.get("parameters", ()) if one["in"] == "path"]
                for name in names:
                    path = path.replace(f"{{{name}}}", "x")
                found.append(Asked(method.upper(), path, takes, body.get("schema", {}), described.get("x-scope", "")))
        return found


def _is_socket(path: str) -> bool:
    try:
        return os.readlink(path).startswith("socket:")
    except OSError:
        return False
