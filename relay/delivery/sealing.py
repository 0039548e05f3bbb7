"""The next set of an ARC chain for mail that has come with one: looked up, judged, made."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from twisted.internet.defer import CancelledError, Deferred

from relay.config.schema import Dkim
from relay.dkim.arc import seal
from relay.dkim.canon import BodyHash, RelaxedBody, SimpleBody
from relay.dkim.chain import Chain, chain_of, is_sealed, judged
from relay.dkim.fields import Choice
from relay.dkim.keyfile import Key, KeyUnusable
from relay.dkim.keyring import KeyRing
from relay.dkim.keys import KeyIndex
from relay.dkim.names import KeyName
from relay.message.headers import HeaderBlock
from relay.net.dns import DnsError


class Set(NamedTuple):
    """What has come of a chain: the fields, b"" when there are none to be made; the key that was to make them, and
    why it could not, "" where that isn't the reason."""

    fields: bytes
    key: KeyName
    reason: str = ""


class Sealing:
    """Seals by the RSA key of one domain."""

    def __init__(
        self,
        options: Dkim,
        index: KeyIndex,
        ring: KeyRing,
        host: str,
        txt: Callable[[str], Coroutine[Deferred[Any], Any, list[str]]],
        now: Callable[[], int],
    ) -> None:
        """`host` is what we call ourselves, `txt` looks up TXT records and raises DnsError; `now` gives milliseconds
        since the epoch."""
        self._domain = options.arc.lower()
        self._index = index
        self._ring = ring
        self._host = host
        self._txt = txt
        self._now = now
        names = (*options.header_fields, *options.additional_header_fields, "DKIM-Signature")
        self._choice = Choice(names, options.oversign, every=("DKIM-Signature",))

    def concerns(self, block: HeaderBlock) -> bool:
        """Whether mail has come with a chain."""
        return is_sealed(block)

    def chain(self, block: HeaderBlock) -> Chain | None:
        """The chain to go on with; None: there is none, or nothing is to be added to it."""
        chain = chain_of(block)
        return None if chain.ended else chain

    def hashes(self, chain: Chain) -> tuple[BodyHash, ...]:
        """What the body has to go through: the first is what we sign, the last what the chain has signed."""
        return (RelaxedBody(), SimpleBody()) if chain.simple_body else (RelaxedBody(),)

    async def records(self, chain: Chain) -> dict[str, str] | None:
        """The keys of a chain; None where the DNS can't tell now, so that it is to be left as it is."""
        # All are asked at once; each answer is awaited in turn.
        asked = {name: Deferred.fromCoroutine(self._record(name)) for name in sorted(chain.records())}
        found = {name: await answer for name, answer in asked.items()}
        if None in found.values():
            return None
        return {name: text for name, text in found.items() if text}

    def keys(self) -> tuple[KeyName, ...]:
        """The keys that may seal."""
        return self._index.keys().get(self._domain, ())

    def seal(
        self,
        keys: tuple[KeyName, ...],
        chain: Chain,
        block: HeaderBlock,
        signatures: bytes,
        hashes: tuple[bytes, ...],
        records: dict[str, str],
    ) -> Set:
        """The set, in any thread. `signatures` are fields of ours that go out above `block`."""
        name, key, reason = self._key(keys)
        if key is None:
            return Set(b"", name, reason)
        verdict = judged(chain, block, hashes[-1], records)
        whole = HeaderBlock(signatures + block.raw)
        made = self._now() // 1000
        return Set(seal(key, name, whole, chain, verdict, hashes[0], self._choice, self._host, made), name)

    async def _record(self, name: str) -> str | None:
        """The record of a key; "" when there is none, None when nobody can tell."""
        try:
            return next((text for text in await self._txt(name) if "p=" in text), "")
        except CancelledError:
            raise
        except DnsError as error:
            return None if error.temporary else ""

    def _key(self, names: tuple[KeyName, ...]) -> tuple[KeyName, Key | None, str]:
        """The first key of the domain that can seal: of RSA, for there is nothing else in ARC yet."""
        problem = KeyName(self._domain, "", ""), None, "it has no RSA key, which arc asks for"
        for name in names:
            try:
                key = self._ring.get(name)
            except KeyUnusable as error:
                problem = name, None, str(error)
                continue
            if key.algorithm == "rsa-sha256":
                return name, key, ""
        return problem
