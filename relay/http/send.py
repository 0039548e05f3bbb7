"""`POST /send`: a mail as Nodemailer describes one; and the older `/sendemail`, `/sendmultiemails`, `/sendmultimails`.

The body is JSON or a form of plain fields. What is made of it goes through the same door as any message.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred

from relay.config.schema import Api
from relay.http.answer import Problem, answer, failure, refusal
from relay.http.fields import wrong
from relay.http.handover import Handover, Kept
from relay.http.mailbody import MailBody, Room
from relay.http.submit import origin_of, sending
from relay.listener.door import Intake
from relay.mime import older
from relay.mime.content import Rejected
from relay.mime.letter import MOST_SIZES, Letter, check_size, letter, to_each
from relay.mime.mailobject import MailObject, decoded
from relay.mime.unfit import Nobody, TooLarge, Unfit
from relay.queue.store import Store

if TYPE_CHECKING:
    from relay.http.request import ApiRequest

#: Bodies of this size are read at once; larger ones in a thread (bytes).
_SMALL = 32 * 1024
#: Bodies in memory, as multiples of what one may have.
_BODIES = 4
#: Where mail is handed over.
MAIL = frozenset({b"/send", b"/send-raw", b"/sendemail", b"/sendmultiemails", b"/sendmultimails"})
_FORM = b"application/x-www-form-urlencoded"

_mail = msgspec.json.Decoder(MailObject).decode


class InThread(Protocol):
    """Runs what takes long beside the reactor."""

    def __call__(self, work: Callable[[], list[Letter]], /) -> Deferred[list[Letter]]: ...


class SendApi:
    """The resources."""

    def __init__(self, options: Api, intake: Intake, store: Store, in_thread: InThread) -> None:
        self._options = options
        self._handover = Handover(intake, store, options.max_recipients)
        self._in_thread = in_thread
        self._room = Room(_BODIES * options.max_size)
        self._letter = partial(letter, max_size=options.max_size, max_recipients=options.max_recipients)
        self._to_each = partial(to_each, max_size=options.max_size, max_recipients=options.max_recipients)
        self._resources = {
            b"/send": self.send,
            b"/sendemail": self.send_email,
            b"/sendmultiemails": self.send_to_each,
            b"/sendmultimails": self.send_several,
        }

    def add_routes(self, app: Klein) -> None:
        for path, resource in self._resources.items():
            app.route(path.decode(), methods=["POST"])(resource)

    def upload(self, request: ApiRequest) -> MailBody | None:
        """Keeps the body of a request that is for one of these.

        Raises:
            Problem: there is no room for it, or who it is from can't be made out.
        """
        if request.method != b"POST" or request.path not in self._resources:
            return None
        origin_of(request)
        limit = self._options.max_size
        stated = request.getHeader(b"content-length") or b""
        size = int(stated) if stated.isdigit() and len(stated) < 20 else limit
        return MailBody(limit, self._room, min(size, limit))

    # -- the resources

    async def send(self, request: ApiRequest) -> bytes:
        """A mail object, one message."""
        [sent] = await self._sent(request, self._of_object)
        return _said(request, sent)

    async def send_email(self, request: ApiRequest) -> bytes:
        """Plain fields, one message."""
        [sent] = await self._sent(request, self._of_fields)
        return _said(request, sent)

    async def send_to_each(self, request: ApiRequest) -> bytes:
        """Plain fields, a message to each recipient."""
        return _all_said(request, await self._sent(request, self._of_fields_to_each))

    async def send_several(self, request: ApiRequest) -> bytes:
        """Several mails of plain fields."""
        return _all_said(request, await self._sent(request, self._of_several))

    # -- from a body to letters; these run in a thread

    def _of_object(self, body: bytes, is_form: bool) -> list[Letter]:
        if is_form:
            fields = older.form(body)
            mail = decoded(lambda: msgspec.convert(fields, MailObject))
        else:
            mail = decoded(lambda: _mail(body))
        return [self._letter(mail, _seed())]

    def _of_fields(self, body: bytes, is_form: bool) -> list[Letter]:
        return [self._letter(older.one(body, is_form), _seed())]

    def _of_fields_to_each(self, body: bytes, is_form: bool) -> list[Letter]:
        return self._to_each(older.one(body, is_form), _seed())

    def _of_several(self, body: bytes, is_form: bool) -> list[Letter]:
        letters: list[Letter] = []
        size = 0
        for number, mail in enumerate(older.several(body, is_form)):
            try:
                letters.append(self._letter(mail, _seed()))
            except Unfit as unfit:
                raise unfit.within(f"mails[{number}]") from None
            size += letters[-1].size
            check_size(size, MOST_SIZES * self._options.max_size)
        if not letters:
            raise Unfit("mails", "expected at least one")
        return letters

    # -- from a request to messages on disk

    async def _sent(
        self, request: ApiRequest, compose: Callable[[bytes, bool], list[Letter]]
    ) -> list[Kept | Problem]:
        """What became of each letter; all of them could be written. Raises Problem."""
        upload = request.upload
        if not isinstance(upload, MailBody):
            raise failure(400, f"Send it to {request.path.decode('ascii', 'replace')[:40].lower()}, spelt like that")
        try:
            origin, key = origin_of(request), _key(request)
            body = upload.text()
            work = partial(compose, body, _is_form(request, body))
            try:
                letters = work() if len(body) <= _SMALL else await self._in_thread(work)
            except Unfit as unfit:
                raise _problem(unfit) from None
            return await self._handover.kept(letters, origin, key, sending(request))
        finally:
            upload.abandon()


def _seed() -> str:
    return secrets.token_hex(12)


def _is_form(request: ApiRequest, body: bytes) -> bool:
    """Whether a body is a form: curl calls all of them so unless it is told otherwise."""
    kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    return kind == _FORM and body.lstrip()[:1] not in (b"{", b"[")


def _key(request: ApiRequest) -> bytes:
    """The idempotency key of a request, b"" for none; the intake says what is wrong with one."""
    return (request.getHeader(b"idempotency-key") or b"").strip()


def _problem(unfit: Unfit) -> Problem:
    if isinstance(unfit, Nobody):
        return failure(400, unfit.text)
    if isinstance(unfit, TooLarge):
        return failure(413, unfit.text)
    if isinstance(unfit, Rejected):
        return Problem(400, {"code": "InvalidArgument", "message": unfit.text, "field": unfit.field})
    return wrong(unfit.field, unfit.text) if unfit.field else refusal(400, "InvalidContent", unfit.text)


def _said(request: ApiRequest, sent: Kept | Problem) -> bytes:
    if isinstance(sent, Problem):
        raise sent
    return answer(request, sent)


def _all_said(request: ApiRequest, sent: Sequence[Kept | Problem]) -> bytes:
    """A list with what became of each; where nothing was taken, the first problem is the answer."""
    problems = [one for one in sent if isinstance(one, Problem)]
    if len(problems) == len(sent):
        raise problems[0]
    return answer(request, [one.body if isinstance(one, Problem) else one for one in sent])
