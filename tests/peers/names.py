"""A name server that says what it is told to, in a thread; what is published may change at any time."""

from __future__ import annotations

import socket
import threading

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


class Names:
    """Serves UDP on a free port of 127.0.0.1. `published` has the data of records by name and type, in the form of zone
    files; there is nothing beside them. `silent` are names that get no answer."""

    def __init__(self) -> None:
        self.published: dict[tuple[str, str], list[str]] = {}
        self.silent: set[str] = set()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(10)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            query = dns.message.from_wire(data)
            response = dns.message.make_response(query)
            question = query.question[0]
            name = question.name.to_text(omit_final_dot=True).lower()
            if name in self.silent:
                continue
            texts = self.published.get((name, dns.rdatatype.to_text(question.rdtype)), [])
            if texts:
                response.answer.append(dns.rrset.from_text(question.name, 0, "IN", question.rdtype, *texts))
            elif all(known != name for known, _ in self.published.copy()):
                response.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(response.to_wire(), client)
