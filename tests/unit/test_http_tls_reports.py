"""What the API shows of TLS reports, and sends."""

from __future__ import annotations

import json
from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from relay.http.tls_reports import TlsReportsApi
from relay.message.tls import TlsPolicy, TlsResult
from relay.tlsrpt.report import Report, Span
from relay.tlsrpt.reporter import Sent
from relay.tlsrpt.tally import Tally
from tests.unit.api_rig import NOW, Rig
from tests.unit.test_tlsrpt_report import AUTHOR, DAY


class FakeReports:
    def __init__(self) -> None:
        self.tally = Tally()
        self.since, self.passed_over = DAY.begin, 0
        self.closed = 0

    def listed(self, after: str, most: int) -> list[str]:
        return sorted(domain for domain in self.tally.domains if domain > after)[:most]

    def report(self, domain: str) -> Report | None:
        counts = self.tally.domains.get(domain)
        return None if counts is None else Report(AUTHOR, domain, DAY, counts)

    def waiting(self) -> Sequence[tuple[Span, int]]:
        return [(DAY, 3)]

    def sent(self) -> Sequence[Sent]:
        return [Sent(NOW, f"{number}.test", *DAY, "mailto:a@b.test", "450 no" * number) for number in range(2)]

    def send(self) -> int:
        self.closed += 1
        return len(self.tally)


class TlsReportsApiTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reports = FakeReports()
        for failure in ("", "validation-failure", "certificate-expired"):
            for text in ("one", "other"):
                self.reports.tally.add(TlsResult(TlsPolicy("to.test"), failure, text), 2)  # type: ignore[arg-type]
        self.rig = Rig(more=[TlsReportsApi(self.reports)])

    def test_all(self) -> None:
        sent = {
            "time": "2026-11-22T03:58:10.123Z", "begin": "2026-11-26T00:00:00.000Z", "end": "2026-11-27T00:00:00.000Z",
            "uri": "mailto:a@b.test",
        }  # fmt: skip
        self.assertEqual(
            self.rig.get("/v1/tls-reports").json,
            {
                "since": "2026-11-26T00:00:00.000Z",
                "passed_over": 0,
                "domains": [
                    {
                        "domain": "to.test",
                        "policies": [
                            {
                                "type": "no-policy-found",
                                "agreed": 4,
                                "failed": 8,
                                "failures": {"validation-failure": 4, "certificate-expired": 4},
                            }
                        ],
                    }
                ],
                "next": None,
                "waiting": [{"begin": sent["begin"], "end": sent["end"], "domains": 3}],
                "sent": [{**sent, "domain": "0.test", "error": None}, {**sent, "domain": "1.test", "error": "450 no"}],
            },
        )

    def test_in_pages(self) -> None:
        for number in range(5):
            self.reports.tally.add(TlsResult(TlsPolicy(f"{number}.test")), 1)
        found, after = [], ""
        while after is not None:
            page = self.rig.get(f"/v1/tls-reports?limit=2&after={after}").json
            found.append([one["domain"] for one in page["domains"]])
            after = page["next"]
        self.assertEqual(found, [["0.test", "1.test"], ["2.test", "3.test"], ["4.test", "to.test"]])

    def test_what_is_no_page(self) -> None:
        for asked in ("limit=0", "limit=1001", "limit=x", "limit=", "limit=-1", "limit=%C2%B2", "from=x"):
            self.assertEqual(self.rig.get(f"/v1/tls-reports?{asked}").status, 400, asked)

    def test_one_domain(self) -> None:
        answer = self.rig.get("/v1/tls-reports/To.test")
        self.assertEqual(answer.status, 200)
        report = self.reports.report("to.test")
        assert report is not None
        self.assertEqual(answer.json, json.loads(report.json()))
        self.assertEqual(self.rig.get("/v1/tls-reports/else.test").status, 404)

    def test_send(self) -> None:
        answer = self.rig.request("POST", "/v1/tls-reports/send")
        self.assertEqual((answer.status, answer.json, self.reports.closed), (202, {"domains": 1}, 1))
        self.assertEqual(self.rig.get("/v1/tls-reports/send").status, 404)
        self.assertEqual(self.reports.closed, 1)

    def test_off(self) -> None:
        self.rig = Rig(more=[TlsReportsApi(None)])
        for answer in (
            self.rig.get("/v1/tls-reports"), self.rig.get("/v1/tls-reports/to.test"),
            self.rig.request("POST", "/v1/tls-reports/send"),
        ):  # fmt: skip
            self.assertEqual(answer.status, 404)
            self.assertIn("tls_reports.organization", answer.json["detail"])
