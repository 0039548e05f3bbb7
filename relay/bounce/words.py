"""What a notice says to people. Pure."""

from __future__ import annotations

from relay.bounce.fate import Fate
from relay.bounce.parts import one_line
from relay.message.date import date_of
from relay.message.values import Delivery, Message

_TELLS = {
    "failed": "The message could not be delivered, and will not be tried again, for",
    "delayed": "The message could not be delivered yet to",
    "relayed": "The message was passed on, to a host that sends no confirmations, for",
    "delivered": "The message was delivered to",
}


def said_to_people(fate: Fate, message: Message, delivery: Delivery, hostname: str) -> list[str]:
    """Its lines, without their ends; the last one is empty."""
    lines = [
        f"This is the mail system at {hostname}.",
        "",
        f"It is about your message of {date_of(message.created)}.",
        _TELLS[fate.action],
        "",
        f"    {one_line(delivery.recipient)}",
        "",
    ]
    if fate.expired:
        since = date_of(delivery.first_failure or message.created)
        lines += (f"It was tried since {since}, which is as long as it is kept.", "")
    if fate.reply:
        who = f"The host {one_line(fate.host)} said" if fate.spoken and fate.host else "The host said"
        lines += (f"{who}:" if fate.spoken else "What went wrong:", "", f"    {one_line(fate.reply)}", "")
    if fate.kind == "delay":
        lines += (
            f"It will be tried again until {date_of(fate.until)}.",
            "You need not do anything, and you will be told if it is given up.",
            "",
        )
    return [*lines, ""] if lines[-1] else lines
