"""One rule: what a reply has to be like, and what it means then. Pure."""

from __future__ import annotations

from typing import NamedTuple

from relay.bounce.diagnosis import Action, Diagnosis, Fault
from relay.bounce.pattern import Pattern
from relay.bounce.said import Said


class Rule(NamedTuple):
    """All that it names has to be so; of several codes, or enhanced codes, one.

    `codes` are "550" or "5xx", `statuses` "5.1.1", "5.7.*" or "*.1.1"; none of them, and no `pattern`: any.
    `action` is "" where the code decides.
    """

    category: str
    fault: Fault
    message: str
    file: str
    line: int
    action: Action | str = ""
    codes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    pattern: Pattern | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """Every reply that it fits has one of these among its own (`keys_of`); none: it may be any."""
        if self.pattern is not None:
            return tuple(self.pattern.keys)
        return tuple(f"={one}" for one in self.statuses or self.codes)

    def fits(self, said: Said) -> bool:
        code = str(said.code)
        if self.codes and code not in self.codes and f"{code[0]}xx" not in self.codes:
            return False
        if self.statuses and not any(one in self.statuses for one in wider(said.status)):
            return False
        return self.pattern is None or self.pattern.found(said.words)

    def diagnosis(self, said: Said) -> Diagnosis:
        """What a reply that it fits means."""
        action: Action = self.action or by_code(said.code)  # type: ignore[assignment]
        return Diagnosis(action, self.category, self.fault, self.message, said.code, said.status, self.file, self.line)


def by_code(code: int) -> Action:
    """What a reply asks for that is known by its code alone (RFC 5321 4.2.1): 4xx, later again; all else, never."""
    return "defer" if 400 <= code <= 499 else "reject"


def wider(status: str) -> tuple[str, ...]:
    """A status and those with a * that stand for it."""
    parts = status.split(".")
    if len(parts) != 3:
        return ()
    kind, subject, detail = parts
    return status, f"*.{subject}.{detail}", f"{kind}.{subject}.*", f"*.{subject}.*", f"{kind}.*.*"


def keys_of(said: Said) -> list[str]:
    """Those of a reply beside its words."""
    code = str(said.code)
    return [f"={code}", f"={code[0]}xx", *(f"={one}" for one in wider(said.status))]
