"""What is counted in a day, the report that is made of it, and the mail that carries it (RFC 8460 4.4, 5)."""

from __future__ import annotations

import email
import email.policy
import gzip
import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.message.address import parse
from relay.message.tls import TlsPolicy, TlsResult
from relay.tlsrpt.mail import mail_of
from relay.tlsrpt.report import Author, Report, Span
from relay.tlsrpt.tally import AGREED, Kind, Tally

AUTHOR = Author("Sender \u00c4G", "postmaster@from.test", "tls-reports@from.test", "relay.from.test")
#: 2026-11-26, a whole day of UTC.
DAY = Span(1795651200_000, 1795737600_000)
NONE = TlsPolicy("to.test")
STS = TlsPolicy("to.test", "sts", ("version: STSv1", "mode: testing", "mx: *.to.test"), ("*.to.test",))
EXPIRED = TlsResult(STS, "certificate-expired", "it has expired", "mx.to.test", "192.0.2.9", "192.0.2.10")


def counted(*results: tuple[TlsResult, int]) -> Tally:
    tally = Tally()
    for result, count in results:
        tally.add(result, count)
    return tally


class Tallies(SynchronousTestCase):
    def test_by_domain_policy_and_kind(self) -> None:
        tally = counted((TlsResult(NONE), 3), (TlsResult(STS), 2), (EXPIRED, 1), (EXPIRED, 4))
        self.assertEqual(
            tally.domains,
            {"to.test": {NONE: {AGREED: 3}, STS: {AGREED: 2, Kind(*list(_fields(EXPIRED))[1:]): 5}}},
        )

    def test_no_more_domains_than_some(self) -> None:
        tally = Tally()
        tally.most_domains = 2
        for name in ("one.test", "two.test", "three.test", "one.test"):
            tally.add(TlsResult(TlsPolicy(name)), 5)
        self.assertEqual((sorted(tally.domains), tally.passed_over), (["one.test", "two.test"], 5))
        tally.forget("one.test")
        tally.add(TlsResult(TlsPolicy("three.test")), 1)
        self.assertEqual(len(tally), 2)

    def test_what_is_no_domain_is_none(self) -> None:
        tally = counted(*((TlsResult(TlsPolicy(name)), 1) for name in ("", "a b", "x\r\ny", "\u00e9.test", "[1]", "!")))
        self.assertEqual((tally.domains, tally.passed_over), ({}, 6))

    def test_no_more_policies_than_some(self) -> None:
        tally = Tally()
        for number in range(20):
            tally.add(TlsResult(TlsPolicy("to.test", "sts", (str(number),))), 1)
        self.assertEqual((len(tally.domains["to.test"]), tally.passed_over), (10, 10))

    def test_of_too_many_kinds_of_failure_only_the_kind_is_kept(self) -> None:
        """So that the sums are right whatever a host says."""
        tally = Tally()
        for number in range(1000):
            tally.add(TlsResult(NONE, "validation-failure", f"reason {number}"), 2)
            tally.add(TlsResult(NONE), 1)
        kinds = tally.domains["to.test"][NONE]
        self.assertLessEqual(len(kinds), tally.most_kinds + 11)
        self.assertEqual((sum(kinds.values()), kinds[AGREED]), (3000, 1000))
        self.assertGreater(kinds[Kind("validation-failure")], 1000)

    def test_nor_over_all_domains(self) -> None:
        tally = Tally()
        tally.most_in_all = 10
        for number in range(100):
            tally.add(TlsResult(TlsPolicy(f"{number % 4}.test"), "validation-failure", f"reason {number}"), 1)
        kinds = [kinds for counts in tally.domains.values() for kinds in counts.values()]
        self.assertLessEqual(sum(map(len, kinds)), 10 + 4)
        self.assertEqual(sum(sum(each.values()) for each in kinds), 100)

    def test_of_too_many_long_policies_only_the_type_is_kept(self) -> None:
        """A domain that is signed has as many names as it likes, each with records of its own."""
        tally = Tally()
        tally.most_lines = 10
        policies = [TlsPolicy(f"{number}.test", "tlsa", ("3 1 1 00",) * 3, ("mx.test",)) for number in range(5)]
        for policy in policies * 2:
            tally.add(TlsResult(policy), 1)
        short = TlsPolicy("4.test", "tlsa")
        self.assertEqual([*tally.domains["0.test"]], [policies[0]])
        self.assertEqual(tally.domains["4.test"], {short: {AGREED: 2}})
        other = Tally()
        other.most_lines = 10
        other.restore(tally.rows(), 0)
        self.assertEqual(other.domains, tally.domains)
        tally.forget("0.test")
        tally.forget("4.test")
        tally.add(TlsResult(policies[4]), 1)
        self.assertEqual([*tally.domains["4.test"]], [policies[4]])

    def test_kept(self) -> None:
        """As it stands whenever that is asked, and what was given once doesn't change any more."""
        tally = counted((TlsResult(NONE), 3), (EXPIRED, 1), (TlsResult(TlsPolicy("other.test")), 1))
        tally.passed_over = 7
        first = tally.rows()
        shown = repr(first)
        for change in (lambda: tally.add(EXPIRED, 4), lambda: tally.forget("other.test"), lambda: None):
            change()
            other = Tally()
            other.restore(tally.rows(), tally.passed_over)
            self.assertEqual((other.domains, other.passed_over), (tally.domains, 7))
        self.assertEqual(repr(first), shown)


