"""What TLS came to today, what of it was reported, and a way to report it now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta, field

from relay.access.caller import Scope
from relay.http.answer import Moment, iso, refusal
from relay.http.frame import Call
from relay.http.operation import operation
from relay.message.tls import LONGEST_NAME
from relay.tlsrpt.report import Report, Span
from relay.tlsrpt.reporter import Sent
from relay.tlsrpt.tally import Counts, failures, totals

_OFF = "TLS reports are off: tls_reports.organization and tls_reports.sender are to be set"


class TlsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which domains."""

    after: Annotated[str, Meta(description="Those behind that one")] = ""
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class PolicyShown(msgspec.Struct, frozen=True):
    """What came of one policy of a domain: sessions that agreed with it, and that failed, and of what."""

    kind: str = field(name="type")
    agreed: int
    failed: int
    failures: dict[str, int]


class TlsDomain(msgspec.Struct, frozen=True):
    """A domain."""

    domain: str
    policies: list[PolicyShown]


class WaitingDay(msgspec.Struct, frozen=True):
    """A day that is over, of which so many domains have to be told yet."""

    begin: Moment
    end: Moment
    domains: int


class SentReport(msgspec.Struct, frozen=True):
    """What became of a report; `error` null: it was taken."""

    time: Moment
    domain: str
    begin: Moment
    end: Moment
    uri: str
    error: str | None


class TlsCounts(msgspec.Struct, frozen=True):
    """What is counted `since` the day began, of domains in the order of the alphabet. `passed_over` sessions were to
    domains too many. `next` is to be given as `after` for those that follow, null: there are none."""

    since: Moment
    passed_over: int
    domains: list[TlsDomain]
    next: str | None
    waiting: list[WaitingDay]
    sent: list[SentReport]


class ReportsAsked(msgspec.Struct, frozen=True):
    """How many domains are told."""

    domains: int


class Reports(Protocol):
    """What is counted and sent."""

    @property
    def since(self) -> int: ...
    @property
    def passed_over(self) -> int: ...
    def listed(self, after: str, most: int) -> Sequence[str]: ...
    def report(self, domain: str) -> Report | None: ...
    def waiting(self) -> Sequence[tuple[Span, int]]: ...
    def sent(self) -> Sequence[Sent]: ...
    def send(self) -> int: ...


class TlsReportsApi:
    """The resources of TLS reports."""

    def __init__(self, reports: Reports | None) -> None:
        """None: they are off, and so the resources say."""
        self._reports = reports

    @operation("GET", "/v1/tls-reports", scope=Scope.READ, tag="tls", query=TlsQuery, answer=TlsCounts, errors=(404,))
    def listed(self, call: Call) -> TlsCounts:
        """Shows what TLS came to today with each domain, and what of it was reported.

        404: reports are off.
        """
        reports = self._on()
        query: TlsQuery = call.query
        names = reports.listed(query.after[:LONGEST_NAME].lower(), query.limit + 1)
        shown = [report for name in names[: query.limit] if (report := reports.report(name)) is not None]
        return TlsCounts(
            since=iso(reports.since),
            passed_over=reports.passed_over,
            domains=[TlsDomain(one.domain, list(_policies(one.counts))) for one in shown],
            next=names[query.limit - 1] if len(names) > query.limit else None,
            waiting=[WaitingDay(iso(span.begin), iso(span.end), domains) for span, domains in reports.waiting()],
            sent=[_sent(one) for one in reports.sent()[-query.limit :]],
        )

    @operation(
        "GET",
        "/v1/tls-reports/{domain}",
        scope=Scope.READ,
        tag="tls",
        gives="application/tlsrpt+json",
        answer=dict[str, Any],
    )
    def report(self, call: Call, domain: str) -> bytes:
        """Shows the report that a domain would get now (RFC 8460 4.4)."""
        report = self._on().report(domain.lower()[:LONGEST_NAME])
        if report is None:
            raise refusal(404, "ResourceNotFound", "There is nothing to tell that domain today")
        body = report.json()
        call.request.setHeader(b"Content-Type", b"application/tlsrpt+json")
        call.request.setHeader(b"Content-Length", b"%d" % len(body))
        call.request.setHeader(b"X-Content-Type-Options", b"nosniff")
        call.request.setHeader(b"Cache-Control", b"no-store")
        return body

    @operation(
        "POST", "/v1/tls-reports/send", scope=Scope.OPERATE, tag="tls", answer=ReportsAsked, status=202, errors=(404,)
    )
    def send(self, call: Call) -> ReportsAsked:
        """Closes the day and sends its reports now, and all that wait.

        What comes today afterwards is told in another report.
        """
        return ReportsAsked(self._on().send())

    def _on(self) -> Reports:
        if self._reports is None:
            raise refusal(404, "ResourceNotFound", _OFF)
        return self._reports


def _policies(counts: Counts) -> Iterator[PolicyShown]:
    for policy, kinds in counts.items():
        agreed, failed = totals(kinds)
        by_failure: dict[str, int] = {}
        for kind, count in failures(kinds):
            by_failure[kind.failure] = by_failure.get(kind.failure, 0) + count
        yield PolicyShown(policy.type, agreed, failed, by_failure)


def _sent(one: Sent) -> SentReport:
    return SentReport(iso(one.when), one.domain, iso(one.begin), iso(one.end), one.uri, one.error or None)
