"""Where events are handed on to, and how far each is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from klein import Klein
from twisted.web.iweb import IRequest

from relay.events.sink import Standing
from relay.http.answer import answer, iso
from relay.http.fields import query_of


class SinksApi:
    """The resource of sinks."""

    def __init__(self, standings: Callable[[], Iterable[Standing]]) -> None:
        self._standings = standings

    def add_routes(self, app: Klein) -> None:
        app.route("/v1/sinks", methods=["GET"])(self.sinks)

    def sinks(self, request: IRequest) -> bytes:
        """Each with `state`: "up to date", "behind" or, after a failure, "waiting" `until` then."""
        query_of(request, ())
        return answer(request, {"sinks": [_described(one) for one in self._standings()]})


def _described(one: Standing) -> dict[str, object]:
    return one._asdict() | {
        "last": iso(one.last) if one.last else None,
        "until": iso(one.until) if one.until else None,
    }
