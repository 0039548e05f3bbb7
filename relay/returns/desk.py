"""Where mail that came back is read, matched and written down, before its client reads 250.

What hosts say becomes events of the delivery it is about. What is for a sender, by SRS, goes on to the queue: the
only mail that is sent on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec.structs
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.logger import Logger

from relay.bounce.reading import read
from relay.bounce.returned import Returned
from relay.bounce.returnpath import Place, ReturnPaths
from relay.listener.door import Intake, Refused, Terms
from relay.logs.maillog import MailLog
from relay.message.address import Address, parse
from relay.message.envelope import Envelope, Recipient
from relay.message.event import Event
from relay.message.user import User
from relay.queue.store import StoreError
from relay.returns.mail import ReturnMail
from relay.returns.meaning import Reader
from relay.returns.past import Past
from relay.smtp.reply import Reply, reply

_log = Logger()

#: Mails that are read at the same time, each in a thread.
_READERS = 2
_ON = Terms(priority="low", x_originating_ip=False, add_missing=())

NOT_NOW = reply(452, "4.3.1 What it says can't be written down now, try again later")


class Counts(Protocol):
    """What is counted of them; the metrics implement it."""

    def returned(self, what: str) -> None: ...


class Desk:
    """One for the relay.

    Attributes:
        paths: our return paths.
        most: octets that are kept of a mail.
        now: ms since the epoch.
    """

    def __init__(
        self,
        paths: ReturnPaths,
        reader: Reader,
        past: Past,
        intake: Intake,
        *,
        most: int,
        zone: str,
        log: MailLog,
        counts: Counts,
        now: Callable[[], int],
        in_thread: Callable[..., Deferred[Any]],
    ) -> None:
        """What is sent on is bounce mail, and goes by `zone` where there is one of that name. `in_thread` runs a
        function where it may take a while."""
        self.paths = paths
        self._bounces = User("", zone=zone)
        self.most = most
        self.now = now
        self._reader = reader
        self._past = past
        self._intake = intake
        self._log = log
        self._counts = counts
        self._in_thread = in_thread
        self._room = DeferredSemaphore(_READERS)

    def place(self, address: str | Address) -> Place | None:
        """What an address stands for; None: it is none of ours."""
        return self.paths.place(parse(address) if isinstance(address, str) else address, self.now())

    async def take(self, mail: ReturnMail, sender: str, places: Iterable[Place]) -> None:
        """All that follows from a mail is on disk then. Raises Refused."""
        # Who names a place a hundred times says no more than once.
        places = list(dict.fromkeys(places))
        told = [place for place in places if place.purpose != "sender"]
        if told:
            returned = await self._room.run(self._in_thread, read, mail.text, not sender)
            await self._write(mail, returned, told)
        for place in places:
            if place.purpose == "sender":
                await self._send_on(mail, place.sender)

    def knows(self, token: str) -> bool:
        """Whether a link with this word to unsubscribe is one of ours."""
        return self.paths.tokens.read("unsubscribe", token) is not None

    async def wish(self, token: str, client: str) -> bool:
        """Somebody at this address has followed a link with this word to unsubscribe. Whether it is one of ours; then
        it is on disk. Raises StoreError."""
        named = self.paths.tokens.read("unsubscribe", token)
        if named is None:
            return False
        event = self._reader.wish(named, client, self.now(), "by one click")
        if event is not None:
            await self._past.tell(event)
            self._tell(event)
        return True

    def refused(self, mail: ReturnMail, sender: str, refusal: Reply) -> None:
        """A mail isn't taken."""
        self._log.write(
            "refused",
            mail.id,
            listener=mail.origin.listener,
            client=mail.origin.address,
            sender=f"<{sender}>",
            reply=f"{refusal.code} {refusal.text}",
        )

    async def _write(self, mail: ReturnMail, returned: Returned, places: Iterable[Place]) -> None:
        client, now = mail.origin.address, self.now()
        try:
            meanings = [self._reader.meaning(returned, place, client, now) for place in places]
            events = {(one.event.kind, one.event.name): one.event for one in meanings if one.event is not None}
            if events:
                await self._past.tell(*events.values())
        except StoreError as error:
            _log.warn("{id}, which came back, is not written down: {why}", id=mail.id, why=str(error))
            raise Refused(NOT_NOW) from None
        for event in events.values():
            self._tell(event, mail.id)
        for one, what in meanings:
            if one is None:
                self._counts.returned(what)
                self._log.write(
                    "returned",
                    mail.id,
                    what=what,
                    listener=mail.origin.listener,
                    client=client,
                    sender=returned.sender,
                    about=returned.about,
                )

    def _tell(self, event: Event, returned: str = "") -> None:
        self._counts.returned(event.kind)
        self._log.write(
            event.kind,
            event.name,
            zone=event.zone,
            to=event.recipient and f"<{event.recipient}>",
            client=event.host_address,
            mx=event.host,
            category=event.category,
            action=event.action,
            status=event.status,
            reply=event.reply,
            returned=returned,
            reason=event.reason,
        )

    async def _send_on(self, mail: ReturnMail, to: str) -> None:
        """A bounce goes to whom it is for, as it is."""
        submission = self._intake.open(msgspec.structs.replace(mail.origin, returned=True), _ON, self._bounces)
        submission.write(mail.text)
        # To stop waiting must not undo what is being written.
        stored: Deferred[Any] = Deferred()
        submission.finish(Envelope("", (Recipient(to),))).addCallbacks(stored.callback, stored.errback)
        message = await stored
        self._counts.returned("sent-on")
        self._log.write("sent-on", mail.id, client=mail.origin.address, to=f"<{to}>", queued=message.id)
