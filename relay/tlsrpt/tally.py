"""What TLS came to in one span of time, counted for each domain. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from relay.config.names import is_host
from relay.message.tls import TlsPolicy, TlsResult


class Kind(NamedTuple):
    """One way in which connections went: the fields of `TlsResult` beside its policy."""

    failure: str = ""
    text: str = ""
    mx_host: str = ""
    sending: str = ""
    receiving: str = ""


#: How it should be.
AGREED = Kind()

#: The counts of one domain under each policy that it had.
Counts = dict[TlsPolicy, dict[Kind, int]]
#: What is kept over a restart: each policy, which names its domain, and its counts.
Row = tuple[TlsPolicy, list[tuple[Kind, int]]]


class Tally:
    """Grows to a bounded size. What there is no room for is counted in `passed_over`, or where its domain has room but
    there are too many kinds of failure, under its kind of failure alone; and under its type of policy alone where there
    are too many lines of policies.

    Attributes:
        passed_over: connections to domains that aren't here, or under policies that aren't.
    """

    #: Domains, policies of one, kinds of failure under one policy, and these over all domains; lines of all policies.
    most_domains = 50_000
    most_policies = 10
    most_kinds = 100
    most_in_all = 200_000
    most_lines = 200_000

    def __init__(self) -> None:
        self.domains: dict[str, Counts] = {}
        self.passed_over = 0
        self._kinds = 0
        self._lines = 0
        self._rows: dict[TlsPolicy, Row] = {}
        self._changed: set[TlsPolicy] = set()

    def __len__(self) -> int:
        """How many domains there are."""
        return len(self.domains)

    def add(self, result: TlsResult, count: int) -> None:
        """So many connections that went like that. A policy domain that isn't one is passed over: it is from far."""
        policy = self._place(result.policy)
        if policy is None:
            self.passed_over += count
            return
        kinds = self.domains[policy.domain][policy]
        kind = AGREED
        if result.failure:
            kind = Kind(result.failure, result.text, result.mx_host, result.sending, result.receiving)
        full = len(kinds) >= self.most_kinds or self._kinds >= self.most_in_all
        if kind not in kinds and full:
            kind = Kind(result.failure)
        if kind not in kinds:
            self._kinds += 1
        kinds[kind] = kinds.get(kind, 0) + count
        self._changed.add(policy)

    def _place(self, policy: TlsPolicy) -> TlsPolicy | None:
        """Under which policy it is counted; None: there is no room."""
        counts = self.domains.get(policy.domain)
        if counts is None:
            if len(self.domains) >= self.most_domains or not is_host(policy.domain):
                return None
            counts = self.domains[policy.domain] = {}
        if policy not in counts and self._lines + _lines(policy) > self.most_lines:
            policy = TlsPolicy(policy.domain, policy.type)
        if policy not in counts:
            if len(counts) >= self.most_policies:
                return None
            counts[policy] = {}
            self._lines += _lines(policy)
        return policy

    def forget(self, domain: str) -> None:
        """It was told, or nobody wants to know."""
        for policy, kinds in self.domains.pop(domain, {}).items():
            self._kinds -= len(kinds)
            self._lines -= _lines(policy)
            self._rows.pop(policy, None)
            self._changed.discard(policy)

    def rows(self) -> list[Row]:
        """All of it, to be kept; only what has changed since it was asked last is put together anew."""
        for policy in self._changed:
            self._rows[policy] = policy, list(self.domains[policy.domain][policy].items())
        self._changed.clear()
        return list(self._rows.values())

    def restore(self, rows: Iterable[Row], passed_over: int) -> None:
        """Go on from what was kept."""
        self.passed_over += passed_over
        for policy, kinds in rows:
            for kind, count in kinds:
                self.add(TlsResult(policy, *kind), count)  # type: ignore[arg-type]


def _lines(policy: TlsPolicy) -> int:
    return len(policy.strings) + len(policy.mx)


def totals(kinds: dict[Kind, int]) -> tuple[int, int]:
    """How many connections agreed on TLS as the policy asks, and how many didn't."""
    agreed = kinds.get(AGREED, 0)
    return agreed, sum(kinds.values()) - agreed


def failures(kinds: dict[Kind, int]) -> Iterator[tuple[Kind, int]]:
    """Those that didn't, by kind."""
    return ((kind, count) for kind, count in kinds.items() if kind.failure)
