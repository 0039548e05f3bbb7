"""What an offer leaves with so that what comes back finds its delivery: return path, and a way to unsubscribe."""

from __future__ import annotations

from collections.abc import Callable

import msgspec.structs

from relay.bounce.returnpath import ReturnPaths, Rewriting, return_paths
from relay.channel.briefing import SenderBriefing
from relay.channel.frames import Offer
from relay.message.headers import HeaderBlock


class Returning:
    """Those of one zone."""

    def __init__(
        self, paths: ReturnPaths, rewriting: Rewriting, unsubscribe: bool, url: str, now: Callable[[], int]
    ) -> None:
        """`unsubscribe`: mail without List-Unsubscribe is given one; with a `url` by one click, too (RFC 8058). `now`
        gives ms since the epoch."""
        self._paths = paths
        self._rewriting = rewriting
        self._unsubscribe = unsubscribe
        self._url = url
        self._now = now

    def of(self, offer: Offer) -> Offer:
        """The offer as it leaves. Mail of the null sender, which reports to people, stays as it is."""
        if not offer.sender:
            return offer
        sender = self._paths.rewritten(self._rewriting, offer.sender, offer.id, offer.seq, self._now())
        headers = offer.headers
        if self._unsubscribe and HeaderBlock(headers).get("List-Unsubscribe") is None:
            headers += self._fields(offer)
        return msgspec.structs.replace(offer, sender=sender, headers=headers)

    def _fields(self, offer: Offer) -> bytes:
        mailbox = f"<mailto:{self._paths.address('unsubscribe', offer.id, offer.seq)}>"
        if not self._url:
            return f"List-Unsubscribe: {mailbox}\r\n".encode("ascii")
        token = self._paths.tokens.make("unsubscribe", offer.id, offer.seq)
        lines = f"List-Unsubscribe: <{self._url}{token}>,\r\n {mailbox}\r\n"
        if HeaderBlock(offer.headers).get("List-Unsubscribe-Post") is None:
            lines += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        return lines.encode("ascii")


def returning(briefing: SenderBriefing, now: Callable[[], int]) -> Returning | None:
    """What a zone does with its offers; None: nothing."""
    options, section = briefing.options, briefing.returns
    if not briefing.return_secrets:
        return None
    paths = return_paths(section, briefing.return_secrets)
    return Returning(paths, options.return_path, options.list_unsubscribe, section.unsubscribe_url, now)
