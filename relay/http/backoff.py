"""What the relay holds back because a site complained or can't be reached; ended by hand if need be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Protocol

from klein import Klein
from twisted.web.iweb import IRequest

from relay.http.answer import answer, iso, refusal
from relay.zone.decision import Scope
from relay.zone.trouble import Path, Trouble

#: What is shown at most: of back-offs unless `limit` says so, and at all; of the blacklist.
_PAGE = 1000
_MOST = 10_000
_LONGEST = 512
_NAMES = ("zone", "site", "address")


class Backoffs(Protocol):
    """See relay.zone.backoff.Backoff."""

    def listed(self, now: int, scope: Scope, most: int) -> Sequence[Trouble]: ...

    def blacklisted(self, now: int, most: int) -> Sequence[Path]: ...

    def end(self, scope: Scope, now: int) -> int: ...


class BackoffApi:
    """The resources of back-off."""

    def __init__(self, backoffs: Backoffs, now: Callable[[], int]) -> None:
        self._backoffs = backoffs
        self._now = now

    def add_routes(self, app: Klein) -> None:
        app.route("/blacklist", methods=["GET"])(self.blacklist)
        app.route("/v1/backoff", methods=["GET"], endpoint="backoffs")(self.backoffs)
        app.route("/v1/backoff", methods=["DELETE"], endpoint="end_backoffs")(self.end)

    def blacklist(self, request: IRequest) -> bytes:
        """Addresses of ours that a site has on a blocklist, the newest first."""
        entries = [
            {
                "id": path.id,
                "seq": f"{path.seq:03x}" if path.id else "",
                "address": path.address,
                "domain": path.domain or path.site,
                "response": path.reason,
                "created": path.since,
            }
            for path in self._backoffs.blacklisted(self._now(), _MOST)
        ]
        return answer(request, {"list": entries})

    def backoffs(self, request: IRequest) -> bytes:
        """All that is in force, or what `?zone=&site=&address=` names: the newest 1,000, or `?limit=`."""
        given = _arguments(request, (*_NAMES, "limit"))
        limit = _limit(given.pop("limit", ""))
        found = self._backoffs.listed(self._now(), Scope(**given), limit + 1)
        shown = [_shown(trouble) for trouble in found[:limit]]
        return answer(request, {"backoff": shown, "more": len(found) > limit})

    def end(self, request: IRequest) -> bytes:
        """Ends what `?zone=&site=&address=` names, or `?everything=true`; how many."""
        given = _arguments(request, (*_NAMES, "everything"))
        everything = given.pop("everything", "")
        if everything not in ("", "true"):
            raise _wrong(f'everything: expected "true", got {_quoted(everything)}')
        if bool(given) == bool(everything):
            raise _wrong("expected zone, site or address, or everything=true alone")
        return answer(request, {"success": True, "ended": self._backoffs.end(Scope(**given), self._now())})


def _shown(trouble: Trouble) -> dict[str, object]:
    shown: dict[str, object] = {"zone": trouble.zone, "site": trouble.site}
    if trouble.address:
        shown["address"] = trouble.address
    return shown | {
        "kind": trouble.kind,
        "reason": trouble.reason,
        "since": iso(trouble.since),
        "until": iso(trouble.until),
        "allowance": trouble.allowance,
    }


def _arguments(request: IRequest, known: Sequence[str]) -> dict[str, str]:
    """The arguments that were given a value, as names are written here. Raises Problem."""
    given: dict[str, str] = {}
    for key, values in request.args.items():
        name = key.decode("utf-8", "replace")
        if name not in known:
            raise _wrong(f"{_quoted(name)}: unknown, expected {', '.join(known)}")
        try:
            (value,) = (value.decode("utf-8") for value in values)
        except ValueError:
            raise _wrong(f"{name}: expected one value in UTF-8") from None
        if len(value) > _LONGEST:
            raise _wrong(f"{name}: expected at most {_LONGEST} characters, got {len(value)}")
        if not value:
            # To end everything because a script's variable was empty is what nobody means.
            raise _wrong(f'{name}: expected a value, got ""')
        given[name] = _address(value) if name == "address" else value.lower()
    return given


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise _wrong(f"address: expected an IP address, got {_quoted(text)}") from None


def _limit(text: str) -> int:
    if not text:
        return _PAGE
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _MOST):
        raise _wrong(f"limit: expected a number from 1 to {_MOST}, got {_quoted(text)}")
    return int(text)


def _quoted(text: str) -> str:
    return f'"{text[:40]}"'


def _wrong(what: str) -> Exception:
    return refusal(400, "InvalidArgument", what)
