"""What a child is given of a delivery: the offer, and its body with it or chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.logger import Logger

from relay.channel import frames
from relay.dispatch.connection import Connection, State
from relay.dispatch.lives import Child, Lives
from relay.dispatch.results import Results
from relay.message.values import Outcome, Result
from relay.queue.leases import Lease, Leases
from relay.queue.store import Store, StoreError, Unreadable

_log = Logger()

#: A longer body goes to a target that has yet to answer only when its host asks for it (bytes).
_SMALL = 16 * 1024


class Offers:
    """Makes them."""

    def __init__(self, store: Store, leases: Leases, results: Results, lives: Lives) -> None:
        self._store = store
        self._leases = leases
        self._results = results
        self._lives = lives

    def offer(self, child: Child, connection: Connection, leases: Sequence[Lease]) -> None:
        """Hand out what was leased, which is of one message, with its body where that is worth it. An error of ours
        doesn't leave it in between: its attempt has failed, and that is recorded."""
        try:
            self._offer(child, connection, leases)
        except Exception:
            _log.failure("{name} can't be offered", name=leases[0].work.delivery.name)
            self._failed(child, connection, leases, "it can't be handed to a sender process")

    def _offer(self, child: Child, connection: Connection, leases: Sequence[Lease]) -> None:
        lease, *others = leases
        work, local = lease.work, connection.local
        message, delivery, body = work.held.message, work.delivery, work.held.body
        try:
            if connection.state is State.TRYING and message.body_size > _SMALL:
                body = None  # Most of those who hang never come to ask for it.
            elif body is None and message.chunks <= 1:
                body = self._store.chunk(message.id, 0) if message.chunks else b""
        except Unreadable as error:
            _log.error("body of {name} can't be read: {why}", name=delivery.name, why=str(error))
            self._failed(child, connection, leases, "the stored body can't be read")
            return
        except StoreError:
            body = None  # The child asks for it when the store can be read again.
        child.send(
            frames.Offer(
                connection.number,
                lease.number,
                delivery.id,
                delivery.seq,
                message.sender,
                delivery.recipient,
                delivery.domain,
                local.address,
                local.name,
                local.address6,
                local.name6,
                message.origin,
                message.created,
                message.headers,
                message.body_size,
                message.chunks,
                message.eight_bit,
                body,
                message.smtputf8,
                message.require_tls,
                message.ret,
                message.envid,
                delivery.notify,
                delivery.orcpt,
                message.body_hash,
                tuple(_fellow(one, delivery.domain) for one in others),
                message.tls,
            )
        )

    def _failed(self, child: Child, connection: Connection, leases: Sequence[Lease], why: str) -> None:
        """Deferred and reported; neither bounced nor sent empty."""
        for lease in leases:
            self._leases.end(lease.number, child.id)
        self._lives.drop(connection, child)
        for lease in leases:
            self._results.record(lease.work, Outcome(Result.DEFERRED, why, category="ours"))

    def more(self, child: Child, more: frames.More) -> None:
        """A child asks for a chunk of a body."""
        lease = self._leases.get(more.lease)
        if lease is None or lease.child != child.id:
            return
        data = lease.work.held.body
        try:
            if data is None:
                data = self._store.chunk(lease.work.delivery.id, more.chunk)
        except StoreError as error:
            _log.warn("chunk {n} of {id}: {why}", n=more.chunk, id=lease.work.delivery.id, why=str(error))
        child.send(frames.Chunk(more.lease, more.chunk, data))


def _fellow(lease: Lease, domain: str) -> frames.Fellow:
    delivery = lease.work.delivery
    other = "" if delivery.domain == domain else delivery.domain
    return frames.Fellow(lease.number, delivery.seq, delivery.recipient, delivery.notify, delivery.orcpt, other)
