"""What can't be written as mail, said by the name of the field that it stands in. Pure."""

from __future__ import annotations

import re

#: Longest value of one field (characters); addresses have a bound of their own.
LONGEST = 32 * 1024

_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\ud800-\udfff]").search
_NAMED = {"\r": "a line end", "\n": "a line end", "\0": "NUL"}


class Unfit(ValueError):
    """A value that can't stand.

    Attributes:
        field: where it is, as the client wrote it: `attachments[0].filename`.
        text: why, or what was expected.
    """

    def __init__(self, field: str, text: str) -> None:
        # Names of headers are a client's words.
        field = field if field.isprintable() else "".join(one if one.isprintable() else "?" for one in field)
        super().__init__(f"{field}: {text}" if field else text)
        self.field = field
        self.text = text

    def within(self, place: str) -> Unfit:
        """The same, of a mail at `place`."""
        self.field = f"{place}.{self.field}" if self.field else place
        return self


class TooLarge(Unfit):
    """The message could stand, if there were less of it."""


class Nobody(Unfit):
    """There is no recipient."""

    def __init__(self, field: str) -> None:
        super().__init__(field, "Empty recipients list")


def one_line(field: str, text: str, longest: int = LONGEST) -> str:
    """The text without blanks around it, checked: one line that can be written in UTF-8.

    No line end passes, whatever it is called: behind one another field would begin. Raises Unfit.
    """
    if len(text) > longest:
        raise Unfit(field, f"longer than {longest} characters")
    found = _control(text)
    if found is not None:
        character = found[0]
        named = _NAMED.get(character) or f"the control character U+{ord(character):04X}"
        raise Unfit(field, f"expected one line of text, got {named} in it")
    return text.strip(" \t")
