"""The client's side of SOCKS version 5: one CONNECT by address (RFC 1928), with or without a login (RFC 1929).

Without a socket: bytes go in, in any split, and what to say next comes out. A far host that can't be reached and a
proxy that doesn't do its duty are told apart, since only the first says anything of the host.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Callable

from relay.config.egress import Login

_VERSION, _CONNECT = 5, 1
_OPEN, _PASSWORD, _NONE = 0, 2, 0xFF
_IPV4, _NAME, _IPV6 = 1, 3, 4
_ANY = frozenset(("0.0.0.0", "::"))


class Unreached(enum.Enum):
    """Why the proxy has no connection to the far host (RFC 1928 6)."""

    NETWORK = 3
    HOST = 4
    REFUSED = 5
    TIMED_OUT = 6


_SUCCEEDED = 0
#: What the proxy says of itself.
_FAULTS = {
    1: "it has failed",
    2: "its rules forbid this connection",
    7: "it knows no CONNECT",
    8: "it knows no addresses of this kind",
}


class SocksError(Exception):
    """There is no way through this proxy; the text says why, without a word of what it has sent."""


class NotReached(Exception):
    """The far host could not be reached from there."""

    def __init__(self, why: Unreached) -> None:
        super().__init__(why.name)
        self.why = why


class Socks5:
    """One request. After an exception it is over.

    Attributes:
        asked: CONNECT was said; what is waited for now is the far host.
        done: there is a connection to it.
        source: the address that it leaves the proxy by, as the proxy says, once it is done; "" for none.
        rest: what came behind the last reply.
    """

    __slots__ = ("_address", "_buffer", "_login", "_port", "_step", "asked", "done", "rest", "source")

    def __init__(self, address: str, port: int, login: Login | None = None) -> None:
        self._address = ipaddress.ip_address(address)
        self._port = port
        self._login = login
        self._buffer = b""
        self._step: Callable[[], bytes | None] = self._method
        self.asked = self.done = False
        self.source = ""
        self.rest = b""

    def begin(self) -> bytes:
        """What is said first."""
        methods = bytes((_OPEN,)) if self._login is None else bytes((_OPEN, _PASSWORD))
        return bytes((_VERSION, len(methods))) + methods

    def feed(self, data: bytes) -> bytes:
        """Take what the proxy has sent, while it isn't done; what to say to it now, maybe nothing. Raises SocksError or
        NotReached."""
        self._buffer += data
        answer = b""
        while not self.done:
            said = self._step()
            if said is None:
                break
            answer += said
            if answer and self._buffer:
                raise SocksError("it talks before it is asked")
        return answer

    # -- inside: each step gives what to say next, or None while it lacks bytes

    def _method(self) -> bytes | None:
        """Section 3."""
        reply = self._take(2)
        if reply is None:
            return None
        version, method = reply
        if version != _VERSION:
            raise SocksError("it does not speak SOCKS5")
        if method == _PASSWORD and self._login is not None:
            self._step = self._admission
            name, password = self._login
            return bytes((1, len(name))) + name + bytes((len(password),)) + password
        if method == _NONE:
            wants = "a login that it takes" if self._login is None else "another kind of login"
            raise SocksError(f"it wants {wants}")
        if method != _OPEN:
            raise SocksError("it wants a login that was not offered")
        return self._connect()

    def _admission(self) -> bytes | None:
        """RFC 1929 2."""
        reply = self._take(2)
        if reply is None:
            return None
        if reply[1] != 0:
            raise SocksError("it refuses the login")
        return self._connect()

    def _connect(self) -> bytes:
        """Section 4."""
        self._step = self._reply
        self.asked = True
        kind = _IPV4 if self._address.version == 4 else _IPV6
        return bytes((_VERSION, _CONNECT, 0, kind)) + self._address.packed + self._port.to_bytes(2, "big")

    def _reply(self) -> bytes | None:
        """Section 6. Of a refusal no more than the code is needed."""
        buffer = self._buffer
        if buffer and buffer[0] != _VERSION:
            raise SocksError("its reply makes no sense")
        if len(buffer) >= 2 and buffer[1] != _SUCCEEDED:
            code = buffer[1]
            if code in _FAULTS or code not in {why.value for why in Unreached}:
                raise SocksError(_FAULTS.get(code, f"it says {code}, which means nothing"))
            raise NotReached(Unreached(code))
        if len(buffer) < 5:
            return None
        kind = buffer[3]
        length = {_IPV4: 4, _IPV6: 16, _NAME: 1 + buffer[4]}.get(kind)
        if length is None:
            raise SocksError("its reply makes no sense")
        if self._take(4 + length + 2) is None:
            return None
        if kind != _NAME:
            source = str(ipaddress.ip_address(buffer[4 : 4 + length]))
            self.source = "" if source in _ANY else source
        self.done = True
        self.rest, self._buffer = self._buffer, b""
        return b""

    def _take(self, count: int) -> bytes | None:
        """So many bytes of what has come, once they are there."""
        if len(self._buffer) < count:
            return None
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken
