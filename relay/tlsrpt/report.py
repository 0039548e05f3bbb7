"""One report, as RFC 8460 4.4 and 5.1 want it. Pure."""

from __future__ import annotations

import gzip
import hashlib
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from relay.tlsrpt.tally import Counts, failures, totals


class Author(NamedTuple):
    """Who reports: the organisation, whom to ask, the address in From, and the domain that calls itself the sender."""

    organization: str
    contact: str
    sender: str
    domain: str


class Span(NamedTuple):
    """From when until when it was counted (ms since the epoch); `end` isn't in it."""

    begin: int
    end: int


class _Section(msgspec.Struct, frozen=True, rename="kebab", omit_defaults=True):
    """Base of the parts: names with dashes, and nothing that isn't known."""


class _Range(_Section, frozen=True, rename="kebab", omit_defaults=True):
    start_datetime: str
    end_datetime: str


class _Policy(_Section, frozen=True, rename="kebab", omit_defaults=True):
    policy_type: str
    policy_domain: str
    policy_string: tuple[str, ...] = ()
    mx_host: tuple[str, ...] = ()


class _Summary(_Section, frozen=True, rename="kebab", omit_defaults=True):
    total_successful_session_count: int
    total_failure_session_count: int


class _Failure(_Section, frozen=True, rename="kebab", omit_defaults=True):
    result_type: str
    failed_session_count: int
    sending_mta_ip: str = ""
    receiving_mx_hostname: str = ""
    receiving_ip: str = ""
    failure_reason_code: str = ""


class _Result(_Section, frozen=True, rename="kebab", omit_defaults=True):
    policy: _Policy
    summary: _Summary
    failure_details: list[_Failure] = []


class _Report(_Section, frozen=True, rename="kebab", omit_defaults=True):
    organization_name: str
    date_range: _Range
    contact_info: str
    report_id: str
    policies: list[_Result]


class Report(NamedTuple):
    """What goes to one domain about one span of time."""

    author: Author
    domain: str
    span: Span
    counts: Counts

    @property
    def id(self) -> str:
        """The same for the same report, however often it is made, and no other's."""
        seal = hashlib.sha256("\0".join((self.author.domain, self.domain, *map(str, self.span))).encode()).hexdigest()
        return f"{_moment(self.span.begin)}.{seal[:16]}@{self.author.domain}"

    @property
    def filename(self) -> str:
        """RFC 8460 5.1."""
        begin, end = self.span.begin // 1000, _last_second(self.span)
        return f"{self.author.domain}!{self.domain}!{begin}!{end}!1.json.gz"

    def json(self) -> bytes:
        """RFC 8460 4.4."""
        results = []
        for policy, kinds in self.counts.items():
            details = [
                _Failure(kind.failure, count, kind.sending, kind.mx_host, kind.receiving, kind.text)
                for kind, count in failures(kinds)
            ]
            described = _Policy(policy.type, policy.domain, policy.strings, policy.mx)
            results.append(_Result(described, _Summary(*totals(kinds)), details))
        span = _Range(_moment(self.span.begin), _moment(1000 * _last_second(self.span)))
        author = self.author
        return msgspec.json.encode(_Report(author.organization, span, author.contact, self.id, results))

    def packed(self) -> bytes:
        """The JSON, gzipped; the same bytes each time."""
        return gzip.compress(self.json(), mtime=0)


def _last_second(span: Span) -> int:
    return max(span.begin // 1000, -(-span.end // 1000) - 1)


def _moment(when: int) -> str:
    """`2026-11-26T00:00:00Z`."""
    return datetime.fromtimestamp(when // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
