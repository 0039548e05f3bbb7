"""Events to a web server, in batches: a POST of JSON for each, signed where there is a secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.defer import Deferred

from relay.config import urls
from relay.config.lines import Path
from relay.config.load import dotted
from relay.config.schema import Bounces, Sink
from relay.config.secret import SecretUnusable, keys
from relay.config.urls import Url
from relay.events.reader import NotTaken
from relay.events.shape import shape
from relay.events.signature import headers, key_of
from relay.events.taker import Answered, Means, Web
from relay.message.event import Numbered

_encode = msgspec.json.Encoder().encode


class Webhook:
    """The taker. `id` of what is posted names its first and last event: the same events have the same."""

    def __init__(
        self,
        url: Url,
        secrets: Sequence[bytes],
        web: Web,
        now: Callable[[], int],
        timeout: float,
        allow_private: bool,
    ) -> None:
        """`now` gives ms since the epoch; `timeout` is in seconds."""
        self.where = str(url)
        self._url = url
        self._secrets = secrets
        self._web = web
        self._now = now
        self._timeout = timeout
        self._allow_private = allow_private

    def take(self, events: Sequence[Numbered]) -> Deferred[None]:
        """Any status of 2xx: they are taken. Fails with NotTaken, or what Web says."""
        body = _encode({"events": [shape(one) for one in events]})
        id = f"events_{events[0].number}_{events[-1].number}"
        fields = {"Content-Type": "application/json", **headers(self._secrets, id, self._now() // 1000, body)}
        return self._web.post(self._url, fields, body, self._timeout, self._allow_private).addCallback(self._judge)

    def stop(self) -> None:
        pass

    def _judge(self, answer: Answered) -> None:
        if not 200 <= answer.status < 300:
            raise NotTaken(f"{self._url.host} answers {answer.status}", answer.retry_after)


def signing_keys(path: Path, section: Sink | Bounces) -> tuple[bytes, ...]:
    """The keys of the secrets of the section at `path`, the newest first. Raises SecretUnusable."""
    try:
        return tuple(key_of(secret) for secret in keys(path, section.secret_file, section.secret_variable))
    except ValueError as error:
        key = "secret_file" if section.secret_file else "secret_variable"
        if isinstance(error, SecretUnusable):
            raise
        raise SecretUnusable(f"{dotted((*path, key))}: {error}") from None


def maker(name: str, section: Sink, means: Means) -> Webhook:
    """As [sinks] say. Raises SecretUnusable."""
    secrets = signing_keys(("sinks", name), section)
    return Webhook(
        urls.read(section.url), secrets, means.web, means.now, section.timeout, section.allow_private
    )  # fmt: skip
