"""What the relay has decided about the flow of mail, as a value: who, what, why, until when."""

from __future__ import annotations

import msgspec


class Scope(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a decision is about: whatever is named, and any of what isn't ("")."""

    zone: str = ""
    domain: str = ""
    site: str = ""
    address: str = ""
    user: str = ""

    def __str__(self) -> str:
        named = [f"{key} {value}" for key in self.__struct_fields__ if (value := getattr(self, key))]
        return ", ".join(named) or "everything"


class Decision(msgspec.Struct, frozen=True):
    """One decision. `kind` is a word: `suspended`, `climbing`, `recovered`, `blacklisted`, `unreachable`,
    `reachable`, `held`, `released`, `warmup-full`, `warm`, `address-gone`, `address-back`, `bad-key`, `good-key`,
    `key-gone`. `made` and `until` are
    milliseconds since the epoch; `until` 0: until something else is decided. `reason` is ours or quotes a peer,
    bounded and free of control characters."""

    kind: str
    scope: Scope
    reason: str
    made: int
    until: int = 0
