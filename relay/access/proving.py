"""SASL mechanisms from the client's side, without a connection: how we prove to a host who we are.

PLAIN (RFC 4616), LOGIN, CRAM-MD5 (RFC 2195), SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, 7677). Each is
a `relay.smtp.login.Mechanism` for one exchange.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from functools import lru_cache

from relay.access.scram import prepared
from relay.config.schema import ClientMechanism
from relay.smtp.login import LoginFailed, Mechanism

#: The strongest first.
STRENGTH: tuple[ClientMechanism, ...] = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN")
#: Those that tell the password itself.
_TELLING = ("PLAIN", "LOGIN")
#: Fewer rounds would give the password away to whoever guesses (RFC 7677 4), more are work without end.
_LEAST, _MOST = 4096, 600_000


class Credentials:
    """Who we are to a next hop. Its text shows no password."""

    def __init__(
        self, user: str, password: str, mechanisms: Sequence[str] = STRENGTH, insecure: bool = False
    ) -> None:
        """`mechanisms` are those that may be used. `insecure`: the password may be told without TLS."""
        self._user = user
        self._password = password
        self._allowed = [name for name in STRENGTH if name in mechanisms]
        self._insecure = insecure

    def __repr__(self) -> str:
        return f"Credentials({self._user!r})"

    def choose(self, offered: Sequence[str], secure: bool) -> Mechanism:
        """The strongest of those that are offered and allowed. Raises LoginFailed."""
        names = {name.upper() for name in offered}
        common = [name for name in self._allowed if name in names]
        for name in common:
            if secure or self._insecure or name not in _TELLING:
                return self._mechanism(name)
        told = " ".join(offered)[:200] or "nothing"
        if common:
            raise LoginFailed(f"the password is not told without TLS (insecure_auth), and the host offers {told}")
        raise LoginFailed(f"the host offers no way to log in that may be used here, but {told}")

    def _mechanism(self, name: ClientMechanism) -> Mechanism:
        user, password = self._user, self._password
        if name == "PLAIN":
            return Plain(user, password)
        if name == "LOGIN":
            return Login(user, password)
        if name == "CRAM-MD5":
            return CramMd5(user, password)
        return Scram(user, password, name, secrets.token_urlsafe(24))


class Plain:
    """Everything at once."""

    name = "PLAIN"

    def __init__(self, user: str, password: str) -> None:
        self.secret = password
        self._said = f"\0{user}\0{password}".encode()

    def first(self) -> bytes:
        return self._said

    def step(self, challenge: bytes) -> bytes:
        raise LoginFailed("a challenge to PLAIN")

    def finish(self) -> None:
        """Nothing was asked of the host."""


class Login:
    """The name, then the password, whatever the host calls them."""

    name = "LOGIN"

    def __init__(self, user: str, password: str) -> None:
        self.secret = password
        self._words = [user.encode(), password.encode()]

    def first(self) -> None:
        return None

    def step(self, challenge: bytes) -> bytes:
        if not self._words:
            raise LoginFailed("a third question in LOGIN")
        return self._words.pop(0)

    def finish(self) -> None:
        if self._words:
            raise LoginFailed("success without a password")


class CramMd5:
    """A digest of the challenge, keyed with the password."""

    name = "CRAM-MD5"

    def __init__(self, user: str, password: str) -> None:
        self.secret = password
        self._user = user
        self._asked = False

    def first(self) -> None:
        return None

    def step(self, challenge: bytes) -> bytes:
        if self._asked or not challenge:
            raise LoginFailed("no challenge, or a second one, in CRAM-MD5")
        self._asked = True
        return f"{self._user} {hmac.new(self.secret.encode(), challenge, 'md5').hexdigest()}".encode()

    def finish(self) -> None:
        if not self._asked:
            raise LoginFailed("success without a challenge")


class Scram:
    """Both sides prove that they know the password, or its keys, and neither tells it."""

    def __init__(self, user: str, password: str, name: str, nonce: str) -> None:
        """`name` says which SCRAM; `nonce` is fresh, printable and has no comma."""
        self.name = name
        self.secret = password
        self._hash = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}[name]
        self._nonce = nonce.encode()
        saslname = prepared(user).replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={saslname},r={nonce}".encode()
        self._wanted = b""
        self._proven = False

    def first(self) -> bytes:
        return b"n,," + self._bare

    def step(self, challenge: bytes) -> bytes:
        if self._proven:
            raise LoginFailed(f"a word too many in {self.name}")
        if not self._wanted:
            return self._final(challenge)
        if challenge.startswith(b"e="):
            raise LoginFailed(f"the host says {ascii(challenge[2:102])[2:-1]}")
        given = _decoded(challenge.split(b",")[0].removeprefix(b"v="))
        if challenge[:2] != b"v=" or not hmac.compare_digest(given, self._wanted):
            raise LoginFailed("the host has not proven that it knows the password")
        self._proven = True
        return b""

    def finish(self) -> None:
        if not self._proven:
            raise LoginFailed("the host has not proven that it knows the password")

    def _final(self, challenge: bytes) -> bytes:
        fields = challenge.split(b",")
        if [field[:2] for field in fields[:3]] != [b"r=", b"s=", b"i="]:
            raise LoginFailed(f"a challenge that is none of {self.name}")
        nonce, salt, rounds = fields[0][2:], _decoded(fields[1][2:]), fields[2][2:]
        if not nonce.startswith(self._nonce) or len(nonce) == len(self._nonce) or not salt:
            raise LoginFailed(f"a challenge of {self.name} that is not fresh")
        if not (rounds.isdigit() and len(rounds) < 10 and _LEAST <= int(rounds) <= _MOST):
            raise LoginFailed(f"{ascii(rounds[:20])[2:-1]} rounds of {self.name}: expected {_LEAST} to {_MOST}")
        client, server = _keys(self.secret, salt, int(rounds), self._hash)
        without = b"c=biws,r=" + nonce
        said = b",".join((self._bare, challenge, without))
        signature = hmac.digest(hashlib.new(self._hash, client).digest(), said, self._hash)
        proof = bytes(a ^ b for a, b in zip(client, signature, strict=True))
        self._wanted = hmac.digest(server, said, self._hash)
        return without + b",p=" + base64.b64encode(proof)


@lru_cache(maxsize=8)
def _keys(password: str, salt: bytes, rounds: int, hashed: str) -> tuple[bytes, bytes]:
    """The client's key and the server's. Slow, so they are kept: a host seldom changes its salt (RFC 5802 5.1)."""
    salted = hashlib.pbkdf2_hmac(hashed, prepared(password).encode(), salt, rounds)
    return hmac.digest(salted, b"Client Key", hashed), hmac.digest(salted, b"Server Key", hashed)


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise LoginFailed("a word that is not base64") from None
