"""Signing keys made, put into the directory of keys, and taken from it."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress

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
    for file in called(directory, name):
        raise FileExistsError(f"{os.path.join(directory, file)} is there already")
    path = os.path.join(directory, name.file)
    new = _written(key, directory)
    try:
        os.link(new, path)  # Unlike a rename it never takes the place of a file.
    except FileExistsError:
        raise FileExistsError(f"{path} is there already") from None
    finally:
        os.unlink(new)
    settle(directory)
    return path


def replace(key: Key, directory: str, name: KeyName) -> bool:
    """As `keep`, but in the place of the key that has the name; whether there was one. Raises OSError."""
    os.makedirs(directory, mode=0o700, exist_ok=True)
    before = called(directory, name)
    new = _written(key, directory)
    try:
        os.replace(new, os.path.join(directory, name.file))
    except OSError:
        os.unlink(new)
        raise
    for file in before:
        if file != name.file:
            os.unlink(os.path.join(directory, file))
    settle(directory)
    return bool(before)


def remove(directory: str, name: KeyName) -> bool:
    """Take a key away, whatever is in its file; whether there was one. Raises OSError."""
    files = called(directory, name)
    for file in files:
        os.unlink(os.path.join(directory, file))
    if files:
        settle(directory)
    return bool(files)


def called(directory: str, name: KeyName) -> list[str]:
    """The files of this name, however it is spelled. Raises OSError."""
    try:
        return [file for file in sorted(os.listdir(directory)) if file.lower() == name.file]
    except FileNotFoundError:
        return []


def settle(directory: str) -> None:
    """Put on disk which files are there. The time of the directory is one of its own then: whoever looks whether it was
    changed sees that it was, however short ago it had been before. In a directory of somebody else it is as coarse as
    the file system's."""
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        now = time.time_ns()
        with suppress(PermissionError):
            os.utime(place, ns=(now, now))
        os.fsync(place)
    finally:
        os.close(place)


def _written(key: Key, directory: str) -> str:
    """A file of no name yet that has the key, on disk; its path. Raises OSError."""
    number, new = tempfile.mkstemp(prefix=".new-", dir=directory)
    try:
        with open(number, "wb") as out:
            out.write(key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            out.flush()
            if os.geteuid() == 0:
                owner = os.stat(directory)
                os.fchown(out.fileno(), owner.st_uid, owner.st_gid)
            os.fsync(out.fileno())
    except BaseException:
        os.unlink(new)
        raise
    return new
