"""The demo login of the API: both pairs that ZoneMTA's papers name, and only when it is on."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.api_rig import Answer, Rig

ISO = "2026-11-22T03:58:10.123Z"


class TestAuthTests(SynchronousTestCase):
    def ask(self, given: str, scheme: str = "Basic") -> Answer:
        token = b64encode(given.encode()).decode()
        return Rig(demo_login=True).request("GET", "/test-auth?transport=SMTP", Authorization=f"{scheme} {token}")

    def test_both_pairs(self) -> None:
        for name, password in (("zone", "test"), ("test", "zone")):
            for scheme in ("Basic", "basic"):
                answer = self.ask(f"{name}:{password}", scheme)
                self.assertEqual((answer.status, answer.json), (200, {"user": name, "time": ISO}))

    def test_anybody_else(self) -> None:
        answers = [self.ask(given) for given in ("", ":", "zone:", "zone:zone", "ZONE:test", "zone:test ", "é:é", "\0")]
        answers.append(self.ask("zone:test", "Bearer"))
        rig = Rig(demo_login=True)
        answers.append(rig.get("/test-auth"))
        for garbage in ("Basic", "Basic !!!", "em9uZTp0ZXN0"):
            answers.append(rig.request("GET", "/test-auth", Authorization=garbage))
        for answer in answers:
            self.assertEqual(answer.status, 401)
            self.assertEqual(answer.json, {"time": ISO, "error": "Authentication required"})
            self.assertEqual(answer.headers["www-authenticate"], 'basic realm="secure area"')

    def test_off_unless_asked_for(self) -> None:
        token = b64encode(b"zone:test").decode()
        answer = Rig().request("GET", "/test-auth", Authorization=f"Basic {token}")
        self.assertEqual(answer.status, 404)
        self.assertEqual(answer.json, {"code": "ResourceNotFound", "message": "/test-auth does not exist"})

    def test_H19_not_from_elsewhere(self) -> None:
        token = b64encode(b"zone:test").decode()
        answer = Rig("192.0.2.1", demo_login=True).request("GET", "/test-auth", Authorization=f"Basic {token}")
        self.assertEqual(answer.status, 403)
