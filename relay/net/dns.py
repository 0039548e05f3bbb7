"""The resolver: mail exchangers and addresses of a domain, or exactly why there are none.

The only place that knows dnspython, which reads and writes the messages; sockets and time are
Twisted's. What matters most here is not to mix up "there is none" (the mail bounces) with
"nobody could tell" (it waits): each has its own error (RFC 2308, 5321 5.1, 7505).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from relay.config.schema import Dns
from relay.net.dns_cache import Cache
from relay.net.dns_exchange import Server, Unanswered, ask
from relay.net.nameservers import RESOLV_CONF, parse_server, system_servers

if TYPE_CHECKING:
    from dns.rdatatype import RdataType

    from relay.net.dns_exchange import Reactor

Family = Literal[4, 6]

#: Largest answer asked for over UDP (bytes): what passes everywhere in one piece.
PAYLOAD = 1232
#: Longest time "there is none" is believed (seconds).
MAX_NEGATIVE_TTL = 300
#: Answers kept at a time.
MAX_ENTRIES = 20_000
#: Questions asked to follow one chain of aliases, each of which may follow 16 itself.
MAX_CHAIN = 4
#: Records of one answer that are looked at.
MAX_RECORDS = 100

_NO_NAME = (
    dns.name.LabelTooLong,
    dns.name.NameTooLong,
    dns.name.EmptyLabel,
    dns.name.BadEscape,
    dns.name.IDNAException,
    UnicodeError,
)

_TYPES: dict[Family, RdataType] = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


class DnsError(Exception):
    """No answer that can be used; the text names the domain and can be logged as it is."""

    temporary = True


class NoSuchDomain(DnsError):
    """The name does not exist (NXDOMAIN), or can't exist."""

    temporary = False


class NoData(DnsError):
    """The name exists and has no record of this type."""

    temporary = False


class NullMX(DnsError):
    """The domain takes no mail, and says so (RFC 7505)."""

    temporary = False


class ServerFailure(DnsError):
    """The name servers could not tell: SERVFAIL, REFUSED, an endless chain, and the like."""


class TimedOut(DnsError):
    """No name server answered in time."""


#: The data of an answer as text, or why there is none.
_Answer = tuple[str, ...] | DnsError
_Key = tuple[str, int]


