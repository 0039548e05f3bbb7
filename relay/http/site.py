"""The API as a whole: who is let in, which resource answers, what an error looks like.

Klein installs a reactor when it is imported: import this module late.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

from klein import Klein
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Site
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from relay.access.admission import Admission
from relay.config.schema import Api
from relay.events.verdicts import Verdicts
from relay.http.answer import RETRY_AFTER, Problem, answer_problem, failure, refusal
from relay.http.audit import Audit
from relay.http.channel import ApiChannel
from relay.http.docs import DocsApi
from relay.http.frame import Frame
from relay.http.handover import Handover
from relay.http.mailbody import Room
from relay.http.message import MessageApi
from relay.http.messages import MessagesApi
from relay.http.metrics import MetricsApi
from relay.http.openapi import document
from relay.http.operation import operations
from relay.http.operator import Operator, Standing
from relay.http.porter import Porter
from relay.http.queue import QueueApi
from relay.http.request import ApiRequest
from relay.http.send import InThread, SendApi
from relay.http.submit import SubmitApi
from relay.http.test_auth import TestAuthApi
from relay.http.unsubscribe import PLACE
from relay.http.waits import Waits
from relay.intake.onetime import OneTime
from relay.listener.door import Intake
from relay.metrics.definitions import Metrics
from relay.queue.store import Store, StoreError

_log = Logger()
_MAX_SHOWN = 200
#: Bodies of mail in memory, as multiples of what one may have.
_BODIES = 4
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Type: application/json\r\nContent-Length: 32\r\n\r\n"
    b'{"error":"Too many connections"}'
)


def make_site(
    options: Api,
    *,
    hostname: str,
    admission: Admission,
    audit: Audit | None = None,
    demo_login: bool = False,
    intake: Intake,
    once: OneTime,
    verdicts: Verdicts | None,
    zones: Callable[[], Collection[str]],
    store: Store,
    operator: Operator,
    standing: Standing,
    metrics: Metrics,
    reactor: IReactorTime,
    now: Callable[[], int],
    more: Iterable[object] = (),
    in_thread: InThread = deferToThread,
) -> ApiSite:
    """The factory to listen with. `now` gives milliseconds since the epoch; `admission` knows keys and sessions,
    `verdicts` what becomes of mail (None where no events are kept), `zones` the names of those that send; `audit`
    writes down who has changed what; `demo_login` switches /test-auth on; `more` are resources of parts that aren't
    named here; `in_thread` does what takes long."""
    app = Klein()
    # No redirects to tidier paths: they would name the Host the client named.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    handover = Handover(intake, reactor, now, options.max_recipients, options.allow_routing_headers)
    room = Room(_BODIES * options.max_size)
    waits = Waits(store, verdicts, reactor, now)
    frames: list[Frame] = []
    groups: tuple[object, ...] = (
        MessagesApi(options, handover, once, waits, room, zones, reactor, now, in_thread),
        SendApi(options, handover, once, room, in_thread),
        SubmitApi(options, intake, once, now),
        QueueApi(store, standing, reactor, now),
        MessageApi(store, operator, reactor, now, options.timeout),
        MetricsApi(metrics),
        TestAuthApi(demo_login, now),
        DocsApi(lambda: document(frame.operation for frame in frames), reactor, options.timeout),
        *more,
    )
    for group in groups:
        frames += [Frame(declared, method, audit) for declared, method in operations(group)]
    for frame in frames:
        declared = frame.operation
        endpoint = f"{declared.method} {declared.path}"
        app.route(declared.route, methods=[declared.method], endpoint=endpoint)(frame.serve)
    for kind, on_error in _ON_ERROR:
        app.handle_errors(kind)(on_error)  # type: ignore[arg-type]
    return ApiSite(app, frames, options, Porter(options, hostname, admission), reactor)


class ApiSite(Site):
    """Makes a channel of each connection, up to `max_connections`, and judges requests."""

    noisy = False
    requestFactory = ApiRequest
    protocol = ApiChannel  # type: ignore[assignment]  # by default it is one that speaks HTTP/2 too

    def __init__(
        self,
        app: Klein,
        frames: Sequence[Frame],
        options: Api,
        porter: Porter,
        reactor: IReactorTime,
    ) -> None:
        super().__init__(
            app.resource(), parsePOSTFormSubmission=False, timeout=options.timeout, reactor=reactor
        )
        self._routes = app.url_map.bind("")
        self._frames = {f"{frame.operation.method} {frame.operation.path}": frame for frame in frames}
        self._plain = {
            (frame.operation.method.encode(), frame.operation.path.encode()): frame
            for frame in frames
            if not frame.operation.names
        }
        self._options = options
        self._porter = porter
        self._open: set[ApiChannel] = set()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if len(self._open) >= self._options.max_connections:
            return _Full()
        channel: Any = super().buildProtocol(addr)
        self._open.add(channel)
        return channel

    def closed(self, channel: ApiChannel) -> None:
        """A connection is gone."""
        self._open.discard(channel)

    def close_connections(self) -> None:
        """Ends the idle connections and the endless answers now, the others after the answer they wait for."""
        for channel in list(self._open):
            if channel.requests and not channel.requests[0].endless:
                channel.persistent = False
            else:
                channel.loseConnection()

    # There is no access log: what happens to mail is told by the mail log.

    def startFactory(self) -> None:
        pass

    def stopFactory(self) -> None:
        pass

    def log(self, request: Any) -> None:
        pass

    # -- a request whose header is there

    def admit(self, request: ApiRequest) -> None:
        """Lets a request in.

        Raises:
            Problem: it isn't.
        """
        frame = self.frame_of(request) or self._frame_of(request)
        if not request.path.startswith(PLACE):
            request.caller = self._porter.caller(request, frame is not None and frame.operation.is_open)
        # Without a Host the name is that of our own address, which a UNIX socket has not.
        needed = request.clientproto == b"HTTP/1.1" or isinstance(request.client, UNIXAddress)
        if needed and not request.requestHeaders.hasHeader(b"host"):
            raise refusal(400, "BadRequest", "No Host header")
        if not request.path.startswith(b"/"):
            raise refusal(400, "BadRequest", "A path is needed, no URI and no authority")
        if _decoded(request.path) is None:
            raise refusal(400, "BadRequest", "The path isn't UTF-8")
        if frame is not None:
            try:
                frame.admit(request)
            except StoreError as error:
                raise _unusable(error) from None

    def frame_of(self, request: ApiRequest) -> Frame | None:
        """What answers a request whose path leaves nothing open and is spelt as declared: Klein needn't be asked."""
        return self._plain.get((request.method, request.path))

    async def answer(self, request: ApiRequest, frame: Frame) -> bytes | None:
        """What Klein would have made of it."""
        try:
            return await frame.serve(request)
        except CancelledError:
            raise
        except Exception as error:
            for kind, on_error in _ON_ERROR:
                if isinstance(error, kind):
                    return on_error(request, Failure())
            raise

    def _frame_of(self, request: ApiRequest) -> Frame | None:
        """What will answer, as far as that can be told without the body; Klein decides."""
        path = _decoded(request.path)
        if path is None or not path.startswith("/"):
            return None
        try:
            endpoint, _ = self._routes.match(path, request.method.decode("ascii", "replace"))
        except HTTPException:
            return None
        return self._frames.get(endpoint)


