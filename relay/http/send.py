"""`POST /send`: a mail as Nodemailer describes one; and the older `/sendemail`, `/sendmultiemails`, `/sendmultimails`.

The body is JSON or a form of plain fields. What is made of it goes through the same door as any message.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

import msgspec
from msgspec import UNSET, UnsetType, field
from twisted.internet.defer import Deferred

from relay.access.caller import Scope
from relay.config.schema import Api
from relay.http.answer import Problem, encoded, failure, refusal, written
from relay.http.fields import wrong
from relay.http.frame import Call
from relay.http.handover import Ends, Handover, Order
from relay.http.kept import Kept, kept_of
from relay.http.mailbody import MailBody, Room
from relay.http.onetime import once
from relay.http.operation import FORM, JSON, operation
from relay.http.submit import origin_of, sending
from relay.http.words import OF_MAIL
from relay.intake.onetime import Key, OneTime
from relay.mime import older
from relay.mime.content import Rejected
from relay.mime.letter import MOST_SIZES, Letter, check_size, letter, to_each
from relay.mime.mailobject import MailObject, decoded
from relay.mime.unfit import Nobody, TooLarge, Unfit

if TYPE_CHECKING:
    from relay.http.request import ApiRequest

#: Bodies of this size are read at once; larger ones in a thread (bytes).
_SMALL = 32 * 1024
#: What a form says of one mail, and what of several.
_FIELDS = dict[str, str | list[str]]
_MAILS = older.Several | list[older.Plain]

_T = TypeVar("_T")
_mail = msgspec.json.Decoder(MailObject).decode


class InThread(Protocol):
    """Runs what takes long beside the reactor."""

    def __call__(self, work: Callable[[], _T], /) -> Deferred[_T]: ...


class Outcome(msgspec.Struct, frozen=True):
    """What became of one of several: as it was taken, or what was wrong."""

    id: str | UnsetType = UNSET
    from_: str | UnsetType = field(default=UNSET, name="from")
    to: list[str] | UnsetType = UNSET
    response: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    code: str | UnsetType = UNSET
    message: str | UnsetType = UNSET
    field: str | UnsetType = UNSET


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

    def begin(self, call: Call) -> MailBody:
        """Keeps the body of a request. Raises Problem: there is no room for it, or who it is from can't be made out."""
        origin_of(call.request)
        return MailBody.of(call.request, self._options.max_size, self._room)

    # -- the resources

    @operation(
        "POST",
        "/send",
        scope=Scope.SUBMIT,
        tag="mail",
        fields=OF_MAIL,
        takes={JSON: MailObject, FORM: _FIELDS},
        upload="begin",
        by_tenant=True,
        answer=Kept,
        errors=(409, 507),
    )
    async def send(self, call: Call) -> bytes:
        """Sends a mail that is described as Nodemailer does it.

        The message is made of it, and on disk then. Files and addresses on the web are not read. With an
        `Idempotency-Key` in the header the same request can be made again, and gets the same answer.
        `X-Authenticated-User` and `X-Originating-IP` say who has sent it, and where from.
        """
        return await self._sent(call.request, self._of_object, _said)

    @operation(
        "POST",
        "/sendemail",
        scope=Scope.SUBMIT,
        tag="mail",
        fields=OF_MAIL,
        takes={JSON: older.Plain, FORM: _FIELDS},
        upload="begin",
        by_tenant=True,
        answer=Kept,
        errors=(409, 507),
    )
    async def send_email(self, call: Call) -> bytes:
        """Sends a mail of a few plain fields: one message to all its recipients."""
        return await self._sent(call.request, self._of_fields, _said)

    @operation(
        "POST",
        "/sendmultiemails",
        scope=Scope.SUBMIT,
        tag="mail",
        fields=OF_MAIL,
        takes={JSON: older.Plain, FORM: _FIELDS},
        upload="begin",
        by_tenant=True,
        answer=list[Outcome],
        errors=(409, 507),
    )
    async def send_to_each(self, call: Call) -> bytes:
        """Sends a mail of a few plain fields: to each of its recipients a message of its own.

        The answer says of each what became of it; where none was taken, it is what was wrong with the first.
        """
        return await self._sent(call.request, self._of_fields_to_each, _all_said)

    @operation(
        "POST",
        "/sendmultimails",
        scope=Scope.SUBMIT,
        tag="mail",
        fields=OF_MAIL,
        takes={JSON: _MAILS, FORM: _FIELDS},
        upload="begin",
        by_tenant=True,
        answer=list[Outcome],
        errors=(409, 507),
    )
    async def send_several(self, call: Call) -> bytes:
        """Sends several mails of a few plain fields.

        In a form `mails` is the list of them in JSON. The answer is that of `/sendmultiemails`.
        """
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
        assert isinstance(upload, MailBody)
        try:
            origin, body = origin_of(request), upload.text()

            async def work(key: Key | None) -> bytes:
                letters = await self._composed(partial(compose, body, _is_form(request, body)), len(body))
                orders = list(map(Order, letters))
                return await self._handover.kept(orders, origin, sending(request), key, partial(said, letters))

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
    return kind == FORM.encode() and body.lstrip()[:1] not in (b"{", b"[")


def _problem(unfit: Unfit) -> Problem:
    if isinstance(unfit, Nobody):
        return failure(400, unfit.text)
    if isinstance(unfit, TooLarge):
        return failure(413, unfit.text)
    if isinstance(unfit, Rejected):
        return Problem(400, {"code": "InvalidArgument", "message": unfit.text, "field": unfit.field})
    return wrong(unfit.field, unfit.text) if unfit.field else refusal(400, "InvalidContent", unfit.text)


def _said(letters: Sequence[Letter], ends: Ends) -> bytes:
    [one], [end] = letters, ends
    if isinstance(end, Problem):
        raise end
    return encoded(kept_of(end, one.recipients))


def _all_said(letters: Sequence[Letter], ends: Ends) -> bytes:
    """A list with what became of each; where nothing was taken, the first problem is the answer."""
    problems = [one for one in ends if isinstance(one, Problem)]
    if len(problems) == len(ends):
        raise problems[0]
    return encoded([
        end.body if isinstance(end, Problem) else kept_of(end, one.recipients)
        for one, end in zip(letters, ends, strict=True)
    ])
