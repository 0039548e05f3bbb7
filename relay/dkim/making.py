"""New signing keys: made, put into the directory of keys, and never in the place of another."""

from __future__ import annotations

import os
import tempfile

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.dkim.keyfile import GOOD, LARGEST, SMALLEST, Key
from relay.dkim.names import KeyName


def make(algorithm: str, bits: int = GOOD) -> Key:
    """A new key, "rsa" or "ed25519"; `bits` is for RSA. Raises ValueError."""
    if algorithm == "ed25519":
        return Key(ed25519.Ed25519PrivateKey.generate())
    if not SMALLEST <= bits <= LARGEST:
        raise ValueError(f"expected {SMALLEST} to {LARGEST} bits, got {bits}")
    return Key(rsa.generate_private_key(65537, bits))


def keep(key: Key, directory: str, name: KeyName) -> str:
    """Write a key into its file, all of it or nothing, for its owner's eyes only; the path.

    What root makes is given to the owner of the directory, so that the relay can read it. Raises FileExistsError
    where a key has this name already, and OSError.
    """
    os.makedirs(directory, mode=0o700, exist_ok=True)
    for file in os.listdir(directory):
        if file.lower() == name.file:
            raise FileExistsError(f"{os.path.join(directory, file)} is there already")
    path = os.path.join(directory, name.file)
    number, new = tempfile.mkstemp(prefix=".new-", dir=directory)
    try:
        with open(number, "wb") as out:
            out.write(key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            out.flush()
            if os.geteuid() == 0:
                owner = os.stat(directory)
                os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
            os.fsync(out.fileno())
        try:
            os.link(new, path)  # Unlike a rename it never takes the place of a file.
        except FileExistsError:
            raise FileExistsError(f"{path} is there already") from None
    finally:
        os.unlink(new)
    place = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
    return path
