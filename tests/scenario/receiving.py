"""A web server that events and bounces are posted to: it remembers all it hears, and answers what it is told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple


class Heard(NamedTuple):
    """One request, and what was answered."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int

    def signed(self, secret: bytes) -> bool:
        """Whether it is signed as Standard Webhooks have it."""
        content = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
        return f"v1,{expected}" in self.headers["webhook-signature"].split(" ")


class Receiver:
    """It can be stopped, and started again at the same port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.heard: list[Heard] = []
        self.answer: Callable[[str], tuple[int, Mapping[str, str]]] = lambda path: (200, {})
        #: Bodies that are answered with 500.
        self.refuse: Callable[[bytes], bool] = lambda body: False
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status, headers = (500, {}) if receiver.refuse(body) else receiver.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"so be it")
                receiver.heard.append(Heard(self.path, dict(self.headers.items()), body, status))

            def log_message(self, format: str, *args: object) -> None: ...

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """The relay was killed, or didn't wait."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def events(self, path: str = "/in") -> list[dict[str, Any]]:
        """Those that were taken, as they came."""
        taken = [heard for heard in self.heard.copy() if heard.path == path and heard.status < 300]
        return [event for heard in taken for event in json.loads(heard.body)["events"]]
