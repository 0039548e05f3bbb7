"""MAIL and RCPT as questions, or the reply that says what is wrong with them."""

from __future__ import annotations

from relay.smtp import grammar, words
from relay.smtp.events import MailGiven, RcptGiven
from relay.smtp.grammar import Malformed
from relay.smtp.reply import Reply


def mail(argument: str, max_size: int) -> MailGiven | Reply:
    """`FROM:<path> SIZE=… BODY=…` (RFC 5321 4.1.1.2, RFC 1870, RFC 6152). `max_size` 0: no limit."""
    if not argument.isascii():
        return words.NOT_ASCII
    try:
        sender, rest = grammar.mailbox(argument, "FROM:<")
    except Malformed:
        return words.BAD_SENDER
    if not rest:
        return MailGiven(sender, None, False)
    try:
        given = grammar.parameters(rest)
    except Malformed:
        return words.BAD_PARAMETER
    size = None
    if "SIZE" in given:
        try:
            size = grammar.size(given.pop("SIZE"))
        except Malformed:
            return words.BAD_SIZE
    body = given.pop("BODY", "7BIT").upper()
    if body not in ("7BIT", "8BITMIME"):
        return words.BAD_BODY
    if given:
        return words.UNKNOWN_PARAMETER
    if size is not None and 0 < max_size < size:
        return words.declared_too_big(max_size)
    return MailGiven(sender, size, body == "8BITMIME")


def rcpt(argument: str) -> RcptGiven | Reply:
    """`TO:<path>` (RFC 5321 4.1.1.3); no parameter is known."""
    if not argument.isascii():
        return words.NOT_ASCII
    try:
        address, rest = grammar.mailbox(argument, "TO:<")
    except Malformed:
        return words.BAD_RECIPIENT
    if address is None:
        return words.BAD_RECIPIENT
    if not rest:
        return RcptGiven(address)
    try:
        grammar.parameters(rest)
    except Malformed:
        return words.BAD_PARAMETER
    return words.UNKNOWN_PARAMETER
