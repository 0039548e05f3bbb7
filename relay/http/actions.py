"""What is done to deliveries by hand: to one, to several, or to all that fit."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IReactorTime

from relay.access.caller import Caller, Scope
from relay.config.plain import meant, shown
from relay.dispatch.actions import Action, Done, Verb
from relay.dispatch.jobs import Job, Jobs, Name, TooManyJobs
from relay.http.answer import Problem, iso, refusal, shielded
from relay.http.fields import within, wrong
from relay.http.frame import Call
from relay.http.operation import operation
from relay.http.theirs import check_way, is_theirs
from relay.http.wanted import LINE, Text, Wanted, filter_of
from relay.message.queueid import name_of, parse_name
from relay.queue.filter import Filter
from relay.queue.store import Store

_NAMES = 1000
_SOON = {b"Retry-After": b"5"}
_GONE = "Not in the queue: it was delivered, bounced or deleted, or never was there"
_IN_HAND = "It is being delivered, or what became of it is being written down: nothing was done to it"
_Reason = Annotated[
    str, Meta(max_length=200, pattern=LINE, description="Of a hold, or of a bounce, whose sender reads it")
]
_Zone = Annotated[Text, Meta(description="Where to move it")]


class ActionAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do with a delivery."""

    action: Verb
    reason: _Reason = ""
    zone: _Zone = ""


class ActionTaken(msgspec.Struct, frozen=True):
    """It is on disk. `result` is `done`, or `unchanged` where there was nothing to do."""

    name: str
    result: str


