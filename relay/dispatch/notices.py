"""What senders are told of their deliveries: that they came to nothing, that they take long, that they were passed on.

Who is told, and what, is for `relay.bounce` to say. Here the mail is composed, with a queue id and a zone of its own,
and given to whoever writes down what it tells of: both go into one batch, so that no delivery is struck off without
its notice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from twisted.logger import Logger

from relay.access.refused import Refused
from relay.bounce import fate
from relay.bounce.entitled import Case, wants, why_none, why_unreported
from relay.bounce.fate import Fate, Kind
from relay.bounce.notice import Author, notice, speaks_utf8
from relay.bounce.quoting import may_be_whole
from relay.bounce.ration import Ration
from relay.config.schema import Bounces
from relay.config.units import rate
from relay.events.steps import Events, Steps
from relay.logs.maillog import MailLog
from relay.message.envelope import Envelope, Recipient
from relay.message.values import Delivery, Message, Outcome
from relay.queue.schedule import Work
from relay.queue.store import Parcel, Store, StoreError
from relay.zone.zones import Zones

_log = Logger()


class Counts(Protocol):
    """What is counted of notices; the metrics implement it."""

    def notice(self, kind: Kind) -> None: ...
    def no_notice(self, reason: str) -> None: ...


class Desk(Protocol):
    """Where mail of the relay's own is composed (relay.intake.own)."""

    def parcel(self, text: bytes, envelope: Envelope, zone: str) -> Parcel:
        """A whole message, not stored yet; by `zone` where there is one of that name. Raises Refused."""

    def stored(self, parcel: Parcel) -> None:
        """It is on disk."""


class Notice(NamedTuple):
    """What a sender is told of a delivery, or, without a `parcel`, why nothing is."""

    kind: Kind
    sender: str
    delivery: Delivery
    parcel: Parcel | None
    reason: str = ""
    #: What goes with it into the batch.
    events: Events = ()


class Notices:
    """One for the relay."""

    def __init__(
        self,
        options: Bounces,
        hostname: str,
        zones: Zones,
        store: Store,
        desk: Desk,
        log: MailLog,
        counts: Counts,
        now: Callable[[], int],
        seconds: Callable[[], float],
        steps: Steps,
    ) -> None:
        """`now` gives ms since the epoch, `seconds` is a clock that never jumps."""
        self._steps = steps
        self._options = options
        self._hostname = hostname
        self._zones = zones
        self._store = store
        self._desk = desk
        self._log = log
        self._counts = counts
        self._now = now
        self._seconds = seconds
        self._delay = round(options.delay_after * 1000)
        self._ration = Ration(*rate(options.per_sender))

    def of_failure(self, work: Work, outcome: Outcome, expired: bool) -> Notice | None:
        """It is given up; `expired`: for it was tried for long enough. None: nobody is told anything here."""
        return self._of(work, fate.failed(outcome, expired)) if self._options.mail else None

    def unreported(self, work: Work) -> str:
        """Why a failure isn't to be reported to `bounces.url`, "" where it is."""
        message, delivery = work.held.message, work.delivery
        return why_unreported(Case("failure", message, delivery, self._by_http(delivery)))

    def of_success(self, work: Work, outcome: Outcome) -> Notice | None:
        """A host has taken it, and the client had wishes. None: not this one, or the host itself sees to it."""
        if outcome.dsn or not self._options.mail or not wants("success", work.delivery.notify):
            return None
        zone = self._zones.get(work.delivery.zone)
        return self._of(work, fate.passed_on(outcome, zone is not None and zone.options.lmtp))

    def is_late(self, delivery: Delivery, since: int) -> bool:
        """Whether its sender has to be told that it takes long: it has been waiting since then (ms since the epoch)."""
        return not delivery.warned and 0 < self._delay <= self._now() - since and self._options.mail

    def of_delay(self, work: Work, outcome: Outcome, until: int) -> Notice:
        """It will be tried again until then (ms since the epoch)."""
        return self._of(work, fate.delayed(outcome, until))

    def written(self, notice: Notice) -> None:
        """What it tells of is on disk, and so is its parcel."""
        name, kind, reason = notice.delivery.name, notice.kind, notice.reason
        if notice.parcel is None:
            self._counts.no_notice(reason)
            self._log.write("skipbounce", name, kind=kind, sender=f"<{notice.sender}>", reason=reason)
            return
        self._counts.notice(kind)
        self._log.write("notified", name, kind=kind, sender=f"<{notice.sender}>", bounce=notice.parcel.message.id)
        self._desk.stored(notice.parcel)

    # -- inside

    def _of(self, work: Work, what: Fate) -> Notice:
        message, delivery = work.held.message, work.delivery
        parcel, reason = None, self._why_none(message, delivery, what.kind)
        if not reason:
            try:
                parcel = self._parcel(work, what)
            except Refused as refused:
                _log.info("{name}: no notice: {why}", name=delivery.name, why=refused.reply.text)
                reason = "no way back"
            except Exception:  # It would be made again and again, and the delivery never end.
                _log.failure("{name}: the notice can't be made", name=delivery.name)
                reason = "fault"
        told = () if parcel is None else self._steps.notified(message, delivery, what.kind, parcel.message.id)
        return Notice(what.kind, message.sender, delivery, parcel, reason, told)

    def _why_none(self, message: Message, delivery: Delivery, kind: Kind) -> str:
        zone = self._zones.get(delivery.zone)
        silent = zone is not None and not zone.options.bounce_mail
        by_http = self._by_http(delivery)
        reason = why_none(Case(kind, message, delivery, by_http, silent, self._options.disabled_listeners))
        if not reason and not self._ration.take(message.sender, self._seconds()):
            reason = "too many"
        return reason

    def _by_http(self, delivery: Delivery) -> bool:
        zone = self._zones.get(delivery.zone)
        return zone is not None and bool(zone.options.url)

    def _parcel(self, work: Work, what: Fate) -> Parcel:
        message, delivery = work.held.message, work.delivery
        zone = self._zones.get(delivery.zone)
        by, author = (zone.options.bounce_zone, zone.options.mailer_daemon) if zone is not None else ("", "")
        author = (author or self._options.mailer_daemon).replace("[HOSTNAME]", self._hostname)
        body = self._body(work) if what.kind == "failure" else None
        text = notice(what, message, delivery, Author(self._hostname, author), self._now(), body)
        envelope = Envelope("", (Recipient(message.sender),), speaks_utf8(message), message.require_tls)
        return self._desk.parcel(text, envelope, by or self._options.zone)

    def _body(self, work: Work) -> bytes | None:
        """That of the message, where it is to be returned in full."""
        message = work.held.message
        if not may_be_whole(message, self._options.return_full_size):
            return None
        if work.held.body is not None:
            return work.held.body
        try:
            return b"".join(self._store.chunk(message.id, number) for number in range(message.chunks))
        except StoreError as error:
            _log.warn("{id} is not returned in full: {why}", id=message.id, why=str(error))
            return None
