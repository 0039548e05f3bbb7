"""Whom a user may name: in From, the addresses that the reader of a mail sees, and as its sender."""

from __future__ import annotations

from relay.access.refused import Refused
from relay.message.address import parse
from relay.message.addresslist import parse_list
from relay.message.headers import HeaderBlock
from relay.message.user import User, may_send_as
from relay.smtp.reply import reply

NOT_THEIRS = reply(550, "5.7.1 Error: the From header names a domain that is not the user's")
NOT_OWNED = reply(550, "5.7.1 Error: the sender is not one of the user's")
#: More authors than this are not looked at one by one.
_MOST = 100
#: Longest From (characters): more takes too long to be read in the reactor's thread.
_LONGEST = 64 * 1024


def check_author(user: User, block: HeaderBlock) -> None:
    """Raises Refused when the user may not name everybody in From; a From that can't be read
    might name anybody, so it is refused too."""
    if not user.from_domains:
        return
    written = ", ".join(block.all("From"))
    if len(written) > _LONGEST:
        raise Refused(NOT_THEIRS)
    try:
        authors = parse_list(written, _MOST)
    except ValueError:
        raise Refused(NOT_THEIRS) from None
    if any(author.domain not in user.from_domains for author in authors):
        raise Refused(NOT_THEIRS)


def check_sender(user: User, sender: str) -> None:
    """Raises Refused when the user may not send as `sender`, a checked address or "". A listener has asked at MAIL
    already; other ways in have no such moment."""
    if user.senders and sender and not may_send_as(user, parse(sender, utf8=True)):
        raise Refused(NOT_OWNED)
