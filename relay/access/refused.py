"""A refusal on its way to the client, whoever made it."""

from __future__ import annotations

from relay.smtp.reply import Reply


class Refused(Exception):
    """Not now, or not at all; `reply` says to the client why, in SMTP's words."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply
