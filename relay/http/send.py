"""`POST /send`: a mail as Nodemailer describes one; and the older `/sendemail`, `/sendmultiemails`, `/sendmultimails`.

The body is JSON or a form of plain fields. What is made of it goes through the same door as any message.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred

from relay.access.caller import Scope
from relay.config.schema import Api
from relay.http.answer import Problem, encoded, failure, refusal, written
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.handover import Ends, Handover, Order
from relay.http.mailbody import MailBody, Room
from relay.http.onetime import once
from relay.http.operation import operation
from relay.http.submit import Sent, origin_of, said_of, user_of
from relay.intake.onetime import Key, OneTime
from relay.listener.door import Settled
from relay.mime import older
from relay.mime.content import Rejected
from relay.mime.letter import MOST_SIZES, Letter, check_size, letter, to_each
from relay.mime.mailobject import MailObject, decoded
from relay.mime.unfit import Nobody, TooLarge, Unfit

if TYPE_CHECKING:
    from relay.http.request import ApiRequest

#: Bodies of this size are read at once; larger ones in a thread (bytes).
_SMALL = 32 * 1024
_FORM = b"application/x-www-form-urlencoded"
_PATHS = frozenset((b"/send", b"/sendemail", b"/sendmultiemails", b"/sendmultimails"))
_post = partial(operation, "POST", scope=Scope.SUBMIT, tag="messages", errors=(409, 507), by_tenant=True)

_T = TypeVar("_T")
_mail = msgspec.json.Decoder(MailObject).decode


class SentOrNot(msgspec.Struct, omit_defaults=True):
    """A mail that is on disk, as `/send` tells of it; or in `error` why it isn't."""

    id: str = ""
    from_: str = msgspec.field(default="", name="from")
    to: list[str] = []
    response: str = ""
    error: str = ""


class InThread(Protocol):
    """Runs what takes long beside the reactor."""

    def __call__(self, work: Callable[[], _T], /) -> Deferred[_T]: ...


class SendApi:
    """The resources."""

    def __init__(self, options: Api, handover: Handover, once: OneTime, room: Room, in_thread: InThread) -> None:
        """`room`: for bodies."""
        self._options = options
        self._handover = handover
        self._once = once
        self._in_thread = in_thread
        self._room = room
        self._letter = partial(letter, max_size=options.max_size, max_recipients=options.max_recipients)
        self._to_each = partial(to_each, max_size=options.max_size, max_recipients=options.max_recipients)

    def upload(self, request: ApiRequest) -> MailBody | None:
        """Keeps the body of a request that is for one of these.

        Raises:
            Problem: there is no room for it, or who it is from can't be made out.
        """
        if request.method != b"POST" or request.path not in _PATHS:
            return None
        origin_of(request)
        return MailBody.of(request, self._options.max_size, self._room)

    # -- the resources

    @_post("/send", body=MailObject, answer=Sent)
    async def send(self, call: Call) -> bytes:
        """Takes a mail as Nodemailer describes one.

        Fields that aren't listed mean nothing. Files and pages are not read: `path` and `href` are refused.
        """
        return await self._sent(call.request, self._of_object, _said)

    @_post("/sendemail", body=older.Plain, answer=Sent)
    async def send_email(self, call: Call) -> bytes:
        """Takes a mail of plain fields."""
        return await self._sent(call.request, self._of_fields, _said)

    @_post("/sendmultiemails", body=older.Plain, answer=list[SentOrNot])
    async def send_to_each(self, call: Call) -> bytes:
        """Takes a mail of plain fields, and sends each recipient one of their own."""
        return await self._sent(call.request, self._of_fields_to_each, _all_said)

    @_post("/sendmultimails", body=list[older.Plain] | older.Several, answer=list[SentOrNot])
    async def send_several(self, call: Call) -> bytes:
        """Takes several mails of plain fields."""
        return await self._sent(call.request, self._of_several, _all_said)

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
        self,
        request: ApiRequest,
        compose: Callable[[bytes, bool], list[Letter]],
        said: Callable[[Sequence[Letter], Ends], bytes],
    ) -> bytes:
        """The answer, once all letters are on disk or refused; all of them could be written. Raises Problem."""
        upload = request.upload
        if not isinstance(upload, MailBody):
            raise failure(400, f"Send it to {request.path.decode('ascii', 'replace')[:40].lower()}, spelt like that")
        try:
            origin, body = origin_of(request), upload.text()

            async def work(key: Key | None) -> bytes:
                letters = await self._composed(partial(compose, body, _is_form(request, body)), len(body))
                orders, user = list(map(Order, letters)), user_of(request.caller, origin)
                return await self._handover.kept(orders, origin, user, key, partial(said, letters))

            return written(request, await once(self._once, request, origin, (body,), work))
        finally:
            upload.abandon()

    async def _composed(self, work: Callable[[], list[Letter]], size: int) -> list[Letter]:
        try:
            return work() if size <= _SMALL else await self._in_thread(work)
        except Unfit as unfit:
            raise _problem(unfit) from None


def _seed() -> str:
    return secrets.token_hex(12)


def _is_form(request: ApiRequest, body: bytes) -> bool:
    """Whether a body is a form: curl calls all of them so unless it is told otherwise."""
    kind = (request.getHeader(b"content-type") or b"").partition(b";")[0].strip().lower()
    return kind == _FORM and body.lstrip()[:1] not in (b"{", b"[")


def _problem(unfit: Unfit) -> Problem:
    if isinstance(unfit, Nobody):
        return failure(400, unfit.text)
    if isinstance(unfit, TooLarge):
        return failure(413, unfit.text)
    if isinstance(unfit, Rejected):
        return Problem(400, {"code": "InvalidArgument", "message": unfit.text, "field": unfit.field})
    return wrong(unfit.field, unfit.text) if unfit.field else refusal(400, "InvalidContent", unfit.text)


def _said(letters: Sequence[Letter], ends: Ends) -> bytes:
    [letter_], [end] = letters, ends
    if isinstance(end, Problem):
        raise end
    return encoded(_told(letter_, end))


def _all_said(letters: Sequence[Letter], ends: Ends) -> bytes:
    """A list with what became of each; where nothing was taken, the first problem is the answer."""
    problems = [one for one in ends if isinstance(one, Problem)]
    if len(problems) == len(ends):
        raise problems[0]
    return encoded([
        end.body if isinstance(end, Problem) else _told(one, end) for one, end in zip(letters, ends, strict=True)
    ])


def _told(one: Letter, end: Settled) -> Sent:
    return said_of(end, one.recipients)