class Everything(Wanted, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which deliveries; all there are only with `everything`."""

    everything: bool = False


class JobAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to do with which deliveries: those of these names (`id.seq`), or those that fit. With `dry_run` they are
    only counted. The answer waits so many seconds for the end."""

    action: Verb
    reason: _Reason = ""
    zone: _Zone = ""
    names: Annotated[tuple[Annotated[str, Meta(max_length=30)], ...], Meta(max_length=_NAMES)] = ()
    filter: Everything | None = None
    dry_run: bool = False
    wait: Annotated[float, Meta(ge=0, le=30)] = 1.0


class JobShown(msgspec.Struct, frozen=True, kw_only=True):
    """A job: `total` is how many deliveries it would change (while it is `counting`, so far), the others what came of
    those that it has come to. `in_hand`: left alone, for they were being delivered, or another act of them was
    written down. `gone`: they weren't in the queue any more."""

    id: str
    action: str
    reason: str
    zone: str
    dry_run: bool
    stage: str
    total: int
    done: int
    unchanged: int
    in_hand: int
    gone: int
    unreadable: int
    started: str
    ended: str | None
    error: str | None


class JobList(msgspec.Struct, frozen=True):
    """Those that run, and the last hundred that have ended, in the order in which they came."""

    jobs: list[JobShown]


class Hand(Protocol):
    """See relay.dispatch.operator.Operator."""

    def act(self, action: Action, queue_id: str, seq: int) -> Deferred[Done]: ...


class ActionsApi:
    """The resources."""

    def __init__(
        self,
        hand: Hand,
        jobs: Jobs,
        store: Store,
        zones: Callable[[], Collection[str]],
        clock: IReactorTime,
        now: Callable[[], int],
        tenants_choose: bool = False,
    ) -> None:
        """`zones` gives the names of those that send, in lower case; `now` ms since the epoch. `tenants_choose`: a
        tenant's callers may say by which zone mail goes."""
        self._hand = hand
        self._jobs = jobs
        self._store = store
        self._zones = zones
        self._clock = clock
        self._now = now
        self._tenants_choose = tenants_choose

    @operation(
        "POST",
        "/v1/deliveries/{name}/actions",
        scope=Scope.OPERATE,
        tag="queue",
        body=ActionAsked,
        answer=ActionTaken,
        errors=(409,),
        by_tenant=True,
        audit="delivery.acted",
    )
    async def act(self, call: Call, name: str) -> ActionTaken:
        """Sends a delivery now, puts it aside, lets it go, bounces it, deletes it, or moves it to another zone.

        `send-now` uses up no step of its retries. `release` lets it go at the time it was due anyway. `bounce` tells
        the sender as any bounce does. 409: it is being delivered, or another act of it is being written down; of
        several at once one is done, and the others are told so.
        """
        asked: ActionAsked = call.body
        queue_id, seq = _name(name)
        action = self._action(call.caller, asked.action, asked.reason, asked.zone)
        if not is_theirs(call.caller, self._store, queue_id):
            raise refusal(404, "ResourceNotFound", _GONE)
        done = await shielded(self._hand.act(action, queue_id, seq))
        if done is Done.GONE:
            raise refusal(404, "ResourceNotFound", _GONE)
        if done is Done.IN_HAND:
            raise refusal(409, "InHand", _IN_HAND)
        call.about = f"{name} {asked.action}"
        return ActionTaken(name, done.value)

    @operation(
        "POST",
        "/v1/queue/actions",
        scope=Scope.OPERATE,
        tag="queue",
        body=JobAsked,
        answer=JobShown,
        status=202,
        errors=(429,),
        by_tenant=True,
        audit="job.started",
    )
    async def begin(self, call: Call) -> JobShown:
        """Does the same to many deliveries, as a job.

        Those that there are now and that it would change are counted, then it goes through them. What is being
        delivered is left alone, and counted as `in_hand`. The answer has the job as it stands; a long one is asked for
        at `Location`. A job ends with the relay: what it has done is on disk, and given again it does the rest.
        """
        asked: JobAsked = call.body
        action = self._action(call.caller, asked.action, asked.reason, asked.zone)
        wanted, names = self._which(asked, call.caller)
        try:
            job = self._jobs.start(action, wanted, names, asked.dry_run, call.caller.tenant)
        except TooManyJobs as error:
            raise refusal(429, "TooManyJobs", f"Nothing was done: {error}", _SOON) from None
        if asked.wait:
            try:
                await job.wait().addTimeout(asked.wait, self._clock)
            except TookTooLong:
                pass
        call.request.setHeader(b"Location", f"/v1/jobs/{job.id}".encode("ascii"))
        call.about = f"{job.id} {asked.action}{' (dry run)' if asked.dry_run else ''} {_about(asked)}"
        return described(job)

    @operation("GET", "/v1/jobs", scope=Scope.READ, tag="queue", answer=JobList, by_tenant=True)
    async def jobs(self, call: Call) -> JobList:
        """Lists what is being done to many deliveries, and what was done since the start."""
        tenant = call.caller.tenant
        return JobList([described(job) for job in self._jobs.all() if not tenant or job.tenant == tenant])

    @operation("GET", "/v1/jobs/{id}", scope=Scope.READ, tag="queue", answer=JobShown, by_tenant=True)
    async def job(self, call: Call, id: str) -> JobShown:
        """Shows a job, and how far it is."""
        return described(self._job(call.caller, id))

    @operation(
        "DELETE", "/v1/jobs/{id}", scope=Scope.OPERATE, tag="queue", answer=JobShown, by_tenant=True,
        audit="job.cancelled",
    )  # fmt: skip
    async def cancel(self, call: Call, id: str) -> JobShown:
        """Ends a job: what it has done stays done.

        Nothing happens to one that has ended.
        """
        job = self._job(call.caller, id)
        job.cancel()
        return described(job)

    # -- inside

    def _job(self, caller: Caller, id: str) -> Job:
        job = self._jobs.get(id)
        if job is None or (caller.tenant and job.tenant != caller.tenant):
            raise refusal(404, "ResourceNotFound", f"There is no job {shown(id)}")
        return job

    def _action(self, caller: Caller, verb: Verb, reason: str, zone: str) -> Action:
        """Raises Problem."""
        if reason and verb not in (Verb.HOLD, Verb.BOUNCE):
            raise wrong("reason", "expected it with hold and bounce alone")
        if (verb is Verb.MOVE) != bool(zone):
            raise wrong("zone", "expected it with move, and only there")
        if zone:
            check_way(caller, self._tenants_choose, "zone")
        known = sorted(self._zones())
        if zone and zone.lower() not in known:
            hint = meant(zone[:60], known) or "; expected one of " + ", ".join(known)[:500]
            raise wrong("zone", f"there is no zone {shown(zone)} that sends{hint}")
        return Action(verb, reason, zone.lower())

    def _which(self, asked: JobAsked, caller: Caller) -> tuple[Filter | None, list[Name]]:
        """Raises Problem."""
        if bool(asked.names) == (asked.filter is not None):
            raise wrong("filter", "expected it or names, and not both")
        if asked.filter is None:
            names = [_name(name, f"names[{number}]") for number, name in enumerate(asked.names)]
            return None, [name for name in dict.fromkeys(names) if is_theirs(caller, self._store, name[0])]
        try:
            wanted = filter_of(asked.filter, caller, self._now())
        except Problem as problem:
            raise within(problem, "filter") from None
        names_nothing = msgspec.structs.replace(wanted, tenant=asked.filter.tenant) == Filter()
        if names_nothing != asked.filter.everything:
            raise wrong("filter.everything", "expected true where nothing else is named, and only there")
        return wanted, []


def described(job: Job) -> JobShown:
    """A job as the API shows it."""
    results = job.results
    return JobShown(
        id=job.id,
        action=job.action.verb.value,
        reason=job.action.reason,
        zone=job.action.zone,
        dry_run=job.dry_run,
        stage=job.stage.value,
        total=job.total,
        done=results[Done.DONE],
        unchanged=results[Done.UNCHANGED],
        in_hand=results[Done.IN_HAND],
        gone=results[Done.GONE],
        unreadable=results[Done.UNREADABLE],
        started=iso(job.started),
        ended=iso(job.ended) if job.ended else None,
        error=job.error or None,
    )


def _name(text: str, field: str = "name") -> Name:
    """Raises Problem."""
    queue_id, seq = parse_name(text) or ("", None)
    if seq is None or name_of(queue_id, seq) != text:
        raise wrong(field, f'expected the name of a delivery, "id.seq", got {shown(text)}')
    return queue_id, seq


def _about(asked: JobAsked) -> str:
    """Which deliveries, for the audit."""
    if asked.filter is None:
        return f"{len(asked.names)} by name, {asked.names[0]} first"
    given = msgspec.to_builtins(asked.filter)
    return ", ".join(f"{name} {value}" for name, value in given.items() if value) or "everything"
