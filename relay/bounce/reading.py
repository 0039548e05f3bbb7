"""Reads mail that came back: a report, a complaint, a wish, an answer, or nobody knows what. Pure."""

from __future__ import annotations

from email.message import Message

from relay.bounce import feedback, irregular, statusreport
from relay.bounce.mailtext import field, leaves, parsed
from relay.bounce.returned import Kind, Notice, Original, Returned

#: Addresses that no person writes from.
_DAEMONS = ("mailer-daemon", "postmaster")
#: Who has sent complaints without a form for them.
_LOOPS = frozenset(("staff@hotmail.com", "staff@microsoft.com"))


def read(text: bytes, null_sender: bool = True) -> Returned:
    """What a whole mail says that came from the null sender, or from somebody. Never raises: of what can't be read
    nobody knows what it is."""
    try:
        return _read(text, parsed(text), null_sender)
    except Exception as error:  # whatever Python's parser doesn't stand
        return Returned(Kind.UNKNOWN, about=f"it can't be read: {type(error).__name__}")


def _read(text: bytes, mail: Message, null_sender: bool) -> Returned:
    parts = list(leaves(mail))
    sender = statusreport.address(field(mail, "From"))
    original = feedback.original(parts)
    for part in parts:
        if part.get_content_type() == "message/feedback-report":
            kind, about = feedback.kind(part)
            return Returned(kind, (), original, about, sender)
    notices = tuple(
        notice
        for part in parts
        if part.get_content_type() == "message/delivery-status"
        for notice in statusreport.notices(part)
    )
    if notices:
        return Returned(Kind.REPORT, _explained(notices, mail), original, "a delivery status notification", sender)
    if sender.lower() in _LOOPS and original != Original():
        return Returned(Kind.COMPLAINT, (), original, "a complaint without a form", sender)
    answered = field(mail, "Auto-Submitted").lower()
    # What people write isn't searched for words that hosts use.
    if _is_daemon(sender) or (null_sender and not answered.startswith("auto-replied")):
        notices = irregular.notices(text, mail)
        if notices:
            return Returned(Kind.REPORT, notices, original, "a report of no standard form", sender)
    if _is_answer(mail, answered):
        return Returned(Kind.ANSWER, (), original, "an answer that came by itself", sender)
    subject = field(mail, "Subject")
    return Returned(Kind.UNKNOWN, (), original, f"a mail about {subject[:100]}" if subject else "a mail", sender)


def _explained(notices: tuple[Notice, ...], mail: Message) -> tuple[Notice, ...]:
    """Where a report doesn't say in its fields what the host has said, its text may."""
    if all(notice.reply for notice in notices):
        return notices
    reply = irregular.reason(mail)
    return tuple(notice if notice.reply else notice._replace(reply=reply) for notice in notices)


def _is_daemon(sender: str) -> bool:
    return sender.partition("@")[0].lower() in _DAEMONS


def _is_answer(mail: Message, answered: str) -> bool:
    """Out of office and the like (RFC 3834 5, RFC 5436 2.7.1, and what was there before them)."""
    if answered:
        return not answered.startswith("no")
    if "X-Autoreply" in mail or "X-Autorespond" in mail:
        return True
    return field(mail, "Precedence").lower() == "auto_reply" or field(mail, "Subject").lower().startswith(
        ("out of office", "automatic reply", "auto:", "autoreply", "automatische antwort", "abwesenheit")
    )
