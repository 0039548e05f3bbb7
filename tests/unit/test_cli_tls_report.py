"""`zonerelay tls-report`, against answers of the API."""

from __future__ import annotations

import http.client
import io
import json
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.cli.main import main
from tests.unit.test_cli_warmup import never

PAGE = {
    "since": "2026-11-26T00:00:00.000Z", "passed_over": 0, "next": None, "waiting": [], "sent": [],
    "domains": [
        {"domain": "a.test\x1b[2J", "policies": [
            {"type": "no-policy-found", "agreed": 4, "failed": 3, "failures": {"certificate-expired": 3}},
            {"type": "sts", "agreed": 1, "failed": 0, "failures": {}},
        ]},
    ],
}  # fmt: skip


class Told:
    """An API that says one thing after the other."""

    def __init__(self, *answers: Any, status: int = 200) -> None:
        self.answers = list(answers)
        self.status = status
        self.asked: list[tuple[str, str]] = []

    def __call__(self, host: str, port: int | None, timeout: float) -> Told:
        return self

    def request(self, method: str, path: str, body: object, headers: object) -> None:
        self.asked.append((method, path))

    def getresponse(self) -> Told:
        return self

    def read(self, most: int) -> bytes:
        return json.dumps(self.answers.pop(0)).encode()

    def close(self) -> None:
        pass


class TlsReport(SynchronousTestCase):
    def run_(self, told: Told, *words: str) -> tuple[int, str]:
        self.patch(http.client, "HTTPConnection", told)
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        code = main(["tls-report", "--api", "http://127.0.0.1:8080", *words], never)
        return code, out.getvalue() + err.getvalue()

    def test_today(self) -> None:
        """All pages; and names from elsewhere steer no terminal."""
        second = {
            **PAGE,
            "domains": [{"domain": "b.test", "policies": []}],
            "passed_over": 9,
            "waiting": [{"begin": "B", "end": "E", "domains": 3}],
            "sent": [
                {"time": "T", "domain": "to.test", "uri": "mailto:a@b.test", "error": None},
                {"time": "T", "domain": "to.test", "uri": "https://x.test/", "error": "x.test answers 503"},
            ],
        }
        told = Told({**PAGE, "next": "a.test"}, second)
        code, said = self.run_(told)
        self.assertEqual(code, 0)
        self.assertEqual(
            said.splitlines(),
            [
                "Since 2026-11-26T00:00:00.000Z:",
                "a.test\\u001b[2J  no-policy-found  4 with TLS; 3 certificate-expired",
                "a.test\\u001b[2J  sts  1 with TLS",
                "9 connections are in no count: there were too many domains or policies.",
                "Of B to E 3 domains wait for their report.",
                "T  to.test  mailto:a@b.test  sent",
                "T  to.test  https://x.test/  given up: x.test answers 503",
            ],
        )
        self.assertEqual(
            told.asked,
            [("GET", "/v1/tls-reports?after=&limit=1000"), ("GET", "/v1/tls-reports?after=a.test&limit=1000")],
        )

    def test_one_domain(self) -> None:
        told = Told({"report-id": "x"})
        self.assertEqual(self.run_(told, "to/../test"), (0, '{\n  "report-id": "x"\n}\n'))
        self.assertEqual(told.asked, [("GET", "/v1/tls-reports/to%2F..%2Ftest")])

    def test_send(self) -> None:
        told = Told({"domains": 3})
        self.assertEqual(
            self.run_(told, "--send"), (0, "Reports to 3 domains are on their way, as far as they are wanted.\n")
        )
        self.assertEqual(told.asked, [("POST", "/v1/tls-reports/send")])

    def test_what_goes_wrong(self) -> None:
        off = Told({"code": "ResourceNotFound", "message": "TLS reports are off"}, status=404)
        for told, words, reason in (
            (off, [], "TLS reports are off"),
            (Told([]), [], "no relay that knows TLS reports"),
            (Told({"x": 1}), ["--send"], "no relay that knows TLS reports"),
            (Told(), ["to.test", "--send"], "not both"),
        ):
            code, said = self.run_(told, *words)
            self.assertEqual(code, 1)
            self.assertIn(reason, said)
