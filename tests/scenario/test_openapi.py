"""What the API's document says, schemathesis asks: no answer is an error of ours, and each is as it was promised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.scenario.harness import Relay, Scenario, deferToThread, post

EXTRA = """
[access]
demo = true
[tls_reports]
organization = "Test"
sender = "tls@src.test"
[dkim]
keys = "{directory}/keys"
[sinks.log]
kind = "file"
path = "{directory}/events"
"""

#: Fields that aren't known are refused under /v1 alone. A stream of events never ends. All that can stand in a mail
#: object, and next to what, takes minutes to say.
CONFIG = """
seed = 1
continue-on-failure = true
[generation]
database = "none"
[phases.stateful]
enabled = {thorough}
[phases.coverage]
generate-duplicate-query-parameters = true
unexpected-methods = ["PATCH", "TRACE"]
[dictionaries.ids]
values = {ids}
[dictionaries.names]
values = {names}
[dictionaries.numbers]
values = ["001", "002", "3"]
[dictionaries.sinks]
values = ["log", "none"]
[parameters]
"path.sink" = {{ dictionary = "sinks", probability = 0.8 }}
"path.queue_id" = {{ dictionary = "ids", probability = 0.5 }}
"path.name" = {{ dictionary = "names", probability = 0.5 }}
"path.seq" = {{ dictionary = "numbers", probability = 0.5 }}
[checks]
enabled = false
[checks.not_a_server_error]
enabled = true
[checks.status_code_conformance]
enabled = true
[checks.content_type_conformance]
enabled = true
[checks.response_schema_conformance]
enabled = true
[checks.unsupported_method]
enabled = true
[checks.ensure_resource_availability]
enabled = true
[checks.use_after_free]
enabled = true
[[operations]]
include-path = "/v1/stream"
enabled = false
[[operations]]
include-path = "/send"
phases.coverage.enabled = {thorough}
# A job that was called off is told of as long as one that came to its end.
[[operations]]
include-path = "/v1/jobs/{{id}}"
[operations.checks.use_after_free]
enabled = false
[[operations]]
include-path-regex = "^/v1/"
[operations.checks.negative_data_rejection]
enabled = true
"""


class Promises(Scenario):
    timeout = 400
    examples = 5
    thorough = False

    async def test_H01_what_the_document_promises(self) -> None:
        """H01: with mail that is deferred, held and due."""
        relay = self.relay(extra=EXTRA.format(directory=self.directory))
        await self.up(relay)
        ids = await deferToThread(self._filled, relay)
        names = [*ids, *(f"{id}.00{seq}" for id in ids for seq in (1, 2, 3))]
        config = Path(f"{self.directory}/schemathesis.toml")
        thorough = json.dumps(self.thorough)
        config.write_text(CONFIG.format(ids=json.dumps(ids), names=json.dumps(names), thorough=thorough))
        asking = self._asking(relay, config)
        said, _ = await deferToThread(asking.communicate)
        self.assertEqual(asking.returncode, 0, said[-6000:])
        self.assertIn("Test cases:", said)
        self.assertTrue(relay.alive)
        self.assertNotIn("Traceback", relay.said())

    def _filled(self, relay: Relay) -> list[str]:
        post(relay.api, "/v1/holds", b'{"domain": "held.test", "reason": "to see it"}')
        post(relay.api, "/v1/suppressions", b'{"address": "gone@evil.test"}')
        post(relay.api, "/v1/dkim/src.test/s1", b'{"generate": "ed25519"}', "PUT")
        to = "?from=a@src.test&to=greylist%2B{0}@evil.test,tempfail-dot%2B{0}@evil.test,x{0}@held.test"
        answers = (post(relay.api, "/send-raw" + to.format(n), b"Subject: x\r\n\r\nhello\r\n") for n in range(5))
        return [json.loads(body)["id"] for _, body in answers]

    def _asking(self, relay: Relay, config: Path) -> subprocess.Popen[str]:
        """Schemathesis."""
        st = Path(sys.executable).with_name("st")
        command = [st, "--config-file", config, "--no-color", "run", f"http://127.0.0.1:{relay.api}/openapi.json"]
        more = ["--max-examples", str(self.examples), "--no-shrink", "--warnings", "off"]
        process = subprocess.Popen(
            [*command, *more],
            cwd=self.directory,
            env={**os.environ, "HOME": self.directory},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.addCleanup(process.kill)
        return process
