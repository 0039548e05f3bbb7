"""One signing key in its file: read and looked at, or refused with the reason."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import stat
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

#: Sizes of RSA keys that each verifier takes (bits, RFC 8301 3.2).
SMALLEST, LARGEST = 1024, 4096
#: Smallest that should be used today.
GOOD = 2048
#: No key has a longer file (bytes).
_LONGEST = 64 * 1024
_PROBE = bytes(32)


class KeyUnusable(ValueError):
    """The key can't sign; the text is the reason, without the name of the file."""


class KeyUnread(KeyUnusable):
    """Its file can't be read now, which may have nothing to do with it."""


class Key(NamedTuple):
    """A key that signs. `open_to` tells who else can read its file, "" when nobody."""

    private: RSAPrivateKey | Ed25519PrivateKey
    open_to: str = ""

    @property
    def algorithm(self) -> str:
        """The value of `a=`."""
        return "rsa-sha256" if isinstance(self.private, RSAPrivateKey) else "ed25519-sha256"

    def sign(self, data: bytes) -> bytes:
        """The signature (RFC 8017 8.2, RFC 8463 3) of the SHA-256 of what goes before it."""
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(data, PKCS1v15(), SHA256())
        return self.private.sign(hashlib.sha256(data).digest())

    def public(self) -> bytes:
        """Its public half as `p=` of the record has it before base64 (RFC 6376 3.6.1, RFC 8463 4)."""
        public = self.private.public_key()
        if isinstance(self.private, RSAPrivateKey):
            return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return public.public_bytes(Encoding.Raw, PublicFormat.Raw)

    def record(self) -> str:
        """The text of the TXT record that publishes it."""
        kind = self.algorithm.partition("-")[0]
        return f"v=DKIM1; k={kind}; p={base64.b64encode(self.public()).decode('ascii')}"


def load(path: str) -> Key:
    """The key in a file, PEM without a passphrase. Raises KeyUnusable."""
    content, mode = _content(path)
    return read(content)._replace(open_to="everybody" if mode & stat.S_IROTH else "")


def read(content: bytes) -> Key:
    """The key that this is, PEM without a passphrase. Raises KeyUnusable.

    OpenSSL's own examination of an RSA key takes as long as fifty signatures; a signature that can be verified
    shows as well that the numbers belong together.
    """
    try:
        private = load_pem_private_key(content, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise KeyUnusable("it is locked by a passphrase") from None
    except UnsupportedAlgorithm:
        raise KeyUnusable("its kind of key isn't known here") from None
    except ValueError:
        raise KeyUnusable(_what_else(content)) from None
    if isinstance(private, RSAPrivateKey):
        if not SMALLEST <= private.key_size <= LARGEST:
            size = f"it is an RSA key of {private.key_size} bits"
            raise KeyUnusable(f"{size}; those of {SMALLEST} to {LARGEST} can be verified everywhere")
    elif not isinstance(private, Ed25519PrivateKey):
        raise KeyUnusable("it is neither an RSA key nor one of Ed25519")
    key = Key(private)
    try:
        _try(key)
    except (InvalidSignature, ValueError):
        raise KeyUnusable("it is damaged: what it signs can't be verified") from None
    return key


def _content(path: str) -> tuple[bytes, int]:
    try:
        # What is no file may never come to an end, or to a beginning.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise KeyUnusable("it is a directory" if stat.S_ISDIR(mode) else "it is no file")
            content = file.read(_LONGEST + 1)
    except FileNotFoundError:
        raise KeyUnusable("it is gone") from None
    except OSError as error:
        if error.errno == errno.EISDIR:
            raise KeyUnusable("it is a directory") from None
        raise KeyUnread(f"it can't be read: {error.strerror}") from None
    if len(content) > _LONGEST:
        raise KeyUnusable(f"it is larger than {_LONGEST} bytes")
    return content, mode


def _what_else(content: bytes) -> str:
    """What a file holds that is no private key in PEM form."""
    if not content.strip():
        return "it is empty"
    if b"PUBLIC KEY-----" in content:
        return "it is a public key; expected the private one"
    if content[:1] == b"0":
        return "it is in DER form; expected PEM (openssl pkey -inform DER)"
    return "no private key in PEM form is in it, or one that is damaged"


def _try(key: Key) -> None:
    """Raises InvalidSignature or ValueError."""
    private, signature = key.private, key.sign(_PROBE)
    if isinstance(private, RSAPrivateKey):
        private.public_key().verify(signature, _PROBE, PKCS1v15(), SHA256())
    else:
        private.public_key().verify(signature, hashlib.sha256(_PROBE).digest())

