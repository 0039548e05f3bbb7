"""Brings a report where its domain wants it: asks the domain, hands mail to the queue, posts to web servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from relay.listener.door import Intake, Refused, Terms
from relay.message.envelope import Envelope, Recipient
from relay.message.tls import REPORTS
from relay.message.user import User
from relay.message.values import Message, Origin
from relay.net.dns import DnsError
from relay.tlsrpt.mail import mail_of
from relay.tlsrpt.post import NotTaken, Poster
from relay.tlsrpt.record import Mailbox, destination_of, record_of
from relay.tlsrpt.report import Report

__all__ = ["Courier", "NotTaken"]

#: Reports are mail of the relay's own, and go by this zone where there is one, else as mail of their sender does.
_OURS = User("", zone="bounces")
_ORIGIN = Origin(REPORTS, "127.0.0.1", "localhost", "LOCAL")
_TERMS = Terms(priority="low", x_originating_ip=False, heed=False)


class Resolver(Protocol):
    """What is needed of relay.net.dns."""

    async def txt(self, name: str) -> list[str]: ...


class Courier:
    """See the module."""

    def __init__(
        self, intake: Intake, resolver: Resolver, poster: Poster, in_thread: Callable[..., Deferred[Any]]
    ) -> None:
        """`in_thread` runs a function where it may take a while."""
        self._intake = intake
        self._resolver = resolver
        self._poster = poster
        self._in_thread = in_thread

    async def wanted(self, domain: str) -> list[str]:
        """The URIs by which a domain wants its reports; none: it doesn't. Raises NotTaken when nobody knows now."""
        try:
            texts = await self._resolver.txt(f"_smtp._tls.{domain}")
        except DnsError as error:
            if error.temporary:
                raise NotTaken(str(error)) from None
            return []
        return [destination.uri for destination in record_of(texts)]

    async def deliver(self, report: Report, uri: str) -> None:
        """To one destination that `wanted` gave. A mail is in the queue then, on disk. Raises NotTaken."""
        destination = destination_of(uri)
        if destination is None:
            raise NotTaken("it is no destination", final=True)
        packed = await self._in_thread(report.packed)
        if isinstance(destination, Mailbox):
            await self._mail(mail_of(report, destination.address, packed), destination.address.text)
        else:
            await self._poster.post(destination, packed)

    async def _mail(self, text: bytes, to: str) -> None:
        """The null sender: nobody waits for an answer, and what can't be delivered comes back to nobody."""
        try:
            submission = self._intake.open(_ORIGIN, _TERMS, _OURS)
            submission.write(text)
            # To stop waiting must not undo what is being written.
            stored: Deferred[Message] = Deferred()
            submission.finish(Envelope("", (Recipient(to),))).addCallbacks(stored.callback, stored.errback)
            await stored
        except Refused as refused:
            reply = refused.reply
            raise NotTaken(f"{reply.code} {reply.text}", final=reply.permanent) from None
