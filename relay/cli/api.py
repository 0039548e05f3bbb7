"""How commands ask a running relay: its API, at the URL that is given or where the configuration puts it.

It isn't `relay_client`, which needs httpx: commands work wherever the relay does.
A key that they are to show is in the environment or in a file, where no other user of the machine sees it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from relay.cli.command import config_argument
from relay.config import endpoints
from relay.config.load import ConfigError, load

#: Seconds to wait for the relay.
_PATIENCE = 30.0
#: Bytes of an answer.
_LONGEST = 64 * 1024 * 1024
#: Bytes that are read of one at a time.
_PIECE = 64 * 1024
#: The variable with the key.
_KEY = "ZONERELAY_KEY"
_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class ApiError(Exception):
    """What was asked for can't be had; the text is one line for the operator."""


class NoAnswer(ApiError):
    """The relay couldn't be asked: it is perhaps about to start."""


class Api:
    """The API of one relay. Blocks; every question has a connection of its own."""

    def __init__(self, url: str, key: str = "", certificate: str = "") -> None:
        """`url` is `https://HOST:PORT`, `http://HOST:PORT` or `unix:PATH`; `key` is shown with each question.
        `certificate`: the file of the one that is expected there, whatever the host is called; "": one of the system's
        authorities vouches for the host. Raises ApiError."""
        self.url = url
        self._connect = _connector(url, certificate)
        if not all("!" <= char <= "~" for char in key):
            raise ApiError(f"{_KEY}, or --key-file: expected an API key")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def ask(self, method: str, path: str, fields: object = None) -> Any:
        """The JSON that is answered.

        Raises:
            NoAnswer: nobody answers.
            ApiError: the relay refuses, and says why; or it is no relay that answers.
        """
        body = None if fields is None else json.dumps(fields).encode()
        return self._ask(method, path, body, "application/json")

    def give(self, method: str, path: str, file: BinaryIO, kind: str) -> Any:
        """The same with a file for a body, of whatever length, and of this content type."""
        return self._ask(method, path, file, kind)

    def take(self, path: str) -> Iterator[bytes]:
        """What is answered, piece by piece. Raises as `ask`."""
        with self._answer("GET", path, None, {}) as response:
            if response.status >= 300:
                raise ApiError(self._refusal(response, path))
            while data := response.read1(_PIECE):
                yield data
            if response.length:
                raise http.client.IncompleteRead(b"")

    def _ask(self, method: str, path: str, body: bytes | BinaryIO | None, kind: str) -> Any:
        with self._answer(method, path, body, {} if body is None else {"Content-Type": kind}) as response:
            if response.status >= 300:
                raise ApiError(self._refusal(response, path))
            data = response.read(_LONGEST)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise self._no_relay(response, path) from None

    @contextmanager
    def _answer(
        self, method: str, path: str, body: bytes | BinaryIO | None, headers: dict[str, str]
    ) -> Iterator[http.client.HTTPResponse]:
        """Raises NoAnswer, also for what goes wrong while it is read."""
        connection = self._connect()
        try:
            connection.request(method, path, body, {**self._headers, **headers})
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NoAnswer(f"no answer from the relay at {self.url}: {plain(why)}") from None
        finally:
            connection.close()

    def _refusal(self, response: http.client.HTTPResponse, path: str) -> str:
        """Why it refuses. Raises ApiError: it is no relay that does."""
        try:
            answer = json.loads(response.read(_LONGEST))
            return plain(answer.get("detail") or answer.get("message") or answer["error"])
        except (ValueError, RecursionError, AttributeError, KeyError):
            raise self._no_relay(response, path) from None

    def _no_relay(self, response: http.client.HTTPResponse, path: str) -> ApiError:
        return ApiError(f"{self.url} answers as no relay does: {response.status} to {path}")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_PATIENCE)
        self.sock.connect(self._path)


def api_arguments(parser: argparse.ArgumentParser, *, inherited: bool = False) -> None:
    """`--url URL`, or `--config FILE` that says where the API is; and where the key is. `inherited`: they may have been
    given before this word, too."""
    nothing = argparse.SUPPRESS if inherited else ""
    text = "default: api.endpoint of the configuration"
    parser.add_argument("--url", "--api", dest="api", metavar="URL", default=nothing, help=text)
    text = f"the API key that is shown; default: {_KEY} of the environment, or none"
    parser.add_argument("--key-file", metavar="FILE", default=nothing, help=text)
    config_argument(parser, inherited=inherited)


def asking(arguments: argparse.Namespace, ask: Callable[[Api], None]) -> int:
    """Runs `ask` with the API that the arguments name; returns 0, or 1 with the reason on standard error."""
    try:
        url, certificate = (arguments.api, "") if arguments.api else _configured(arguments.config)
        ask(Api(url, _key(arguments.key_file), certificate))
    except (ApiError, ConfigError) as error:
        print(f"zonerelay: {error}", file=sys.stderr)
        return 1
    return 0


def _key(path: str) -> str:
    """What is to be shown. Never an argument: those are seen by all who may list processes."""
    if not path:
        return os.environ.get(_KEY, "")
    try:
        return Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ApiError(f"{path}: {getattr(error, 'strerror', None) or 'expected an API key'}") from None


def plain(text: object) -> str:
    """Text from elsewhere, fit for a terminal: whatever could steer it stands as an escape."""
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in str(text))


def named(entry: dict[str, Any]) -> str:
    """What a hold or a decision is about."""
    words = [f"{key} {plain(entry[key])}" for key in ("zone", "domain", "site", "address", "user") if entry.get(key)]
    return ", ".join(words) or "everything"


def _configured(path: str) -> tuple[str, str]:
    """The URL that a configuration says, and the file of the certificate that is shown there."""
    api = load(path).api
    endpoint = endpoints.read(api.endpoint)
    if endpoint.kind == "unix" and endpoint.path and not api.certificate:
        return f"unix:{endpoint.path}", ""
    if endpoint.kind in ("tcp", "tcp6") and endpoint.port:
        host = "::1" if endpoint.kind == "tcp6" and not endpoint.interface else endpoint.interface
        host = _EVERYWHERE.get(host, host)
        scheme, host = "https" if api.certificate else "http", f"[{host}]" if ":" in host else host
        return f"{scheme}://{host}:{endpoint.port}", api.certificate
    raise ApiError(f"{path}: api.endpoint doesn't tell where the API is: give --api")


def _connector(url: str, certificate: str) -> Callable[[], http.client.HTTPConnection]:
    if url.startswith("unix:") and len(url) > 5:
        return lambda: _UnixConnection(url.removeprefix("unix:"))
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        odd = parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.path.strip("/") or parts.query
        if odd or not host:
            raise ValueError
    except ValueError:
        raise ApiError(
            f'--api: expected "https://relay.example.com:8443", "http://127.0.0.1:8080" or "unix:/run/api.sock", '
            f"got {plain(url)}"
        ) from None
    if parts.scheme == "http":
        return lambda: http.client.HTTPConnection(host, port or 80, timeout=_PATIENCE)
    trust = _trust(certificate)
    return lambda: http.client.HTTPSConnection(host, port or 443, timeout=_PATIENCE, context=trust)


def _trust(certificate: str) -> ssl.SSLContext:
    """Who is believed to be the relay: whoever shows that certificate; "": whom the system's authorities vouch for."""
    context = ssl.create_default_context()
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(certificate)
        except OSError as error:
            raise ApiError(f"{certificate}: {error.strerror or error}") from None
    return context
