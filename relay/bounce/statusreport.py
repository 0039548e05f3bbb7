"""A delivery status notification (RFC 3464, 6533): what became of mail, recipient by recipient. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message

from relay.bounce.mailtext import clean, field
from relay.bounce.returned import Action, Notice

#: Recipients of one report that are looked at.
MOST = 100
#: Words for what became of it; some hosts add a comment, and some have words of their own.
_ACTIONS: tuple[tuple[str, Action], ...] = (
    ("fail", "failed"), ("error", "failed"), ("delay", "delayed"), ("deliver", "delivered"),
    ("relay", "delivered"), ("expand", "delivered"),
)  # fmt: skip
#: Where that is left out, by the class of the status (RFC 3463 3.1).
_BY_CLASS: dict[str, Action] = {"2": "delivered", "4": "delayed", "5": "failed"}
_status = re.compile(r"(?<![0-9.])[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9.]*[0-9])", re.ASCII).search


def notices(status: Message) -> Iterator[Notice]:
    """What a part of the type message/delivery-status says."""
    blocks = [block for block in status.get_payload() if isinstance(block, Message)] if status.is_multipart() else []
    reporter = ""
    for block in blocks[: MOST + 1]:
        reporter = _value(block, "Reporting-MTA") or reporter
        notice = _notice(block, reporter)
        if notice is not None:
            yield notice


def _notice(block: Message, reporter: str) -> Notice | None:
    said = field(block, "Action").lower()
    action = next((action for word, action in _ACTIONS if said.startswith(word)), None)
    names = [address(_value(block, name)) for name in ("Original-Recipient", "X-Actual-Recipient", "Final-Recipient")]
    found = _status(field(block, "Status"))
    if not said and found is not None and any(names):
        action = _BY_CLASS[found[0][0]]
    if action is None:
        return None
    return Notice(
        action,
        tuple(dict.fromkeys(filter(None, names))),
        "" if found is None else found[0],
        _value(block, "Diagnostic-Code"),
        _value(block, "Remote-MTA") or reporter,
    )


def _value(block: Message, name: str) -> str:
    """What stands behind the type, "smtp; 550 no": what the type is matters to nobody."""
    text = field(block, name)
    kind, semicolon, value = text.partition(";")
    return clean(value) if semicolon and re.fullmatch(r"\s*[A-Za-z0-9-]{1,30}\s*", kind) else text


def address(text: str) -> str:
    """The address in a text such as `<ann@example.org>`; "" when there is none."""
    inner = re.search(r"<([^<>\s]{1,320})>", text)
    text = text.split(" ", 1)[0] if inner is None else inner[1]
    return text if "@" in text and len(text) <= 320 else ""
