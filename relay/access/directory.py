"""The users of the file as others may see them: never by what they prove who they are, but with what they have used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from relay.access.quota import Quotas, Used
from relay.access.users import Known, Users
from relay.message.user import User


class Listed(NamedTuple):
    """One. `proofs` are "password" and "scram"; none: by certificate alone, or it is disabled and was not looked at."""

    user: User
    proofs: tuple[str, ...]
    disabled: bool
    limits: list[Used]


class Directory:
    """All of them; without a file nobody."""

    def __init__(self, users: Users | None, quotas: Quotas, now: Callable[[], int]) -> None:
        """`now` gives ms since the epoch."""
        self._users = users
        self._quotas = quotas
        self._now = now

    def after(self, name: str) -> Iterator[Listed]:
        """Those behind this name, in the order of their names in lower case."""
        return map(self._listed, () if self._users is None else self._users.after(name))

    def get(self, name: str) -> Listed | None:
        """The one of this name, in any case."""
        known = None if self._users is None else self._users.get(name)
        return None if known is None else self._listed(known)

    def _listed(self, known: Known) -> Listed:
        proofs = (("password", known.hash), ("scram", known.keys))
        limits = self._quotas.used(known.user, self._now() / 1000)
        return Listed(known.user, tuple(name for name, proof in proofs if proof), known.disabled, limits)
