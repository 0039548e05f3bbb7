"""Signs messages: says by which keys, and makes their fields.

Whoever signs has no more at hand than the header and the hash of the body; it can be done in any thread.
A key that can't be used never stops mail and is never passed over in silence: what became of each is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from relay.config.schema import Dkim
from relay.dkim.author import author_domain
from relay.dkim.canon import BodyHash, RelaxedBody, SimpleBody
from relay.dkim.fields import Choice
from relay.dkim.keyfile import KeyUnusable
from relay.dkim.keyring import KeyRing
from relay.dkim.keys import KeyIndex
from relay.dkim.names import KeyName
from relay.dkim.need import domain_at_a_glance, is_plain
from relay.dkim.signature import signature
from relay.message.headers import HeaderBlock

_Keys = Mapping[str, tuple[KeyName, ...]]


class Plan(NamedTuple):
    """The keys that are to sign, those of each domain together; and why the author, who should have one, has
    none, "" when that isn't so."""

    domains: tuple[tuple[KeyName, ...], ...]
    author: str = ""
    missing: str = ""


class Signed(NamedTuple):
    """What came of it.

    Attributes:
        fields: to be put on top of the header, each with its CRLF.
        tried: each key that was to sign, and why it didn't, "" where it did; a key that is missing has
            no selector and no file.
        unsigned: why a domain whose key was to sign has not signed; "": all have.
    """

    fields: bytes
    tried: tuple[tuple[KeyName, str], ...] = ()
    unsigned: str = ""


class Signer:
    """One for a process. What asks for keys (`concerns`, `keys`) belongs to one thread; the rest to any."""

    def __init__(self, options: Dkim, index: KeyIndex, ring: KeyRing, now: Callable[[], int]) -> None:
        """`now` gives milliseconds since the epoch."""
        header, _, body = options.canonicalization.partition("/")
        self._options = options
        self._index = index
        self._ring = ring
        self._now = now
        names = (*options.header_fields, *options.additional_header_fields)
        self._choice = Choice(names, options.oversign, simple=header == "simple")
        self._relaxed_body = body == "relaxed"
        self._required = frozenset(domain.lower() for domain in options.required_domains)

    def concerns(self, block: HeaderBlock) -> bool:
        """Whether there may be something to sign, as a glance tells."""
        keys = self._index.keys()
        if not keys and not self._required:
            return False
        domain = domain_at_a_glance(block.get("From") or "")
        return (
            self._options.sign_transport_domain
            or not is_plain(domain)
            or domain in keys
            or domain in self._required
        )

    def keys(self) -> _Keys:
        """The keys there are."""
        return self._index.keys()

    def plan(self, keys: _Keys, block: HeaderBlock, sender: str, host: str, hashed: bool) -> Plan:
        """By which of `keys` a message is signed, the author's first.

        Args:
            sender: the envelope's.
            host: the name by which this host goes out.
            hashed: its body was hashed when it came, since there was a key.
        """
        author = author_domain(block, sender)
        domains = [author] if author in keys else []
        missing = ""
        if author and not domains:
            if author in self._required:
                missing = f"{author} has no key, and is in required_domains"
            elif hashed and author == domain_at_a_glance(block.get("From") or "") and self._by_author:
                missing = f"{author} has no key any more"
        if self._options.sign_transport_domain:
            domains += [domain for domain in _nearest(host.lower(), keys) if domain != author]
        return Plan(tuple(keys[domain] for domain in domains), author, missing)

    @property
    def _by_author(self) -> bool:
        """Whether a body is hashed for nobody but its author."""
        return not self._options.sign_transport_domain

    def knows_hash(self, body_hash: bytes) -> bool:
        """Whether what was made of the body when it came is what is signed."""
        return bool(body_hash) and self._relaxed_body

    def body_hash(self) -> BodyHash:
        """What makes the hash that is signed."""
        return RelaxedBody() if self._relaxed_body else SimpleBody()

    def sign(self, plan: Plan, block: HeaderBlock, body_hash: bytes) -> Signed:
        """All fields of a plan."""
        options = self._options
        names, text = self._choice.of(block) if plan.domains else ((), b"")
        made = self._now() // 1000 if options.timestamp else 0
        expires = made + round(options.expire) if options.expire else 0
        fields: list[bytes] = []
        tried: list[tuple[KeyName, str]] = []
        unsigned: list[str] = []
        if plan.missing:
            tried.append((KeyName(plan.author, "", ""), plan.missing))
            unsigned.append(plan.missing)
        for keys in plan.domains:
            reasons = []
            for name in keys:
                reason = ""
                try:
                    key = self._ring.get(name)
                    field = signature(
                        key,
                        name.domain,
                        name.selector,
                        names,
                        text,
                        body_hash,
                        canonicalization=options.canonicalization,
                        made=made,
                        expires=expires,
                    )
                    fields.append(field)
                except KeyUnusable as error:
                    reason = str(error)
                    reasons.append(f"{name.file}: {reason}")
                tried.append((name, reason))
            if len(reasons) == len(keys):
                unsigned += reasons
        return Signed(b"".join(fields), tuple(tried), "; ".join(unsigned))


def _nearest(host: str, keys: _Keys) -> tuple[str, ...]:
    """The host's name, or the closest domain above it, that has keys."""
    while host and host not in keys:
        host = host.partition(".")[2]
    return (host,) if host else ()
