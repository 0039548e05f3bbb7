"""The way of one message through its five stations, told to somebody who sees it for the first time.

What happened is read from where an operator reads it: the relay's reply, the mail log, the API.
"""

from __future__ import annotations

import http.client
import json
import re
import smtplib
import time
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

SENDER = "me@demo.example"
#: What each result means, and the colour of it.
_RESULTS = {
    "delivered": ("the sink has it, the queue forgets it", "32"),
    "deferred": ("a failure for now, it stays in the queue", "33"),
    "bounced": ("a failure for good, the queue forgets it", "31"),
}
_field = re.compile(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)').findall


class Place(NamedTuple):
    """Where the relay is to be met: its ports on 127.0.0.1, and its mail log."""

    smtp: int
    http: int
    log: Path


class Journey:
    """One message to one recipient."""

    def __init__(self, place: Place, recipient: str, reactor: Any, colour: bool) -> None:
        self._place = place
        self._recipient = recipient
        self._reactor = reactor
        self._colour = colour
        self._began = 0.0
        self._position = 0

    async def travel(self) -> str:
        """Submits the message and tells each station as it is reached; how it ended.

        Raises:
            OSError, smtplib.SMTPException, ValueError: the relay can't be spoken to.
        """
        self._began = time.time()
        answer = await deferToThread(self._submit)
        queue_id = answer.split()[-1]
        self._tell("accept", f"the relay takes it by SMTP, from <{SENDER}>")
        self._tell("spool", f"on disk and synced; only now it answers: {answer}")
        self._tell("schedule", "new mail is due at once")
        while True:
            for line in self._news():
                step, fields = _read(line)
                if not fields.get("id", "").startswith(f"{queue_id}."):
                    continue
                at = datetime.fromisoformat(line.partition(" ")[0]).timestamp()
                self._tell("deliver", f"the sink answers: {fields.get('reply')}", at)
                self._tell("result", self._result(step), at)
                if step != "deferred":
                    return step
                self._tell("schedule", f"due again in {fields.get('seconds_to_retry')} s")
                await self._show(queue_id)
            await deferLater(self._reactor, 0.05)

    def _submit(self) -> str:
        header = f"From: Demo <{SENDER}>\r\nTo: <{self._recipient}>\r\nSubject: A first message\r\n"
        with smtplib.SMTP("127.0.0.1", self._place.smtp, "demo.example", timeout=10) as client:
            client.ehlo()
            client.mail(SENDER)
            client.rcpt(self._recipient)
            code, words = client.data(f"{header}\r\nHello!\r\n")
            answer = f"{code} {words.decode()}"
        if code != 250:
            raise smtplib.SMTPDataError(code, words)
        return answer

    async def _show(self, queue_id: str) -> None:
        """What the API says of a delivery that waits."""
        path = f"/message/{queue_id}"
        row = (await deferToThread(fetched, self._place.http, path))["messages"][0]
        self._more(f"curl http://127.0.0.1:{self._place.http}{path} now says, among more:")
        self._more(f'"status": "{row["status"]}", "response": "{row["deferred"]["response"]}"')

    def _news(self) -> list[str]:
        """Whole lines that the log got since the last look."""
        if not self._place.log.exists():
            return []
        with self._place.log.open("rb") as log:
            log.seek(self._position)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._position += len(whole + newline)
        return whole.decode().splitlines()

    def _tell(self, station: str, what: str, at: float | None = None) -> None:
        seconds = max(0.0, (at or time.time()) - self._began)
        print(f"{seconds:8.2f} s  {station:<8}  {what}", flush=True)

    def _more(self, what: str) -> None:
        print(f"{'':22}{what}", flush=True)

    def _result(self, step: str) -> str:
        meaning, ink = _RESULTS.get(step, ("", "0"))
        return f"\x1b[{ink}m{step}\x1b[0m: {meaning}" if self._colour else f"{step}: {meaning}"


def fetched(port: int, path: str) -> Any:
    """What the API on 127.0.0.1 answers to a GET. Raises OSError, ValueError. Blocks."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def _read(line: str) -> tuple[str, dict[str, str]]:
    """The step a line of the mail log is about, and its fields."""
    step = line.split(" ", 2)[1]
    return step, {key: json.loads(value) if value[:1] == '"' else value for key, value in _field(line)}
