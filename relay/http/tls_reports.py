"""What TLS came to today, what of it was reported, and a way to report it now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from klein import Klein
from twisted.web.iweb import IRequest

from relay.http.answer import answer, iso, refusal
from relay.message.tls import LONGEST_NAME
from relay.tlsrpt.report import Report, Span
from relay.tlsrpt.reporter import Sent
from relay.tlsrpt.tally import Counts, failures, totals

_KNOWN = ("after", "limit")
_MOST, _USUAL = 1000, 100
_OFF = "TLS reports are off: tls_reports.organization and tls_reports.sender are to be set"


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

    def add_routes(self, app: Klein) -> None:
        app.route("/v1/tls-reports", methods=["GET"], endpoint="tls_reports")(self.listed)
        app.route("/v1/tls-reports/send", methods=["POST"], endpoint="send_tls_reports")(self.send)
        app.route("/v1/tls-reports/<domain>", methods=["GET"], endpoint="tls_report")(self.report)

    def listed(self, request: IRequest) -> bytes:
        """Today's counts of `?limit=` domains (100, at most 1000) behind `?after=` in the order of the alphabet; `next`
        is to be given as `after` for those that follow, null: there are none. `waiting` are days that are over, `sent`
        the last reports."""
        reports = self._on()
        after, limit = self._arguments(request)
        names = reports.listed(after, limit + 1)
        shown = [report for name in names[:limit] if (report := reports.report(name)) is not None]
        return answer(
            request,
            {
                "since": iso(reports.since),
                "passed_over": reports.passed_over,
                "domains": [{"domain": one.domain, "policies": list(_policies(one.counts))} for one in shown],
                "next": names[limit - 1] if len(names) > limit else None,
                "waiting": [
                    {"begin": iso(span.begin), "end": iso(span.end), "domains": domains}
                    for span, domains in reports.waiting()
                ],
                "sent": [_sent(one) for one in reports.sent()[-limit:]],
            },
        )

    def report(self, request: IRequest, domain: str) -> bytes:
        """The report that the domain would get now (RFC 8460 4.4)."""
        report = self._on().report(domain.lower()[:LONGEST_NAME])
        if report is None:
            raise refusal(404, "ResourceNotFound", "There is nothing to tell that domain today")
        body = report.json()
        request.setHeader(b"Content-Type", b"application/tlsrpt+json")
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.setHeader(b"X-Content-Type-Options", b"nosniff")
        request.setHeader(b"Cache-Control", b"no-store")
        return body

    def send(self, request: IRequest) -> bytes:
        """Closes the day and sends its reports, and all that wait, now: 202, and how many domains there are. They get
        what comes today afterwards in another report."""
        return answer(request, {"domains": self._on().send()}, 202)

    def _on(self) -> Reports:
        if self._reports is None:
            raise refusal(404, "ResourceNotFound", _OFF)
        return self._reports

    def _arguments(self, request: IRequest) -> tuple[str, int]:
        for key in request.args:
            if key.decode("utf-8", "replace") not in _KNOWN:
                shown = ascii(key.decode("utf-8", "replace")[:40])
                raise refusal(400, "InvalidArgument", f"{shown} is no parameter here; known: {', '.join(_KNOWN)}")
        after: str = request.args.get(b"after", [b""])[-1].decode("utf-8", "replace")[:LONGEST_NAME]
        limit = request.args.get(b"limit", [b"%d" % _USUAL])[-1]
        if not limit.isdigit() or len(limit) > 4 or not 1 <= int(limit) <= _MOST:
            raise refusal(400, "InvalidArgument", f"limit: expected a number from 1 to {_MOST}")
        return after.lower(), int(limit)


def _policies(counts: Counts) -> Iterator[dict[str, object]]:
    for policy, kinds in counts.items():
        agreed, failed = totals(kinds)
        by_failure: dict[str, int] = {}
        for kind, count in failures(kinds):
            by_failure[kind.failure] = by_failure.get(kind.failure, 0) + count
        yield {"type": policy.type, "agreed": agreed, "failed": failed, "failures": by_failure}


def _sent(one: Sent) -> dict[str, object]:
    return {
        "time": iso(one.when),
        "domain": one.domain,
        "begin": iso(one.begin),
        "end": iso(one.end),
        "uri": one.uri,
        "error": one.error or None,
    }