class Resolver:
    """Asks the configured name servers in turn, and remembers what they said.

    The name server that failed last is asked last.
    """

    def __init__(self, reactor: Reactor, config: Dns, resolv_conf: Path = RESOLV_CONF) -> None:
        """Raises ValueError when a configured name server is no address."""
        self._reactor = reactor
        self._timeout = config.timeout
        self._tries = config.tries
        self._max_ttl = config.max_ttl
        texts: Iterable[str] = config.nameservers or system_servers(resolv_conf) or ("127.0.0.1",)
        self._servers = [parse_server(text) for text in texts]
        self._cache: Cache[_Key, _Answer] = Cache(reactor.seconds, MAX_ENTRIES if config.caching else 0)
        self._caching = config.caching
        self._asking: dict[_Key, list[Deferred[_Answer]]] = {}

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        """(preference, host) of each exchanger of a domain, best first. Raises DnsError."""
        records = [record.split(" ", 1) for record in await self._find(domain, dns.rdatatype.MX)]
        found = sorted((int(preference), host) for preference, host in records if host != ".")
        if not found:
            raise NullMX(f"{printable(domain)} takes no mail (null MX)")
        return found

    async def addresses(self, host: str, families: Iterable[Family] = (4, 6)) -> list[str]:
        """The addresses of a host, families in the order given. Raises DnsError when there is
        none of any: a temporary error if that isn't certain."""
        # All are asked at once; each answer is awaited in turn.
        asked = [Deferred.fromCoroutine(self._answer(host, _TYPES[family])) for family in families]
        found: list[str] = []
        errors: list[DnsError] = []
        for deferred in asked:
            answer = await deferred
            if isinstance(answer, DnsError):
                errors.append(answer)
            else:
                found.extend(answer)
        if found:
            return found
        raise next((error for error in errors if error.temporary), None) or _most_certain(errors, host)

    async def txt(self, name: str) -> list[str]:
        """The texts at a name, each in one piece; what isn't ASCII in them is replaced. Raises DnsError."""
        return list(await self._find(name, dns.rdatatype.TXT))

    # -- inside

    async def _find(self, name: str, kind: RdataType) -> tuple[str, ...]:
        answer = await self._answer(name, kind)
        if isinstance(answer, DnsError):
            # A fresh one each time: a raised error carries its traceback along.
            raise type(answer)(*answer.args)
        return answer

    async def _answer(self, name: str, kind: RdataType) -> _Answer:
        """From memory, from the same question under way, or from the name servers."""
        key = (name.rstrip(".").lower(), int(kind))
        kept = self._cache.get(key)
        if kept is not None:
            return kept
        waiting: Deferred[_Answer] = Deferred()
        others = self._asking.get(key)
        if others is not None:
            others.append(waiting)
            return await waiting
        self._asking[key] = [waiting]
        # On its own, so that giving up on it ends the wait of one and not of all.
        Deferred.fromCoroutine(self._resolve(key[0], kind)).addBoth(self._settle, key)
        return await waiting

    def _settle(self, result: tuple[_Answer, float] | Failure, key: _Key) -> None:
        if isinstance(result, Failure):
            answer: _Answer = ServerFailure(f"{printable(key[0])}: {printable(result.getErrorMessage())}")
        else:
            answer, seconds = result
            if self._caching:
                self._cache.put(key, answer, seconds)
        for waiting in self._asking.pop(key):
            if not waiting.called:
                waiting.callback(answer)

    async def _resolve(self, name: str, kind: RdataType) -> tuple[_Answer, float]:
        """An answer and how long it holds (seconds)."""
        shown = printable(name)
        seconds = self._max_ttl
        try:
            wanted = dns.name.from_text(name)
            for _ in range(MAX_CHAIN):
                response = await self._ask(wanted, kind)
                chain = response.resolve_chaining()
                seconds = min(seconds, chain.minimum_ttl)
                if chain.answer is not None:
                    texts = (_text(record) for record in chain.answer[:MAX_RECORDS])
                    return tuple(text for text in texts if text), seconds
                negative = min(seconds, MAX_NEGATIVE_TTL)
                if response.rcode() == dns.rcode.NXDOMAIN:
                    return NoSuchDomain(f"{shown} does not exist"), negative
                if chain.canonical_name == wanted:
                    return NoData(f"{shown} has no {kind.name} record"), negative
                wanted = chain.canonical_name
            return ServerFailure(f"{shown} is an alias of an alias, and so on"), 0
        except DnsError as error:
            return error, 0
        except dns.message.ChainTooLong:
            return ServerFailure(f"{shown} is an alias of an alias, and so on"), 0
        except _NO_NAME:
            return NoSuchDomain(f"{shown} is no domain name"), 0
        except dns.exception.DNSException as error:
            return ServerFailure(f"{shown}: {printable(str(error))}"), 0

    async def _ask(self, name: dns.name.Name, kind: RdataType) -> dns.message.QueryMessage:
        """The answer of the first name server that has one. Raises DnsError, a temporary one."""
        shown = name.to_text(omit_final_dot=True)
        problem: DnsError = TimedOut(f"{shown}: no name server answered")
        failed = 0
        for _ in range(self._tries):
            server = self._servers[0]
            try:
                response = await self._exchange(server, name, kind)
            except CancelledError:
                raise
            except Unanswered as error:
                problem = TimedOut(f"{shown}: {printable(str(error))}")
            else:
                code = response.rcode()
                if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
                    return response
                problem = ServerFailure(f"{shown}: name server says {dns.rcode.to_text(code)}")
                failed += 1
            if server == self._servers[0]:
                self._servers.append(self._servers.pop(0))
            # It isn't for lack of patience that this one could not tell: try the others only.
            if failed >= len(self._servers):
                break
        raise problem

    async def _exchange(
        self, server: Server, name: dns.name.Name, kind: RdataType
    ) -> dns.message.QueryMessage:
        """Ask over UDP, and over TCP when the answer didn't fit."""
        query = dns.message.make_query(name, kind, use_edns=0, payload=PAYLOAD, id=secrets.randbits(16))
        wire = query.to_wire()
        received: list[dns.message.Message] = []

        def fits(data: bytes) -> bool:
            response = _response_to(query, data)
            if response is not None:
                received.append(response)
            return response is not None

        await ask(self._reactor, server, wire, fits, self._timeout, tcp=False)
        if received[-1].flags & dns.flags.TC:
            await ask(self._reactor, server, wire, fits, self._timeout, tcp=True)
        response = received[-1]
        assert isinstance(response, dns.message.QueryMessage)
        return response


def _response_to(query: dns.message.Message, data: bytes) -> dns.message.Message | None:
    """The message in `data` when it answers `query`: its id, its question, well-formed."""
    if data[:2] != query.id.to_bytes(2, "big"):
        return None
    try:
        # A truncated answer may end anywhere; it is asked for again.
        response = dns.message.from_wire(data, ignore_trailing=True, raise_on_truncation=False)
    except Exception:
        # Whatever the parser makes of hostile bytes, they are no answer.
        return None
    return response if query.is_response(response) else None


def _text(record: dns.rdata.Rdata) -> str:
    """`preference host` of an MX, the address of an A or AAAA, the text of a TXT. Names in lower case; whatever in
    them isn't plain is escaped, so that none can break a line or a log."""
    if record.rdtype == dns.rdatatype.MX:
        host = record.exchange.to_text(omit_final_dot=True).lower()  # type: ignore[attr-defined]
        return f"{record.preference} {host or '.'}"  # type: ignore[attr-defined]
    if record.rdtype == dns.rdatatype.TXT:
        return b"".join(record.strings).decode("ascii", "replace")  # type: ignore[attr-defined]
    return str(record.address)  # type: ignore[attr-defined]


def _most_certain(errors: list[DnsError], host: str) -> DnsError:
    """Of lasting errors the one that says the most."""
    for error in errors:
        if isinstance(error, NoSuchDomain):
            return NoSuchDomain(*error.args)
    return NoData(f"{printable(host)} has no address")


def printable(text: str) -> str:
    """`text` bounded, and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:300])
