"""Signatures for what is about to go out, made beside the reactor's thread.

The body was hashed when it came; where it was not, it is read through once before it is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from relay.channel.frames import BadKey, Offer
from relay.config.schema import Dkim
from relay.delivery.gathered import Gathered
from relay.delivery.sealing import Sealing
from relay.dkim.canon import BodyHash
from relay.dkim.names import KeyName
from relay.dkim.signer import Plan, Signed, Signer
from relay.message.headers import HeaderBlock

_log = Logger()

#: The same is said again of a key after so long (seconds).
_AGAIN = 60.0
#: Keys of which something was said; beyond that all is said anew.
_MOST_TOLD = 10_000


class Sealed(NamedTuple):
    """What goes on top of a header. `unsigned` tells why a signature that should be there is not; `held`: for
    that reason the message may not go."""

    fields: bytes
    unsigned: str = ""
    held: bool = False


class Signing:
    """Signs offers. What it finds wrong with keys it tells at once, and again each minute."""

    def __init__(
        self,
        signer: Signer,
        options: Dkim,
        in_thread: Callable[..., Deferred[Any]],
        soon: Callable[[Callable[[], None]], object],
        tell: Callable[[BadKey], None],
        seconds: Callable[[], float],
        sealing: Sealing | None = None,
    ) -> None:
        """`in_thread` and `soon` are those of Gathered; `seconds` is a clock that goes on."""
        self._sealing = sealing
        self._signer = signer
        self._defers = options.on_bad_key == "defer"
        self._in_thread = Gathered(in_thread, soon)
        self._tell = tell
        self._seconds = seconds
        self._told: dict[str, tuple[str, float]] = {}

    def __call__(self, offer: Offer, host: str, chunk: Callable[[int], Deferred[bytes]]) -> Deferred[Sealed] | None:
        """What goes on top of an offer's header; None when that is nothing. It doesn't fail, but can be cancelled. What
        strangers have brought isn't signed: they could have anybody's From signed.

        Args:
            host: the name by which this host goes out.
            chunk: fetches a piece of the body that didn't come with the offer.
        """
        if offer.origin.returned:
            return None
        block = HeaderBlock(offer.headers)
        if self._sealing is not None and self._sealing.concerns(block):
            return Deferred.fromCoroutine(self._seal_chain(self._sealing, offer, block, host, chunk))
        if not self._signer.concerns(block):
            return None
        return self._seal(offer, block, host, chunk)

    async def _seal_chain(
        self,
        sealing: Sealing,
        offer: Offer,
        block: HeaderBlock,
        host: str,
        chunk: Callable[[int], Deferred[bytes]],
    ) -> Sealed:
        """As `_seal`, with a set of ARC above: what is done last covers all."""
        sealed = await self._seal(offer, block, host, chunk) if self._signer.concerns(block) else Sealed(b"")
        try:
            chain = None if sealed.held else sealing.chain(block)
            records = None if chain is None else await sealing.records(chain)
            if chain is None or records is None:
                return sealed
            hashes = sealing.hashes(chain)
            await self._hash(offer, chunk, hashes)
            digests, keys = tuple(one.digest() for one in hashes), sealing.keys()
            made = await self._in_thread(lambda: sealing.seal(keys, chain, block, sealed.fields, digests, records))
        except CancelledError:
            raise
        except Exception:
            _log.failure("the chain of {id} can't be sealed", id=offer.id)
            return sealed
        self._note(made.key, made.reason)
        return sealed._replace(fields=made.fields + sealed.fields)

    def _seal(
        self, offer: Offer, block: HeaderBlock, host: str, chunk: Callable[[int], Deferred[bytes]]
    ) -> Deferred[Sealed]:
        signer, keys, known = self._signer, self._signer.keys(), offer.body_hash
        if not signer.knows_hash(known):
            sealed = Deferred.fromCoroutine(self._seal_body(offer, block, host, chunk))
        else:
            # What nearly all mail goes through has no coroutine: that would cost as much as signing's other half.
            def work() -> Signed:
                return signer.sign(signer.plan(keys, block, offer.sender, host, True), block, known)

            sealed = self._in_thread(work).addCallback(self._signed)
        return sealed.addErrback(self._failed, offer.id)

    async def _seal_body(
        self, offer: Offer, block: HeaderBlock, host: str, chunk: Callable[[int], Deferred[bytes]]
    ) -> Sealed:
        """As `_seal`, with a hash made of the body first."""
        signer, keys, hashed = self._signer, self._signer.keys(), bool(offer.body_hash)
        plan: Plan = await self._in_thread(lambda: signer.plan(keys, block, offer.sender, host, hashed))
        body_hash = signer.body_hash()
        try:
            if plan.domains:
                await self._hash(offer, chunk, (body_hash,))
        except CancelledError:
            raise
        except Exception as error:
            return Sealed(b"", f"The body can't be read: {error}", True)
        return self._signed(await self._in_thread(lambda: signer.sign(plan, block, body_hash.digest())))

    def _signed(self, signed: Signed) -> Sealed:
        for name, reason in signed.tried:
            self._note(name, reason)
        return Sealed(signed.fields, signed.unsigned, bool(signed.unsigned) and self._defers)

    def _failed(self, failure: Failure, queue_id: str) -> Sealed:
        if failure.check(CancelledError):
            failure.raiseException()
        _log.failure("{id} can't be signed", failure, id=queue_id)
        return Sealed(b"", "Signing has failed here", self._defers)

    async def _hash(
        self, offer: Offer, chunk: Callable[[int], Deferred[bytes]], hashes: tuple[BodyHash, ...]
    ) -> None:
        """Give them the whole body, piece by piece. Raises what `chunk` fails with."""

        def update(piece: bytes) -> None:
            for made in hashes:
                made.update(piece)

        if offer.body is not None or not offer.chunks:
            await self._in_thread(partial(update, offer.body or b""))
            return
        for number in range(offer.chunks):
            await self._in_thread(partial(update, await chunk(number)))

    def _note(self, name: KeyName, reason: str) -> None:
        """Say what is wrong with a key."""
        what = name.file or name.domain
        if not reason:
            self._told.pop(what, None)
            return
        now = self._seconds()
        before = self._told.get(what)
        if before is None or before[0] != reason or now - before[1] >= _AGAIN:
            if len(self._told) >= _MOST_TOLD:
                self._told.clear()
            self._told[what] = reason, now
            self._tell(BadKey(name.domain, name.file, reason))