def _decoded(path: bytes) -> str | None:
    """A path without its escapes; None: it isn't UTF-8."""
    try:
        return unquote_to_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        return None


class _Full(Protocol):
    """A connection too many: told so and closed."""

    def connectionMade(self) -> None:
        self.transport.write(_FULL)  # type: ignore[union-attr]
        self.transport.loseConnection()  # type: ignore[union-attr]


def _on_problem(request: Any, failed: Failure) -> bytes:
    return answer_problem(request, failed.value)  # type: ignore[arg-type]


def _on_http_exception(request: Any, failed: Failure) -> bytes:
    error = failed.value
    if isinstance(error, MethodNotAllowed):
        method = request.method.decode("ascii", "replace")[:_MAX_SHOWN]
        allow = ", ".join(sorted(error.valid_methods or ())).encode("ascii")
        problem = refusal(405, "MethodNotAllowed", f"{method} is not allowed", {b"Allow": allow})
    elif isinstance(error, NotFound):
        path = request.path.decode("ascii", "replace")[:_MAX_SHOWN]
        problem = refusal(404, "ResourceNotFound", f"{path} does not exist")
    else:
        problem = refusal(400, "BadRequest", "Bad request")
    return answer_problem(request, problem)


def _on_store_error(request: Any, failed: Failure) -> bytes:
    return answer_problem(request, _unusable(failed.value))


def _unusable(error: object) -> Problem:
    return failure(503, str(error) or "The queue can't be used now", RETRY_AFTER)


def _on_error(request: Any, failed: Failure) -> bytes:
    """A fault of ours: the log gets it, the client only that it was one."""
    _log.failure("request failed: {method} {path}", failed, method=request.method, path=request.path)
    return answer_problem(request, failure(500, "Internal error"))


#: The first that fits answers.
_ON_ERROR: tuple[tuple[type[Exception], Callable[[Any, Failure], bytes]], ...] = (
    (Problem, _on_problem),
    (HTTPException, _on_http_exception),
    (StoreError, _on_store_error),
    (Exception, _on_error),
)