class Reports(SynchronousTestCase):
    def report(self, *results: tuple[TlsResult, int], span: Span = DAY) -> Report:
        return Report(AUTHOR, "to.test", span, counted(*results).domains["to.test"])

    def test_all_of_it(self) -> None:
        report = self.report((TlsResult(STS), 2), (EXPIRED, 3), (TlsResult(NONE, "starttls-not-supported"), 1))
        self.assertEqual(
            json.loads(report.json()),
            {
                "organization-name": "Sender \u00c4G",
                "date-range": {"start-datetime": "2026-11-26T00:00:00Z", "end-datetime": "2026-11-26T23:59:59Z"},
                "contact-info": "postmaster@from.test",
                "report-id": report.id,
                "policies": [
                    {
                        "policy": {
                            "policy-type": "sts",
                            "policy-string": ["version: STSv1", "mode: testing", "mx: *.to.test"],
                            "policy-domain": "to.test",
                            "mx-host": ["*.to.test"],
                        },
                        "summary": {"total-successful-session-count": 2, "total-failure-session-count": 3},
                        "failure-details": [
                            {
                                "result-type": "certificate-expired",
                                "sending-mta-ip": "192.0.2.9",
                                "receiving-mx-hostname": "mx.to.test",
                                "receiving-ip": "192.0.2.10",
                                "failed-session-count": 3,
                                "failure-reason-code": "it has expired",
                            }
                        ],
                    },
                    {
                        "policy": {"policy-type": "no-policy-found", "policy-domain": "to.test"},
                        "summary": {"total-successful-session-count": 0, "total-failure-session-count": 1},
                        "failure-details": [{"result-type": "starttls-not-supported", "failed-session-count": 1}],
                    },
                ],
            },
        )

    def test_names_of_it(self) -> None:
        report = self.report((EXPIRED, 3))
        self.assertEqual(report.filename, "relay.from.test!to.test!1795651200!1795737599!1.json.gz")
        self.assertRegex(report.id, r"^2026-11-26T00:00:00Z\.[0-9a-f]{16}@relay\.from\.test$")
        self.assertEqual(report.packed(), self.report((EXPIRED, 3)).packed())
        later = self.report((EXPIRED, 3), span=Span(DAY.begin + 1, DAY.end))
        self.assertNotEqual(report.id, later.id, "a report about another span is another one")

    def test_a_span_of_less_than_a_second(self) -> None:
        report = self.report((EXPIRED, 3), span=Span(DAY.begin + 200, DAY.begin + 300))
        moments = json.loads(report.json())["date-range"]
        self.assertEqual(moments, {"start-datetime": "2026-11-26T00:00:00Z", "end-datetime": "2026-11-26T00:00:00Z"})

    def test_the_mail(self) -> None:
        report = self.report((EXPIRED, 3))
        text = mail_of(report, parse('"a b"@Reports.test'), report.packed())
        self.assertTrue(all(len(line) <= 400 for line in text.split(b"\r\n")))
        self.assertNotIn(b"\n", text.replace(b"\r\n", b""))
        mail: Any = email.message_from_bytes(text, policy=email.policy.SMTP)
        self.assertEqual(mail["To"], '"a b"@reports.test')
        self.assertEqual(mail["From"], "tls-reports@from.test")
        self.assertEqual(
            mail["Subject"], f"Report Domain: to.test Submitter: relay.from.test Report-ID: <{report.id}>"
        )
        self.assertEqual((mail["TLS-Report-Domain"], mail["TLS-Report-Submitter"]), ("to.test", "relay.from.test"))
        self.assertEqual(mail["TLS-Required"], "No")
        self.assertEqual(mail.get_content_type(), "multipart/report")
        self.assertEqual(mail.get_param("report-type"), "tlsrpt")
        words, attached = mail.iter_parts()
        self.assertIn("relay.from.test", words.get_content())
        self.assertEqual(attached.get_content_type(), "application/tlsrpt+gzip")
        self.assertEqual(attached.get_filename(), report.filename)
        self.assertEqual(gzip.decompress(attached.get_content()), report.json())

    def test_names_as_long_as_there_are(self) -> None:
        """The header can still be folded, and the key is still one."""
        label = "x" * 60
        domain = ".".join([label] * 4)
        report = Report(AUTHOR._replace(domain=domain, sender=f"a@{domain}"), domain, DAY, {})
        mail: Any = email.message_from_bytes(mail_of(report, parse(f"b@{domain}"), b""), policy=email.policy.SMTP)
        self.assertLessEqual(len(mail["X-Idempotency-Key"]), 256)
        self.assertIn(report.id, mail["Subject"])


def _fields(result: TlsResult) -> Any:
    return (getattr(result, name) for name in TlsResult.__struct_fields__)
