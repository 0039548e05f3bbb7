"""Webhooks: what is posted, by what id, and what counts as taken."""

from __future__ import annotations

import json
import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from relay.config.schema import Sink
from relay.config.secret import SecretUnusable
from relay.events.reader import NotTaken
from relay.events.shape import shape
from relay.events.signature import headers
from relay.events.webhook import Webhook, maker
from tests.unit.sink_rig import NOW, Answer, FakeWeb, means, numbered

URL = "https://user:pass@hooks.test:8443/in?key=1"
SECRET = b"0123456789abcdef"


class WebhookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.web = FakeWeb()
        self.patch(os, "environb", {b"HOOK": SECRET, b"BAD": b"whsec_" + b"*" * 16})

    def hook(self, variable: str = "HOOK") -> Webhook:
        section = Sink(kind="webhook", url=URL, secret_variable=variable, timeout=3, allow_private=True)
        return maker("hook", section, means(Clock(), self.web))

    def test_a_batch_is_posted_and_signed(self) -> None:
        events = [numbered(7), numbered(9, "bounced", reply="550 5.1.1 no")]
        self.successResultOf(self.hook().take(events))
        [posted] = self.web.posted
        self.assertEqual(json.loads(posted.body), {"events": [shape(one) for one in events]})
        self.assertEqual((posted.timeout, posted.allow_private), (3, True))
        signed = headers([SECRET], "events_7_9", NOW // 1000, posted.body)
        self.assertEqual(posted.headers, {"Content-Type": "application/json", **signed})

    def test_the_same_events_have_the_same_id(self) -> None:
        hook = self.hook()
        answers = [Answer(500), Answer(204)]
        self.web.judge = lambda body: answers.pop(0)
        self.failureResultOf(hook.take([numbered(7)]), NotTaken)
        self.successResultOf(hook.take([numbered(7)]))
        self.assertEqual(*(posted.headers["webhook-id"] for posted in self.web.posted))

    def test_H12_only_2xx_is_taken_and_the_server_may_ask_for_a_pause(self) -> None:
        for status in (100, 301, 302, 307, 400, 404, 410, 429, 500, 503):
            self.web.judge = lambda body, status=status: Answer(status, 30.0)
            problem = self.failureResultOf(self.hook().take([numbered(1)]), NotTaken).value
            self.assertEqual((str(problem), problem.after), (f"hooks.test answers {status}", 30.0))

    def test_nothing_secret_is_shown(self) -> None:
        self.assertEqual(self.hook().where, "https://hooks.test:8443/in")
        with self.assertRaises(SecretUnusable) as caught:
            self.hook("BAD")
        self.assertEqual(str(caught.exception), "sinks.hook: secret: expected base64 behind whsec_")
        with self.assertRaises(SecretUnusable):
            self.hook("NOT_THERE")
