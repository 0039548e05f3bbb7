"""A host of MTA-STS policies: HTTPS on port 443 of an address of loopback, in a thread."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class PolicyHost:
    """Listens from its start to `stop`. `policies` are the texts by host; a host without one gets a 404, and one whose
    text is None no answer. `asked` are those who were asked for, in order. Raises PermissionError where it may not."""

    def __init__(self, address: str, certificate: str) -> None:
        """`certificate` is a PEM file with its key."""
        self.policies: dict[str, str | None] = {}
        self.asked: list[str] = []
        self._over = threading.Event()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._answer(self)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self) -> tuple[Any, Any]:
                client, peer = super().get_request()
                return context.wrap_socket(client, server_side=True, do_handshake_on_connect=False), peer

        self._server = Server((address, 443), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        host = request.headers.get("Host", "")
        self.asked.append(host)
        text = self.policies.get(host, "")
        if text is None:
            self._over.wait(60)
            return
        found = text and request.path == "/.well-known/mta-sts.txt"
        request.send_response(200 if found else 404)
        request.send_header("Content-Type", "text/plain")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text.encode())
