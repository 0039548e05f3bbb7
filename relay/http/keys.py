"""Signing keys put, looked at and taken away. What is private of them goes in and never comes out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from klein import Klein
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.web.iweb import IRequest

from relay.config.plain import shown
from relay.dkim.keyfile import GOOD, Key, KeyUnusable, load, read
from relay.dkim.making import called, make, remove, replace
from relay.dkim.names import KeyName, key_name
from relay.http.answer import RETRY_AFTER, Problem, answer, failure, refusal, shielded
from relay.http.fields import body_of, text, wrong

_log = Logger()

_PATH = "/v1/dkim/<path:which>"
#: What can be asked for in `generate`: kind and bits.
_KINDS = {"rsa2048": ("rsa", 2048), "rsa3072": ("rsa", 3072), "rsa4096": ("rsa", 4096), "ed25519": ("ed25519", GOOD)}
#: Longest string in a TXT record (bytes, RFC 1035 3.3.14).
_STRING = 255


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

    def add_routes(self, app: Klein) -> None:
        app.route(_PATH, methods=["GET"], endpoint="dkim-key")(self.key)
        app.route(_PATH, methods=["PUT"], endpoint="put-dkim-key")(self.put)
        app.route(_PATH, methods=["DELETE"], endpoint="delete-dkim-key")(self.delete)

    async def key(self, request: IRequest, which: str) -> bytes:
        """A key as it lies there: `status` "ok" with the record that publishes it, or "bad" with the reason."""
        name = _name(which)
        try:
            found = await self._in_thread(_found, self._directory, name)
        except OSError as error:
            raise failure(503, f"The keys can't be read: {error.strerror}", RETRY_AFTER) from None
        return answer(request, found)

    async def put(self, request: Any, which: str) -> bytes:
        """Puts the key of the body, PEM or what is to be made, into its file: 201, or 200 where it takes the place of
        one. It is on disk then, and signs the next message."""
        name = _name(which)
        content: bytes = request.content.getvalue()
        if content.lstrip()[:1] == b"{":
            kind = text(body_of(request, ("generate",)), "generate")
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
        if not replaced:
            request.setHeader(b"Location", f"/v1/dkim/{name.domain}/{name.selector}".encode("ascii"))
        return answer(request, _described(name, key), 200 if replaced else 201)

    async def delete(self, request: IRequest, which: str) -> bytes:
        """Takes a key away, whatever is in its file; when that is on disk, says which it was."""
        name = _name(which)
        if not await self._changed(remove, name, "The key stays"):
            raise _missing(name)
        _log.info("signing key: {file} was deleted by the API", file=name.file)
        return answer(request, {"domain": name.domain, "selector": name.selector, "deleted": True})

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


def _name(which: str) -> KeyName:
    """Raises Problem."""
    domain, slash, selector = which.partition("/")
    try:
        if not slash:
            raise ValueError("expected /v1/dkim/DOMAIN/SELECTOR")
        return key_name(domain, selector)
    except ValueError as error:
        raise refusal(400, "InvalidArgument", f"No key can be called so: {error}") from None


def _missing(name: KeyName) -> Problem:
    return refusal(404, "ResourceNotFound", f"There is no key {name.file}")


def _found(directory: str, name: KeyName) -> Mapping[str, object]:
    """Raises Problem."""
    files = called(directory, name)
    if not files:
        raise _missing(name)
    try:
        return _described(name, load(os.path.join(directory, files[0])))
    except KeyUnusable as error:
        known = {"domain": name.domain, "selector": name.selector, "file": files[0]}
        return {**known, "status": "bad", "reason": str(error)}


def _described(name: KeyName, key: Key) -> Mapping[str, object]:
    value = key.record()
    return {
        "domain": name.domain,
        "selector": name.selector,
        "file": name.file,
        "status": "ok",
        "algorithm": key.algorithm,
        "bits": getattr(key.private, "key_size", 256),
        "open_to": key.open_to or None,
        "record": {
            "name": name.record,
            "type": "TXT",
            "value": value,
            "strings": [value[at : at + _STRING] for at in range(0, len(value), _STRING)],
        },
    }
