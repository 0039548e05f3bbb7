"""Events to a web server, in batches: a POST of JSON for each, signed where there is a secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.defer import Deferred

from relay.config import urls
from relay.config.lines import Path
from relay.config.load import dotted
from relay.config.schema import Bounces, Sink
from relay.config.secret import SecretUnusable, secrets
from relay.config.urls import Url
from relay.events.reader import NotTaken
from relay.events.shape import shape
from relay.events.signature import headers, key_of
from relay.events.taker import Means, Web
from relay.message.event import Numbered

_encode = msgspec.json.Encoder().encode


class Webhook:
    """The taker. `id` of what is posted names its first and last event: the same events have the same."""

    def __init__(
        self,
        url: Url,
        keys: Sequence[bytes],
        web: Web,
        now: Callable[[], int],
        timeout: float,
        allow_private: bool,
    ) -> None:
        """`now` gives ms since the epoch; `timeout` is in seconds."""
        self.where = str(url)
        self._url = url
        self._keys = keys
        self._web = web
        self._now = now
        self._timeout = timeout
        self._allow_private = allow_private

    def take(self, events: Sequence[Numbered]) -> Deferred[int]:
        """Any status of 2xx: they are taken. Fails with NotTaken, or what Web says."""
        body = _encode({"events": [shape(one) for one in events]})
        id = f"events_{events[0].number}_{events[-1].number}"
        fields = {"Content-Type": "application/json", **headers(self._keys, id, self._now() // 1000, body)}
        return Deferred.fromCoroutine(self._post(fields, body))

    def stop(self) -> None:
        pass

    async def _post(self, fields: dict[str, str], body: bytes) -> int:
        answer = await self._web.post(self._url, fields, body, self._timeout, self._allow_private)
        if not 200 <= answer.status < 300:
            text = f"{self._url.host} answers {answer.status}"
            raise NotTaken(text, answer.retry_after, answer.status, answer.text)
        return answer.status


def signing_keys(path: Path, section: Sink | Bounces) -> tuple[bytes, ...]:
    """The keys of the secrets of the section at `path`, the newest first. Raises SecretUnusable."""
    found = secrets(path, section)
    try:
        return tuple(key_of(secret) for secret in found)
    except ValueError as error:
        raise SecretUnusable(f"{dotted(path)}: secret: {error}") from None


def maker(name: str, section: Sink, means: Means) -> Webhook:
    """As [sinks] say. Raises SecretUnusable."""
    keys = signing_keys(("sinks", name), section)
    url, private = urls.read(section.url), section.allow_private
    return Webhook(url, keys, means.web, means.now, section.timeout, private)
