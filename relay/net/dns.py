"""The resolver: mail exchangers and addresses of a domain, or exactly why there are none.

What matters most here is not to mix up "there is none" (the mail bounces) with "nobody could tell" (it waits):
each has its own error (RFC 2308, 5321 5.1, 7505). Whether an answer was validated is remembered with it, where the
name servers are believed about that (RFC 7672 2.1). Messages are made and read by `dns_message`, sockets and
time are Twisted's.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from relay.config.schema import Dns
from relay.net.dns_cache import Cache
from relay.net.dns_errors import DnsError, NoData, NoSuchDomain, NullMX, ServerFailure, TimedOut, printable
from relay.net.dns_exchange import Server, Unanswered, ask
from relay.net.dns_message import Kind, Question
from relay.net.nameservers import RESOLV_CONF, parse_server, system_servers

if TYPE_CHECKING:
    from relay.net.dns_exchange import Reactor

__all__ = [
    "DnsError", "Family", "Found", "NoData", "NoSuchDomain", "NullMX", "Resolver", "ServerFailure", "TimedOut",
    "printable",
]  # fmt: skip

Family = Literal[4, 6]
T = TypeVar("T")

#: Longest time "there is none" is believed (seconds).
MAX_NEGATIVE_TTL = 300
#: Answers kept at a time.
MAX_ENTRIES = 20_000
#: A longer answer isn't kept (characters): hosts may have names and keys enough to fill a process.
MAX_KEPT = 8_192
#: Questions asked to follow one chain of aliases, each of which may follow 16 itself.
MAX_CHAIN = 4

_KINDS: dict[Family, Kind] = {4: Kind.A, 6: Kind.AAAA}


class Found(NamedTuple, Generic[T]):
    """What was found, best first.

    Attributes:
        secure: all of it, every alias on the way included, was validated by a name server that is believed.
        alias: what the name that was asked for stands for; "" when it is no alias.
    """

    items: list[T]
    secure: bool = False
    alias: str = ""


class _Answer(NamedTuple):
    """Records as `dns_message` writes them."""

    records: tuple[str, ...]
    secure: bool
    alias: str


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
        self._dnssec = config.dnssec
        texts: Iterable[str] = config.nameservers or system_servers(resolv_conf) or ("127.0.0.1",)
        self._servers = [parse_server(text) for text in texts]
        self._cache: Cache[_Key, _Answer | DnsError] = Cache(reactor.seconds, MAX_ENTRIES if config.caching else 0)
        self._caching = config.caching
        self._asking: dict[_Key, list[Deferred[_Answer | DnsError]]] = {}

    async def exchangers(self, domain: str) -> Found[tuple[int, str]]:
        """(preference, host) of each exchanger of a domain. Raises DnsError."""
        answer = await self._find(domain, Kind.MX)
        records = [record.split(" ", 1) for record in answer.records]
        found = sorted((int(preference), host) for preference, host in records if host != ".")
        if not found:
            raise NullMX(f"{printable(domain)} takes no mail (null MX)")
        return Found(found, answer.secure, answer.alias)

    async def mx(self, domain: str) -> list[tuple[int, str]]:
        """The exchangers alone. Raises DnsError."""
        return (await self.exchangers(domain)).items

    async def locate(self, host: str, families: Iterable[Family] = (4, 6)) -> Found[str]:
        """The addresses of a host, families in the order given. Raises DnsError when there is
        none of any: a temporary error if that isn't certain."""
        # All are asked at once; each answer is awaited in turn.
        asked = [Deferred.fromCoroutine(self._answer(host, _KINDS[family])) for family in families]
        found: list[_Answer] = []
        errors: list[DnsError] = []
        for deferred in asked:
            answer = await deferred
            if isinstance(answer, DnsError):
                errors.append(answer)
            else:
                found.append(answer)
        if found:
            addresses = [address for answer in found for address in answer.records]
            return Found(addresses, all(answer.secure for answer in found), found[0].alias)
        raise next((error for error in errors if error.temporary), None) or _most_certain(errors, host)

    async def addresses(self, host: str, families: Iterable[Family] = (4, 6)) -> list[str]:
        """The addresses alone. Raises DnsError, as `locate` does."""
        return (await self.locate(host, families)).items

    async def txt(self, name: str) -> list[str]:
        """The texts at a name, each in one piece; what isn't ASCII in them is replaced. Raises DnsError."""
        return list((await self._find(name, Kind.TXT)).records)

    async def tlsa(self, name: str) -> list[str]:
        """The TLSA records at a name (`usage selector matching hex`), if they were validated: [] when there
        are none, or when these may be anybody's. Raises DnsError, a temporary one: nobody could tell."""
        return await self._validated(name, Kind.TLSA)

    async def alias(self, name: str) -> list[str]:
        """What a name stands for, in a list; [] when it is no alias, or when that wasn't validated. Raises
        DnsError, a temporary one."""
        return await self._validated(name, Kind.CNAME)

    # -- inside

    async def _validated(self, name: str, kind: Kind) -> list[str]:
        answer = await self._answer(name, kind)
        if not isinstance(answer, DnsError):
            return list(answer.records) if answer.secure else []
        if answer.temporary:
            raise answer.again()
        return []

    async def _find(self, name: str, kind: Kind) -> _Answer:
        answer = await self._answer(name, kind)
        if isinstance(answer, DnsError):
            raise answer.again()
        return answer

    async def _answer(self, name: str, kind: Kind) -> _Answer | DnsError:
        """From memory, from the same question under way, or from the name servers."""
        key = (name.rstrip(".").lower(), int(kind))
        kept = self._cache.get(key)
        if kept is not None:
            return kept
        waiting: Deferred[_Answer | DnsError] = Deferred()
        others = self._asking.get(key)
        if others is not None:
            others.append(waiting)
            return await waiting
        self._asking[key] = [waiting]
        # On its own, so that giving up on it ends the wait of one and not of all.
        Deferred.fromCoroutine(self._resolve(key[0], kind)).addBoth(self._settle, key)
        return await waiting

    def _settle(self, result: tuple[_Answer | DnsError, float] | Failure, key: _Key) -> None:
        if isinstance(result, Failure):
            answer: _Answer | DnsError = ServerFailure(f"{printable(key[0])}: {printable(result.getErrorMessage())}")
        else:
            answer, seconds = result
            if self._caching and (isinstance(answer, DnsError) or sum(map(len, answer.records)) <= MAX_KEPT):
                self._cache.put(key, answer, seconds)
        for waiting in self._asking.pop(key):
            if not waiting.called:
                waiting.callback(answer)

    async def _resolve(self, name: str, kind: Kind) -> tuple[_Answer | DnsError, float]:
        """An answer and how long it holds (seconds)."""
        shown = printable(name)
        seconds, secure, alias = self._max_ttl, self._dnssec, ""
        try:
            for _ in range(MAX_CHAIN):
                said = (await self._ask(alias or name, kind)).said()
                seconds = min(seconds, said.seconds)
                # A chain is as good as its weakest link.
                secure = secure and said.secure
                alias = said.alias or alias
                if said.records:
                    return _Answer(said.records, secure, alias), seconds
                if said.exists and said.alias:
                    continue
                text = f"{shown} has no {kind.name} record" if said.exists else f"{shown} does not exist"
                denial = NoData(text) if said.exists else NoSuchDomain(text)
                denial.secure = secure
                return denial, min(seconds, MAX_NEGATIVE_TTL)
            return ServerFailure(f"{shown} is an alias of an alias, and so on"), 0
        except DnsError as error:
            return error, 0

    async def _ask(self, name: str, kind: Kind) -> Question:
        """The question with the answer of the first name server that has one. Raises DnsError: a temporary one, or
        NoSuchDomain when this can't be a name."""
        shown = printable(name)
        problem: DnsError = TimedOut(f"{shown}: no name server answered")
        failed = 0
        for _ in range(self._tries):
            server = self._servers[0]
            question = Question(name, kind, self._dnssec)
            try:
                await self._exchange(server, question)
                if question.is_strange:
                    question = Question(name, kind, self._dnssec, edns=False)
                    await self._exchange(server, question)
            except CancelledError:
                raise
            except Unanswered as error:
                problem = TimedOut(f"{shown}: {printable(str(error))}")
            else:
                if not question.failure:
                    return question
                problem = ServerFailure(f"{shown}: name server says {question.failure}")
                failed += 1
            if server == self._servers[0]:
                self._servers.append(self._servers.pop(0))
            # It isn't for lack of patience that this one could not tell: try the others only.
            if failed >= len(self._servers):
                break
        raise problem

    async def _exchange(self, server: Server, question: Question) -> None:
        """Ask over UDP, and over TCP when the answer didn't fit. Raises Unanswered."""
        await ask(self._reactor, server, question.wire, question.fits, self._timeout, tcp=False)
        if question.truncated:
            await ask(self._reactor, server, question.wire, question.fits, self._timeout, tcp=True)
            if question.truncated:
                raise Unanswered(f"an answer from {server.address} that is cut, over TCP")


def _most_certain(errors: list[DnsError], host: str) -> DnsError:
    """Of lasting errors the one that says the most."""
    for error in errors:
        if isinstance(error, NoSuchDomain):
            return NoSuchDomain(*error.args)
    return NoData(f"{printable(host)} has no address")
