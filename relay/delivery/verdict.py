"""What the answer to a POST means for the mail (RFC 9110 15)."""

from __future__ import annotations

from relay.message.values import Result
from relay.smtp.ending import Ending

#: Answers that ask for patience: not now, not so soon, not so much (RFC 9110 15.5.9, 8470 5.2, 6585 4).
SLOWER = frozenset((408, 425, 429))
#: Of the answer's body so much is quoted: its first line, and so many characters of it.
_QUOTED = 300


def verdict(
    code: int, phrase: str, body: bytes, stage: str, retry_after: str = "", reusable: bool = False
) -> Ending:
    """How a delivery ends that is answered so: 2xx takes the message, 4xx refuses it, unless it asks for less or for
    patience (408, 425, 429), and all else defers it.

    Args:
        body: the beginning of what the answer says.
        stage: "dot" where it came behind the message, "body" where it came before its end.
        retry_after: the value of Retry-After.
        reusable: whether the connection is good for another message.
    """
    text = f"{code} {phrase}".strip()
    if line := _first_line(body):
        text = f"{text}: {line}"
    if 200 <= code <= 299:
        if stage == "dot":
            return Ending(Result.DELIVERED, stage, text, code, reusable=reusable)
        return Ending(Result.DEFERRED, stage, f"The host takes the message before it has it: {text}", 0, "protocol")
    if retry_after:
        text = f"{text} (Retry-After: {retry_after[:40]})"
    if 300 <= code <= 399:
        text = f"{text} (redirects are not followed)"
    if 300 <= code <= 599:
        refused = 400 <= code <= 499 and code not in SLOWER
        result = Result.BOUNCED if refused else Result.DEFERRED
        return Ending(result, stage, text, code, "reply", reusable=reusable)
    return Ending(Result.DEFERRED, stage, f"An answer that is none: {text}", 0, "protocol")


def _first_line(body: bytes) -> str:
    lines = body[: 8 * _QUOTED].decode("utf-8", "replace").strip().splitlines()
    return lines[0].strip()[:_QUOTED] if lines else ""
