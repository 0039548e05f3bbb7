"""Who isn't of this machine and shows nothing, but says a lot: row H19, from another address of this machine.

The API listens on all addresses here, which an operator may want.
"""

from __future__ import annotations

import json
import socket

from twisted.trial.unittest import SkipTest

from tests.peers.asker import Asker, Said, request
from tests.scenario.asking import MAIL, Asking

#: What a request may say so that it is taken for one of somebody else.
TRICKS = (
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-For: 127.0.0.1, 127.0.0.1\r\nX-Forwarded-Host: 127.0.0.1\r\nX-Forwarded-Proto: https",
    "Forwarded: for=127.0.0.1;host=127.0.0.1;proto=https",
    "X-Real-IP: 127.0.0.1\r\nX-Client-IP: ::1\r\nTrue-Client-IP: 127.0.0.1",
    "X-Originating-IP: 127.0.0.1\r\nX-Authenticated-User: admin",
    "Authorization: Basic YWRtaW46YWRtaW4=",
    "Authorization: Basic Og==",
    "Authorization: Bearer ",
    "Authorization: Bearer zr_0000000000000000_00000000000000000000000000000000",
    "Cookie: zonerelay=1; session=admin; admin=true",
    "X-HTTP-Method-Override: GET\r\nX-Method-Override: GET",
    "X-Original-URL: /v1/health/live\r\nX-Rewrite-URL: /v1/health/live",
    "Host: localhost\r\nOrigin: http://localhost\r\nSec-Fetch-Site: same-origin",
    "Connection: close, Host\r\nVia: 1.1 localhost",
)
#: How /zones may be written.
SPELLINGS = (
    "/zones", "//zones", "/./zones", "/zones/", "/%7Aones", "/ZONES", "/zones;x=y", "/zones?x=/v1/health/live",
    "/v1/health/../../zones", "/v1/health/live/..%2f..%2f..%2fzones", "/zones%00", "/unsubscribe/../zones",
    "/unsubscribe/%2e%2e/zones", "/docs/..%2fzones", "/\\zones",
)  # fmt: skip


def outer_address() -> str:
    """An address of this machine that isn't loopback: its clients come from there too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError as error:
            raise SkipTest(f"no address but loopback here ({error}): H19 at a socket NOT TESTED") from None
        return str(sock.getsockname()[0])


class Foreign(Asking):
    """Nothing is said to strangers, and nothing is done for them."""

    settings = {"api_host": "0.0.0.0"}

    def setUp(self) -> None:
        self.address = outer_address()
        super().setUp()

    def told(self, data: bytes) -> Said:
        with Asker(self.relay.api, self.address) as asker:
            return asker.say(data)

    def refused(self, data: bytes) -> None:
        said = self.told(data)
        self.assertIn(said.status, range(400, 500), (data[:300], said))
        self.assertNotIn(b"default", said.body, data[:300])

    def test_H19_spellings_and_tricks(self) -> None:
        for spelling in SPELLINGS:
            for trick in TRICKS:
                self.refused(request("GET", spelling, None, trick))

    def test_H19_everything_that_needs_leave(self) -> None:
        """Each operation of the document, as its caller is nobody; before its body is read."""
        for asked in self.operations():
            if not asked.scope:
                continue
            for trick in TRICKS[:1] + TRICKS[8:9]:
                self.refused(request(asked.method, asked.path, b"{}" if asked.takes else None, trick))
            if asked.takes:
                self.refused(request(asked.method, asked.path, None, "Content-Length: 10"))

    def test_H19_no_mail_of_strangers(self) -> None:
        mail = json.dumps({"from": "a@src.test", "to": "ok+hidden@evil.test", "text": "x"}).encode()
        for trick in TRICKS:
            for path, body in (("/send", mail), ("/send-raw?from=a@src.test&to=ok%2Bhidden@evil.test", MAIL)):
                self.refused(request("POST", path, body, trick))
        self.settle()
        self.assertEqual([], self.to("hidden"))

    def test_H16_whoever_is_refused_holds_nothing(self) -> None:
        """A stranger's body isn't waited for."""
        for _ in range(100):
            said = self.told(request("POST", "/send", None, "Content-Length: 10000000"))
            self.assertEqual("close", said.fields.get("connection"))
