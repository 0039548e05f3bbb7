"""SCRAM-SHA-256 without a connection: keys, and what the two sides prove to each other (RFC 5802, 7677)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import stringprep
import unicodedata
from typing import NamedTuple

from relay.access.mechanisms import Failed, Proven, Wanted

#: What new keys get (RFC 7677 4 asks for 4,096 at least), and the most that is worked for.
ITERATIONS = 4096
_MOST_ITERATIONS = 1_000_000
_LONGEST = 2048
_PREFIX = "SCRAM-SHA-256$"
_escaped = re.compile(r"(?:[^=\0]|=2C|=3D)+").fullmatch


class Keys(NamedTuple):
    """What is kept of a password; from it nobody can log in elsewhere."""

    salt: bytes
    iterations: int
    stored: bytes
    server: bytes

    def __str__(self) -> str:
        """As it stands in the users' file, which is PostgreSQL's form."""
        salt, stored, server = (base64.b64encode(part).decode() for part in (self.salt, self.stored, self.server))
        return f"{_PREFIX}{self.iterations}:{salt}${stored}:{server}"


def read_keys(text: str) -> Keys:
    """The opposite of `str(keys)`. Raises ValueError."""
    if not text.startswith(_PREFIX):
        raise ValueError(f"not of the form {_PREFIX}iterations:salt$stored:server")
    try:
        head, tail = text[len(_PREFIX) :].split("$")
        iterations, salt = head.split(":")
        stored, server = (base64.b64decode(part, validate=True) for part in tail.split(":"))
        keys = Keys(base64.b64decode(salt, validate=True), int(iterations), stored, server)
    except ValueError:
        raise ValueError(f"not of the form {_PREFIX}iterations:salt$stored:server") from None
    if not (0 < keys.iterations <= _MOST_ITERATIONS and len(stored) == len(server) == 32 and keys.salt):
        raise ValueError("iterations or keys are out of range")
    return keys


def derive(password: str, salt: bytes, iterations: int) -> Keys:
    """The keys of a password. Slow: not for the reactor's thread."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password).encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    return Keys(salt, iterations, hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256"))


class Scram:
    """The server's side of one exchange: first, keys, final, and an empty last word.

    An unknown user is given keys that nobody knows, so that it fails where a wrong password does.
    """

    def __init__(self, nonce: str) -> None:
        """`nonce` is fresh, printable and has no comma."""
        self._nonce = nonce
        self._name = ""
        self._header = b""
        self._first = b""
        self._keys: Keys | None = None
        self._challenge = b""
        self._proven = False

    def step(self, response: bytes | None) -> bytes | Wanted | Proven:
        """What the client says; Wanted asks for `take`. Raises Failed."""
        if self._proven:
            if response:
                raise Failed("a word too many")
            return Proven(self._name)
        if self._keys is not None:
            return self._final(response or b"")
        if response is None:
            return b""
        return self._client_first(response)

    def take(self, keys: Keys) -> bytes:
        """The keys of the user that was wanted: gives the challenge."""
        self._keys = keys
        salt = base64.b64encode(keys.salt).decode()
        self._challenge = f"r={self._nonce},s={salt},i={keys.iterations}".encode()
        return self._challenge

    def _client_first(self, message: bytes) -> Wanted:
        if len(message) > _LONGEST:
            raise Failed("too long")
        flag, _, rest = message.partition(b",")
        authzid, _, bare = rest.partition(b",")
        # "y": it could bind to the channel, but thinks that we can't, which is so.
        if flag not in (b"n", b"y"):
            raise Failed("channel binding is not offered")
        fields = bare.split(b",")
        if len(fields) < 2 or fields[0][:2] != b"n=" or fields[1][:2] != b"r=" or not fields[1][2:]:
            raise Failed("bad first message")
        self._name = _saslname(fields[0][2:])
        if authzid and (authzid[:2] != b"a=" or _saslname(authzid[2:]) != self._name):
            raise Failed("acting for somebody else")
        nonce = fields[1][2:]
        if not all(33 <= byte <= 126 for byte in nonce):
            raise Failed("bad nonce")
        self._header = flag + b"," + authzid + b","
        self._first = bare
        self._nonce = nonce.decode("ascii") + self._nonce
        return Wanted(self._name)

    def _final(self, message: bytes) -> bytes:
        keys = self._keys
        assert keys is not None
        without, found, proof = message.rpartition(b",p=")
        fields = without.split(b",")
        if len(message) > _LONGEST or not found or len(fields) < 2:
            raise Failed("bad final message")
        if fields[0] != b"c=" + base64.b64encode(self._header) or fields[1] != b"r=" + self._nonce.encode():
            raise Failed("bad binding or nonce")
        said = b",".join((self._first, self._challenge, without))
        signature = hmac.digest(keys.stored, said, "sha256")
        try:
            given = base64.b64decode(proof, validate=True)
        except ValueError:
            raise Failed("bad proof") from None
        client = bytes(a ^ b for a, b in zip(given, signature, strict=False))
        if len(given) != 32 or not hmac.compare_digest(hashlib.sha256(client).digest(), keys.stored):
            raise Failed("wrong proof")
        self._proven = True
        return b"v=" + base64.b64encode(hmac.digest(keys.server, said, "sha256"))


def _saslname(text: bytes) -> str:
    """`=2C` and `=3D` decoded, the only places for an equals sign (RFC 5802 5.1). Raises Failed."""
    try:
        name = text.decode("utf-8")
    except UnicodeDecodeError:
        raise Failed("not UTF-8") from None
    if _escaped(name) is None:
        raise Failed("no name, or a bad escape")
    return name.replace("=2C", ",").replace("=3D", "=")


def prepared(password: str) -> str:
    """What a client makes of a password before it derives keys (SASLprep, RFC 4013 2). One with characters
    that this forbids stays as it is, which is what most clients do too."""
    if password.isascii():
        return password
    text = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in password
        if not stringprep.in_table_b1(character)
    )
    text = unicodedata.normalize("NFKC", text)
    return password if not text or any(map(_forbidden, text)) else text


def _forbidden(character: str) -> bool:
    return any(
        table(character)
        for table in (
            stringprep.in_table_c12,
            stringprep.in_table_c21_c22,
            stringprep.in_table_c3,
            stringprep.in_table_c4,
            stringprep.in_table_c5,
            stringprep.in_table_c6,
            stringprep.in_table_c7,
            stringprep.in_table_c8,
            stringprep.in_table_c9,
        )
    )
