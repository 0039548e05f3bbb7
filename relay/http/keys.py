"""Signing keys put, looked at and taken away. What is private of them goes in and never comes out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from relay.access.caller import Scope
from relay.config.plain import shown
from relay.dkim.keyfile import GOOD, Key, KeyUnusable, load, read
from relay.dkim.making import called, make, remove, replace
from relay.dkim.names import KeyName, key_name
from relay.http.answer import RETRY_AFTER, Problem, failure, refusal, shielded
from relay.http.fields import wrong
from relay.http.frame import BodyReader, Call
from relay.http.operation import JSON, operation

_log = Logger()

# A domain with a slash in it is none, and is told so.
_PATH = "/v1/dkim/{path:domain}/{selector}"
#: What can be asked for in `generate`: kind and bits.
_KINDS = {"rsa2048": ("rsa", 2048), "rsa3072": ("rsa", 3072), "rsa4096": ("rsa", 4096), "ed25519": ("ed25519", GOOD)}
#: Longest string in a TXT record (bytes, RFC 1035 3.3.14).
_STRING = 255


class NewKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key that the relay is to make: `rsa2048`, `rsa3072`, `rsa4096` or `ed25519`."""

    generate: str = ""


class KeyRecord(msgspec.Struct, frozen=True, rename={"kind": "type"}):
    """What is to stand in the DNS; `strings` are the parts of the `value` that a record can hold."""

    name: str
    kind: str
    value: str
    strings: list[str]


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that can sign. `open_to`: who else can read its file."""

    domain: str
    selector: str
    file: str
    status: Literal["ok"] = "ok"
    algorithm: str
    bits: int
    open_to: str | None
    record: KeyRecord


class UnusableKey(msgspec.Struct, frozen=True, kw_only=True):
    """One that can't, and why."""

    domain: str
    selector: str
    file: str
    status: Literal["bad"] = "bad"
    reason: str


class DeletedKey(msgspec.Struct, frozen=True):
    """One that is gone."""

    domain: str
    selector: str
    deleted: bool = True


_new_key = BodyReader(NewKey)


class Watch(Protocol):
    """Whoever watches over keys."""

    def look(self) -> None:
        """Look at them now."""


class KeysApi:
    """The resource of one signing key."""

    def __init__(self, directory: str, watch: Watch, in_thread: Callable[..., Deferred[Any]]) -> None:
        """`in_thread` runs a function where it may take a while."""
        self._directory = directory
        self._watch = watch
        self._in_thread = in_thread
        self._lock = DeferredLock()

    @operation("GET", _PATH, scope=Scope.READ, tag="dkim", answer=SigningKey | UnusableKey)
    async def key(self, call: Call, domain: str, selector: str) -> SigningKey | UnusableKey:
        """Shows a key as it lies there: with the record that publishes it, or why it can't sign."""
        name = _name(domain, selector)
        try:
            found: SigningKey | UnusableKey = await self._in_thread(_found, self._directory, name)
        except OSError as error:
            raise failure(503, f"The keys can't be read: {error.strerror}", RETRY_AFTER) from None
        return found

    @operation(
        "PUT",
        _PATH,
        scope=Scope.ADMIN,
        tag="dkim",
        takes={JSON: NewKey, "application/x-pem-file": None},
        answer=SigningKey,
        status=201,
        also=(200,),
        errors=(409, 507),
    )
    async def put(self, call: Call, domain: str, selector: str) -> SigningKey:
        """Puts the key of the body in its place, or one that is made as the body says.

        The body is a private key in PEM form, or says what to make. 201, or 200 where it takes the place of one; it is
        on disk then, and signs the next message. What is private of it never comes out again.
        """
        name = _name(domain, selector)
        content: bytes = call.request.content.getvalue()
        if content.lstrip()[:1] == b"{":
            kind: str = _new_key(content).generate
            if kind not in _KINDS:
                raise wrong("generate", f"expected one of {', '.join(_KINDS)}, got {shown(kind)}")
            making = _KINDS[kind]
        else:
            making = None
        try:
            key = await self._in_thread(make, *making) if making else await self._in_thread(read, content)
        except KeyUnusable as error:
            raise refusal(400, "InvalidKey", f"The key can't sign: {error}") from None
        replaced = await self._changed(replace, name, "The key was not put", key)
        _log.info("signing key: {file} was {how} by the API", file=name.file, how="replaced" if replaced else "put")
        if replaced:
            call.status = 200
        else:
            call.request.setHeader(b"Location", f"/v1/dkim/{name.domain}/{name.selector}".encode("ascii"))
        return _described(name, key)

    @operation("DELETE", _PATH, scope=Scope.ADMIN, tag="dkim", answer=DeletedKey, errors=(409, 507))
    async def delete(self, call: Call, domain: str, selector: str) -> DeletedKey:
        """Takes a key away, whatever is in its file.

        That is on disk then.
        """
        name = _name(domain, selector)
        if not await self._changed(remove, name, "The key stays"):
            raise _missing(name)
        _log.info("signing key: {file} was deleted by the API", file=name.file)
        return DeletedKey(name.domain, name.selector)

    async def _changed(self, change: Callable[..., bool], name: KeyName, otherwise: str, *key: Key) -> bool:
        """One change at a time, whoever asks for it goes away or not. Raises Problem."""
        done = self._lock.run(self._in_thread, change, *key, self._directory, name)
        try:
            had: bool = await shielded(done)
        except IsADirectoryError:
            raise refusal(409, "InvalidKey", f"{otherwise}: {name.file} is a directory") from None
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise failure(507 if full else 503, f"{otherwise}: {error.strerror}", RETRY_AFTER) from None
        self._watch.look()
        return had


def _name(domain: str, selector: str) -> KeyName:
    """Raises Problem."""
    try:
        return key_name(domain, selector)
    except ValueError as error:
        raise refusal(400, "InvalidArgument", f"No key can be called so: {error}") from None


def _missing(name: KeyName) -> Problem:
    return refusal(404, "ResourceNotFound", f"There is no key {name.file}")


def _found(directory: str, name: KeyName) -> SigningKey | UnusableKey:
    """Raises Problem."""
    files = called(directory, name)
    if not files:
        raise _missing(name)
    try:
        return _described(name, load(os.path.join(directory, files[0])))
    except KeyUnusable as error:
        return UnusableKey(domain=name.domain, selector=name.selector, file=files[0], reason=str(error))


def _described(name: KeyName, key: Key) -> SigningKey:
    value = key.record()
    strings = [value[at : at + _STRING] for at in range(0, len(value), _STRING)]
    return SigningKey(
        domain=name.domain,
        selector=name.selector,
        file=name.file,
        algorithm=key.algorithm,
        bits=getattr(key.private, "key_size", 256),
        open_to=key.open_to or None,
        record=KeyRecord(name.record, "TXT", value, strings),
    )
