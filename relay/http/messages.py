"""`POST /v1/messages`: one message or many, scheduled, tagged, waited for."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Caller, Scope
from relay.config.plain import meant, shown
from relay.config.schema import Api
from relay.http.answer import Problem, encoded, refusal, written
from relay.http.fields import within, wrong
from relay.http.frame import BodyReader, Call
from relay.http.handover import Ends, Handover, Order
from relay.http.mailbody import MailBody, Room
from relay.http.message_fields import Accepted, AllAccepted, NewMessage, Posted, Refused, Submission, mail_of, named
from relay.http.onetime import once
from relay.http.operation import JSON, operation
from relay.http.slices import Slices
from relay.http.submit import origin_of, sending
from relay.http.theirs import anothers, check_way
from relay.http.waits import Waits
from relay.http.words import OF_MAIL
from relay.intake.onetime import Key, OneTime
from relay.listener.door import Settled
from relay.message import labels
from relay.message.queueid import name_of
from relay.mime.letter import MOST_SIZES, check_size, letter
from relay.mime.unfit import Nobody, TooLarge, Unfit

if TYPE_CHECKING:
    from relay.http.send import InThread

#: Bodies of this size are read in the reactor, with pauses; larger ones in a thread (bytes).
_SMALL = 256 * 1024
#: Deliveries of one request, as multiples of what one message may have.
_RECIPIENTS = 10
#: How far ahead mail may be scheduled (ms).
_AHEAD = 365 * 86_400_000
_LONGEST_WAIT = 60

_told = msgspec.json.Decoder(AllAccepted).decode


class Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long the answer may wait for what becomes of each delivery."""

    wait: Annotated[int, Meta(ge=0, le=_LONGEST_WAIT, description="Seconds")] = 0


class MessagesApi:
    """The resource."""

    def __init__(
        self,
        options: Api,
        handover: Handover,
        once: OneTime,
        waits: Waits,
        room: Room,
        zones: Callable[[], Collection[str]],
        clock: IReactorTime,
        now: Callable[[], int],
        in_thread: InThread,
    ) -> None:
        """`room`: for bodies; `zones` gives the names of those that send, `now` ms since the epoch."""
        self._options = options
        self._handover = handover
        self._once = once
        self._waits = waits
        self._room = room
        self._zones = zones
        self._clock = clock
        self._now = now
        self._in_thread = in_thread
        self._read = BodyReader(Submission)
        self._letter = partial(letter, max_size=options.max_size, max_recipients=options.max_recipients)

    def begin(self, call: Call) -> MailBody:
        """Keeps the body of a request. Raises Problem: there is no room for it, or who it is from can't be made out."""
        origin_of(call.request)
        return MailBody.of(call.request, self._options.max_size, self._room)

    @operation(
        "POST",
        "/v1/messages",
        scope=Scope.SUBMIT,
        tag="mail",
        fields=OF_MAIL,
        query=Wait,
        takes={JSON: Submission},
        upload="begin",
        answer=AllAccepted,
        status=202,
        errors=(409, 507),
        by_tenant=True,
    )
    async def post(self, call: Call) -> bytes:
        """Takes one message, or up to 1,000 of them.

        They are on disk then, and each recipient's delivery has an id. Where one can't stand, none is taken. With
        `wait` the answer comes when each delivery has ended or has been put off, or the time is over, and says so.
        Under an `Idempotency-Key` the same request again gives the same answer, and nothing is sent twice.
        """
        request, upload = call.request, call.request.upload
        assert isinstance(upload, MailBody)
        body = upload.text()
        waiting = self._waits.begin() if call.query.wait else None
        try:
            origin = origin_of(request)
            user = sending(request)

            async def work(key: Key | None) -> bytes:
                given = self._read(body)
                orders = await self._orders(given, call.caller, len(body))
                return await self._handover.kept(orders, origin, user, key, _said(given.messages is not None))

            answer = await once(self._once, request, origin, (body,), work)
            if waiting is not None:
                answer = encoded(await self._waits.filled(_told(answer), waiting, call.query.wait))
        finally:
            if waiting is not None:
                waiting.end()
            upload.abandon()
        return written(request, answer, 202)

    # -- from fields to letters

    async def _orders(self, given: Submission, caller: Caller, size: int) -> list[Order]:
        """Raises Problem: a field can't stand, which is named; or there is too much of it."""
        several = given.messages is not None
        messages: Sequence[NewMessage] = [given] if given.messages is None else given.messages
        if several and given != Submission(messages=given.messages):
            raise wrong("messages", "expected no other field beside it")
        if not messages:
            raise wrong("messages", "expected at least one")
        place = "messages[{}]" if several else ""
        try:
            if size > _SMALL:
                found = await self._in_thread(lambda: list(self._made(messages, caller, place)))
            else:
                found, slices = [], Slices(self._clock)
                for order in self._made(messages, caller, place):
                    found.append(order)
                    if slices.over:
                        await slices.breathe()
        except Unfit as unfit:
            raise _problem(unfit) from None
        return found

    def _made(self, messages: Sequence[NewMessage], caller: Caller, place: str) -> Iterator[Order]:
        """Each with its letter, one after the other; the thread may be another. Raises Problem, Unfit."""
        size = recipients = 0
        seed = secrets.token_hex(12)
        for number, message in enumerate(messages):
            where = place.format(number)
            try:
                order = self._order(message, caller, f"{seed}{number:x}")
            except Unfit as unfit:
                raise unfit.within(where) if where else unfit from None
            except Problem as problem:
                raise within(problem, where) from None
            size += order.letter.size
            recipients += len(order.letter.recipients or ())
            check_size(size, MOST_SIZES * self._options.max_size)
            if recipients > _RECIPIENTS * self._options.max_recipients:
                raise TooLarge("", f"more than {_RECIPIENTS * self._options.max_recipients} recipients in all")
            yield order

    def _order(self, message: NewMessage, caller: Caller, seed: str) -> Order:
        due = self._due(message)
        mail = mail_of(message, due or None)
        return Order(
            self._letter(mail, seed),
            self._zone(message.zone, caller) if message.zone else "",
            due,
            self._tenant(message.tenant, caller) if message.tenant else caller.tenant,
            tuple(dict.fromkeys(message.tags)) if message.tags else (),
            _metadata(message.metadata) if message.metadata else {},
        )

    def _due(self, message: NewMessage) -> int:
        """When it is to go (ms since the epoch); 0: now."""
        if message.send_at is None:
            return 0
        when, now = round(message.send_at.timestamp() * 1000), self._now()
        if when > now + _AHEAD:
            raise wrong("send_at", "expected a time within 365 days")
        return when if when > now else 0

    def _zone(self, zone: str, caller: Caller) -> str:
        check_way(caller, self._options.allow_routing_headers, "zone")
        known = sorted(self._zones())
        if zone.lower() not in known:
            hint = meant(zone[:60].lower(), known) or "; expected one of " + ", ".join(known)[:500]
            raise wrong("zone", f"there is no zone {shown(zone)}{hint}")
        return zone.lower()

    def _tenant(self, tenant: str, caller: Caller) -> str:
        if caller.tenant and tenant != caller.tenant:
            raise anothers("tenant", tenant)
        try:
            return labels.checked_tenant(tenant)
        except ValueError as error:
            raise wrong("tenant", str(error)) from None


