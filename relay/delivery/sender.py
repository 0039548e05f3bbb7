"""The child itself: offers in, outcomes out, and no delivery without a live lease.

It decides nothing about what is sent when: the master numbers the connections and says what
goes on which. Its own duties are three. It writes an acceptance to its journal before it
reports it. It begins no final dot unless it has heard from the master lately and the
master can record results. And it never outlives the channel: when that is lost,
everything is dropped but final dots already sent, whose replies are waited for a moment, so
that they stand in the journal. Asked to leave it does the same, but reports what comes of
those dots and leaves it to the master how long they are waited for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from relay.access.proving import Credentials
from relay.channel import frames
from relay.channel.briefing import SenderBriefing
from relay.channel.journal import Acceptance, Journal
from relay.channel.link import Link
from relay.config import egress, urls
from relay.delivery.avoided import Avoided
from relay.delivery.call import Call
from relay.delivery.contact import MakeContact
from relay.delivery.manner import Manner
from relay.delivery.returning import returning
from relay.delivery.sealing import Sealing
from relay.delivery.session import Session
from relay.delivery.signing import Signing
from relay.delivery.sts.making import heeding
from relay.delivery.tls_counts import TlsCounts
from relay.delivery.tls_result import TlsResult
from relay.delivery.watcher import Outcomes
from relay.delivery.ways import Ways
from relay.dkim.keyring import KeyRing
from relay.dkim.keys import KeyIndex
from relay.dkim.signer import Signer
from relay.message.clock import WallClock
from relay.net.client_tls import ClientTls
from relay.net.dns import Resolver
from relay.net.proxied import Proxied

_log = Logger()

#: How often time-outs are looked at (seconds).
_SWEEP = 0.25
#: How long replies to final dots are waited for when the channel is lost (seconds).
_LAST_REPLIES = 4.0
#: How long the last frames get to leave (seconds).
_LAST_FRAMES = 1.0
#: A master that is silent for this long is gone, whatever TCP says (seconds).
_ABANDONED = 300.0


class Unavailable(Exception):
    """A body chunk the master can't read now."""


class Sender:
    """Owner of the link and watcher of the sessions."""

    def __init__(self, briefing: SenderBriefing, journal: Journal, reactor: Any) -> None:
        self._briefing = briefing
        self._journal = journal
        self._reactor = reactor
        self._link: Link | None = None
        self._sessions: dict[int, Session] = {}
        self._newest = 0
        self._chunks: dict[tuple[int, int], Deferred[bytes]] = {}
        self._refused_end = False
        self._lease = 0.0
        self._held = False
        self._leaving = False
        self._abandoned = False
        self._stopping = False
        self._ended = False
        self._last_word = reactor.seconds()
        self._resolver = Resolver(reactor, briefing.dns)
        self._avoided = Avoided(reactor.seconds, briefing.backoff.refusing_host, briefing.backoff.silent_host)
        self._port, self._contact = _contact(briefing)
        # What hosts are called by: the reactor itself, or that by way of a proxy.
        self._outward = reactor
        web = reactor
        if briefing.options.egress:
            self._outward = by_proxy = _by_proxy(briefing, reactor)
            # An address to connect from, which others have to be told, is chosen for mail alone.
            web = reactor if by_proxy.states_source else by_proxy
        self._client_tls = ClientTls(briefing.authorities)
        self._tls_counts = TlsCounts(self._say)
        tell = self._tls_counts.add
        sts = heeding(briefing, reactor, web, self._resolver, self._client_tls, tell, self._in_thread)
        self._ways = Ways(briefing, self._resolver, tell, sts)
        keys = briefing.dkim.keys
        index, ring, now = KeyIndex(keys, reactor), KeyRing(keys), WallClock()
        signer = Signer(briefing.dkim, index, ring, now)
        sealing = Sealing(briefing.dkim, index, ring, briefing.hostname, self._resolver.txt, now)
        self._sign = Signing(
            signer,
            briefing.dkim,
            self._in_thread,
            partial(reactor.callLater, 0),
            self._say,
            reactor.seconds,
            sealing if briefing.dkim.arc else None,
        )
        self._returning = returning(briefing, now)
        self.exit_code = 0

    def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work, *arguments)

    # -- the link

    def link_made(self, link: Link) -> None:
        self._link = link
        briefing = self._briefing
        link.send(frames.Hello(frames.VERSION, briefing.secret, briefing.child, briefing.place, os.getpid()))
        self._reactor.callLater(_SWEEP, self._sweep)

    def frame(self, link: Link, frame: Any) -> None:
        self._last_word = self._reactor.seconds()
        kind = type(frame)
        if kind is frames.Offer:
            self._offer(frame)
        elif kind is frames.Settled:
            self._settled(frame.count)
        elif kind is frames.Go:
            if session := self._sessions.get(frame.connection):
                session.go(frame.many)
        elif kind is frames.Dial:
            if session := self._sessions.get(frame.connection):
                session.dial()
        elif kind is frames.Close:
            if session := self._sessions.get(frame.connection):
                session.release()
            else:
                self._say(frames.Closed(frame.connection))
        elif kind is frames.Chunk:
            self._chunk_came(frame)
        elif kind is frames.Ping:
            link.send(frames.Pong(frame.number))
        elif kind is frames.Hold:
            self._held = frame.on
        elif kind is frames.Welcome:
            self._lease = frame.lease
        elif kind is frames.Quit:
            self._quit()
        if self._refused_end and self.may_end():
            self._refused_end = False
            for session in list(self._sessions.values()):
                session.resume()

    def link_lost(self, link: Link, reason: str) -> None:
        if self._link is None:
            self._end()  # It was we who closed it: all was said.
            return
        self._link = None
        self.leave(0, f"the channel is lost: {reason}")

    # -- offers

    def _offer(self, offer: frames.Offer) -> None:
        if self._leaving:
            return  # The lease is given to another once this process is gone.
        session = self._sessions.get(offer.connection)
        if session is None:
            session = self._sessions[offer.connection] = Session(
                offer.connection,
                reactor=self._outward,
                hosts=self._ways.find,
                timeouts=self._briefing.timeouts,
                port=self._port,
                watcher=self,
                avoided=self._avoided,
                reuse=self._briefing.options.reuse,
                idle=self._briefing.options.idle,
                product=self._briefing.product,
                serves=self._ways.serves,
                need=self._ways.need,
                also=self._ways.also,
                client_tls=self._client_tls,
                # An older number is that of a connection whose end has crossed the offer.
                fresh=offer.connection > self._newest,
                sign=self._sign,
                contact=self._contact,
            )
            self._newest = max(self._newest, offer.connection)
        session.deliver(offer if self._returning is None else self._returning.of(offer))

    # -- what sessions tell

    def answered(self, session: Session) -> None:
        self._say(frames.Answered(session.number, session.host.name, session.host.address))

    def redial(self, session: Session) -> None:
        self._say(frames.Redial(session.number, session.begun, session.called, session.next_host))

    def quiet(self, session: Session) -> None:
        self._say(frames.Quiet(session.number))

    def active(self, session: Session) -> None:
        self._say(frames.Active(session.number))

    def tls(self, result: TlsResult) -> None:
        self._tls_counts.add(result)

    def accepted(self, session: Session, offer: frames.Offer, outcomes: Outcomes) -> None:
        entries = [
            Acceptance(offer.id, one.seq, one.lease, outcome.host, outcome.response[:200], outcome.dsn)
            for one, outcome in outcomes
        ]
        try:
            self._journal.write(*entries)
        except OSError as error:
            _not_written(error)

    def _settled(self, count: int) -> None:
        try:
            self._journal.settled(count)
        except OSError as error:
            _not_written(error)

    def left(self, session: Session, behind: Sequence[frames.Addressee], apart: bool = False) -> None:
        # Each goes back to the head of its lane.
        for one in reversed(behind):
            self._say(frames.Fared(one.lease, None, apart))

    def done(self, session: Session, offer: frames.Offer, outcomes: Outcomes, kept: bool) -> None:
        (first, outcome), *others = outcomes
        for one, theirs in others:
            self._say(frames.Fared(one.lease, theirs))
            self._journal.told(one.lease)
        self._say(frames.Done(session.number, first.lease, outcome, kept))
        self._journal.told(first.lease)
        if self._leaving:
            self._check_left()

    def closed(self, session: Session) -> None:
        if self._sessions.get(session.number) is session:
            del self._sessions[session.number]
            self._say(frames.Closed(session.number))
        if self._leaving:
            self._check_left()

    def may_end(self) -> bool:
        """Whether a final dot may be begun now: the lease is live and results can be kept.
        Sessions that were told it may not are resumed when it may."""
        live = self._reactor.seconds() - self._last_word < self._lease
        may = self._link is not None and not self._held and live
        self._refused_end |= not may
        return may

    def chunk(self, offer: frames.Offer, number: int) -> Deferred[bytes]:
        """A body chunk from the master. Fails with Unavailable."""
        came: Deferred[bytes] = Deferred(lambda _: self._forget(offer.lease, number))
        self._chunks[offer.lease, number] = came
        self._say(frames.More(offer.lease, number))
        return came

    def _forget(self, lease: int, number: int) -> None:
        self._chunks.pop((lease, number), None)

    def _chunk_came(self, chunk: frames.Chunk) -> None:
        came = self._chunks.pop((chunk.lease, chunk.chunk), None)
        if came is None:
            return
        if chunk.data is None:
            came.errback(Unavailable("the stored body can't be read"))
        else:
            came.callback(chunk.data)

    def _say(self, frame: frames.Frame) -> None:
        if self._link is not None:
            self._link.send(frame)

    # -- time and the end

    def _sweep(self) -> None:
        self._reactor.callLater(_SWEEP, self._sweep)
        now = self._reactor.seconds()
        for session in list(self._sessions.values()):
            session.sweep(now)
        self._tls_counts.sweep(now)
        if now - self._last_word > _ABANDONED:
            self.leave(1, "the master is silent")
        if self._leaving:
            self._check_left()

    def _quit(self) -> None:
        """Drop everything but final dots already sent, and report those as ever."""
        if not self._leaving:
            self._leaving = True
            for session in list(self._sessions.values()):
                if not session.in_dot:
                    session.abort()
            self._check_left()

    def leave(self, code: int, why: str) -> None:
        """Drop everything but final dots already sent; stop when those are answered, or soon."""
        if self._abandoned:
            return
        self._leaving = self._abandoned = True
        self.exit_code = code
        _log.info("leaving: {why}", why=why)
        for session in list(self._sessions.values()):
            session.abort()
        self._reactor.callLater(_LAST_REPLIES, self._stop)
        self._check_left()

    def _check_left(self) -> None:
        if not any(session.in_dot for session in self._sessions.values()):
            self._stop()

    def _stop(self) -> None:
        """Outcomes already said still leave: the link is closed, not cut, and awaited."""
        if self._stopping:
            return
        self._stopping = True
        self._tls_counts.tell()
        link, self._link = self._link, None
        if link is None:
            self._reactor.callLater(0, self._end)
        else:
            link.finish()
            self._reactor.callLater(_LAST_FRAMES, self._end)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._reactor.stop()


def _not_written(error: OSError) -> None:
    _log.error("journal not written: {error}", error=str(error))


def _contact(briefing: SenderBriefing) -> tuple[int, MakeContact]:
    """The port where hosts are called, and what speaks with them."""
    options = briefing.options
    if not options.url:
        login = None
        if options.auth_user:
            login = Credentials(
                options.auth_user, briefing.password, options.auth_mechanisms, options.insecure_auth
            ).choose
        return options.port, partial(Call, manner=Manner(options.chunking, login, options.lmtp))
    from relay.delivery.post import Post  # Twisted's HTTP takes some megabytes, and few zones want it.

    url = urls.read(options.url)
    return url.port, partial(Post, url, briefing.product)


def _by_proxy(briefing: SenderBriefing, reactor: Any) -> Proxied:
    """The way out of a zone that has a proxy."""
    user = briefing.options.egress_user
    login = egress.Login(user.encode(), briefing.egress_password.encode()) if user else None
    return Proxied(reactor, egress.read(briefing.options.egress), login)
