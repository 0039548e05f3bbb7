"""Keys, odd messages, and receivers that check signatures: dkimpy here, OpenDKIM where it is installed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import dkim as dkimpy
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.config.schema import Dkim
from relay.dkim.keyfile import load
from relay.dkim.keyring import KeyRing
from relay.dkim.keys import KeyIndex
from relay.dkim.names import of_file
from relay.dkim.signer import Signed, Signer
from relay.message.headers import HeaderBlock, HeaderCollector

OPENDKIM = shutil.which("opendkim", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
#: Made once: a key takes longer than all that is done with it.
RSA = rsa.generate_private_key(65537, 1024)
OTHER_RSA = rsa.generate_private_key(65537, 1024)
ED25519 = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def put(directory: str, file: str, key: Any) -> str:
    """A key in its file; the path."""
    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, file)
    with open(path, "wb") as out:
        out.write(key if isinstance(key, bytes) else pem(key))
    os.chmod(path, 0o600)
    return path


class Timeless:
    """A clock on which there is always time to look again."""

    now = 0.0

    def seconds(self) -> float:
        self.now += 10
        return self.now


def signer(directory: str, now: int = 0, **options: Any) -> Signer:
    section = Dkim(keys=directory, **options)
    index, ring = KeyIndex(directory, Timeless()), KeyRing(directory)
    return Signer(section, index, ring, lambda: now or time.time_ns() // 1_000_000)


def signed(
    by: Signer, text: bytes, sender: str = "x@envelope.test", host: str = "out.test", hashed: bool = False
) -> tuple[Signed, bytes]:
    """A text signed as a delivery does it; what came of it, and the whole message."""
    block, body = parted(text)
    if body and not body.endswith(b"\r\n"):
        body += b"\r\n"  # As the end of the text does.
    plan = by.plan(by.keys(), block, sender, host, hashed)
    body_hash = by.body_hash()
    body_hash.update(body)
    result = by.sign(plan, block, body_hash.digest())
    return result, b"".join((result.fields, block.raw, b"\r\n", body))


def parted(text: bytes) -> tuple[HeaderBlock, bytes]:
    collector = HeaderCollector(1 << 20)
    return collector.feed(text) or collector.end()


def records(directory: str) -> dict[str, str]:
    """What the DNS would have of the keys in a directory."""
    names = [name for file in os.listdir(directory) if (name := of_file(file)) is not None]
    return {name.record: load(os.path.join(directory, name.file)).record() for name in names}


def verdicts(message: bytes, published: Mapping[str, str]) -> list[bool]:
    """What dkimpy says of each signature, the top one first."""

    def txt(name: bytes, timeout: int = 5) -> bytes | None:
        found = published.get(name.decode("ascii").rstrip("."))
        return None if found is None else found.encode("ascii")

    verifier = dkimpy.DKIM(message)
    count = sum(1 for name, _ in verifier.headers if name.lower() == b"dkim-signature")
    return [dkimpy.DKIM(message).verify(idx=index, dnsfunc=txt) for index in range(count)]


def opendkim(directory: str, messages: Sequence[bytes], published: Mapping[str, str]) -> list[str]:
    """The complaints of OpenDKIM about messages that have a good signature each; none: all are valid."""
    os.makedirs(directory, exist_ok=True)
    with open(f"{directory}/keys", "w") as file:
        # In its file of public keys a record stands behind the name, without blanks.
        file.writelines(f"{name} {text.replace(' ', '')}\n" for name, text in published.items())
    config = f"{directory}/opendkim.conf"
    Path(config).write_text(
        f"TestPublicKeys {directory}/keys\nMode v\nSyslog no\nOn-BadSignature reject\nOn-NoSignature reject\n"
    )
    files = []
    for number, message in enumerate(messages):
        files.append(f"{directory}/{number}")
        Path(files[-1]).write_bytes(message)
    complaints = []
    for start in range(0, len(files), 200):
        done = subprocess.run(
            [OPENDKIM or "opendkim", "-x", config, "-t", ",".join(files[start : start + 200])],
            capture_output=True,
            text=True,
            errors="replace",
        )
        lines = done.stdout.splitlines() + done.stderr.splitlines()
        good = sum("verification (s=" in line and line.endswith("succeeded") for line in lines)
        if good != len(files[start : start + 200]):
            complaints += [line for line in lines if not line.endswith("succeeded")] or [f"{good} were valid"]
    return complaints


_WORDS = (
    b"a", b"word", b" ", b"  ", b"\t", b" \t ", b".", b"..", b"=", b";", b":", b"b=", b"bh=x", b"\xe4\xfc",
    "€".encode(), b"\xff", b"\0", b"\x01", b"From: x", b"--", b"x" * 300, b"<>", b'"', b"=?utf-8?q?=40?=",
)  # fmt: skip
_AUTHORS = (
    b" a@example.test", b' "B, C" <b@example.test>', b" (c)\r\n <d@EXAMPLE.test>\r\n  (e)",
    b" F, G <h@example.test>",
)  # fmt: skip
_NAMES = tuple(b"To Subject SUBJECT Cc X-Odd List-Id References content-type Date Feedback-ID".split())


class Odd(NamedTuple):
    """Messages as they come from the queue: lines end in CRLF, and what they hold is anything.

    What a verifier's reader can't take is left out: dkimpy's no blank before a colon (RFC 5322 4.5.8), that of
    OpenDKIM's test mode no NUL, and it forgets how many blanks were behind a colon, which counts in simple form.
    """

    colons: tuple[bytes, ...] = (b":", b": ", b":\t", b":  ")
    words: tuple[bytes, ...] = _WORDS
    value: bytes = b""

    def messages(self, seed: int, count: int) -> Iterator[bytes]:
        chance = random.Random(seed)
        for _ in range(count):
            yield self._header(chance) + b"\r\n" + self._body(chance)

    def _header(self, chance: random.Random) -> bytes:
        fields = [chance.choice((b"From", b"FROM", b"from")) + b":" + chance.choice(_AUTHORS)]
        for _ in range(chance.randrange(12)):
            value = self.value + self._line(chance, 12)
            if chance.random() < 0.4:
                fold = chance.choice((b"\r\n ", b"\r\n\t", b"\r\n   \t"))
                value = chance.choice((b"x", b"x ")) + fold + chance.choice((b"y ", b".", b"\xe4\t")) + value
            fields.append(chance.choice(_NAMES) + chance.choice(self.colons) + value)
        chance.shuffle(fields)
        return b"".join(field + b"\r\n" for field in fields)

    def _body(self, chance: random.Random) -> bytes:
        kind = chance.randrange(8)
        if kind == 0:
            return b""
        if kind == 1:
            return chance.choice((b"\r\n", b" \r\n", b"\t\r\n\r\n")) * chance.randrange(1, 5)
        lines = [self._line(chance, 8)[:998] for _ in range(chance.randrange(1, 30))]
        return b"\r\n".join(lines) + b"\r\n" * chance.randrange(6)

    def _line(self, chance: random.Random, most: int) -> bytes:
        return b"".join(chance.choice(self.words) for _ in range(chance.randrange(most)))


FOR_DKIMPY = Odd()
FOR_OPENDKIM = Odd((b":", b": ", b":\t", b" : "), tuple(word for word in _WORDS if word != b"\0"))
FOR_OPENDKIM_SIMPLE = FOR_OPENDKIM._replace(colons=(b": ",), value=b"v")


def batches(directory: str, canonicalization: str, odd: Odd, seed: int, count: int) -> Iterator[list[bytes]]:
    """Odd messages, signed by what keys there are, a few hundred at a time."""
    by = signer(directory, canonicalization=canonicalization)
    texts = odd.messages(seed, count)
    while batch := [signed(by, text)[1] for text in islice(texts, 200)]:
        yield batch