def _metadata(given: dict[str, str]) -> dict[str, str]:
    try:
        return labels.checked_metadata(given)
    except ValueError as error:
        raise wrong("metadata", str(error)) from None


def _problem(unfit: Unfit) -> Problem:
    if isinstance(unfit, TooLarge):
        return refusal(413, "RequestEntityTooLarge", str(unfit))
    field = named(unfit.field)
    if not field:
        return refusal(400, "InvalidArgument", unfit.text)
    return wrong(field, "expected a recipient" if isinstance(unfit, Nobody) else unfit.text)


# -- what the client is told


def _said(several: bool) -> Callable[[Ends], bytes]:
    return _all_said if several else _one_said


def _one_said(ends: Ends) -> bytes:
    [end] = ends
    if isinstance(end, Problem):
        raise _refused(end, "")
    one = _accepted(end)
    return encoded(AllAccepted(one.id, one.deliveries))


def _all_said(ends: Ends) -> bytes:
    """What became of each. For want of room, or where one may not be sent as its author, none is taken; nor where
    there is nothing to take."""
    problems = [(number, end) for number, end in enumerate(ends) if isinstance(end, Problem)]
    for number, problem in problems:
        if problem.status == 403 or problem.status >= 500 or len(problems) == len(ends):
            raise _refused(problem, f"messages[{number}]")
    return encoded(AllAccepted(messages=[_accepted(end) for end in ends]))


def _accepted(end: Settled | Problem) -> Accepted:
    if isinstance(end, Problem):
        return Accepted(problem=Refused(end.status, end.body["error"]))
    queue_id = end.message.id
    return Accepted(queue_id, [Posted(name_of(queue_id, seq), to) for seq, to in enumerate(end.recipients, 1)])


def _refused(problem: Problem, where: str) -> Problem:
    """What the door says of a message, with the field where it knows that."""
    if problem.status == 403:
        field = f"{where}.from" if where else "from"
        return refusal(403, "Forbidden", f"{field}: {problem.body['error']}", field=field)
    if where and problem.status < 500:
        return refusal(problem.status, "InvalidArgument", f"{where}: {problem.body['error']}", field=where)
    return problem
