"""Signatures of Standard Webhooks, by the vector of its own libraries and by other means than ours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from relay.events.signature import headers, key_of

SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"


class SignatureTests(SynchronousTestCase):
    def test_the_vector_of_the_reference_libraries(self) -> None:
        self.assertEqual(
            headers([key_of(SECRET)], ID, 1614265330, BODY),
            {
                "webhook-id": ID,
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
        )

    def test_each_secret_signs(self) -> None:
        raw = b"0123456789abcdef"
        signatures = headers([key_of(raw), key_of(SECRET)], ID, 7, BODY)["webhook-signature"].split(" ")
        self.assertEqual(len(signatures), 2)
        expected = hmac.new(raw, f"{ID}.7.".encode() + BODY, hashlib.sha256).digest()
        self.assertEqual(signatures[0], "v1," + base64.b64encode(expected).decode())

    def test_without_a_secret_there_is_no_signature(self) -> None:
        self.assertEqual(headers([], ID, 7, BODY), {"webhook-id": ID, "webhook-timestamp": "7"})

    def test_what_is_no_secret(self) -> None:
        for secret in (b"whsec_", b"whsec_***not base64***"):
            with self.assertRaises(ValueError) as caught:
                key_of(secret)
            self.assertNotIn("not base64*", str(caught.exception))


class Receiver(SynchronousTestCase):
    """The one that the documents show."""

    def test_it_knows_what_is_genuine(self) -> None:
        text = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
        [_, code] = text.split("```python\n")
        shown: dict[str, Any] = {}
        exec(code.partition("```")[0], shown)
        genuine, secret, now = shown["genuine"], shown["SECRET"], int(time.time())
        given = headers([b"another one, older", secret], ID, now, BODY)
        self.assertTrue(genuine(given, BODY))
        self.assertFalse(genuine(given, BODY + b" "))
        self.assertFalse(genuine({**given, "webhook-id": "msg_x"}, BODY))
        self.assertFalse(genuine(headers([b"another one, older"], ID, now, BODY), BODY))
        self.assertFalse(genuine(headers([secret], ID, now - 3600, BODY), BODY))
