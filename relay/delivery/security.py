"""How safe a delivery has to be on its way, and what is tried for that (RFC 3207, 7435, 7672, 8689)."""

from __future__ import annotations

import enum
from typing import NamedTuple

from relay.message.tls import TlsPolicy
from relay.net.dane import NOTHING, Dane
from relay.smtp.client import Tls
from relay.smtp.ending import Ending


class Policy(enum.StrEnum):
    """What a delivery asks of TLS, each more than the one before.

    With `may` mail goes in the clear to a host that has no TLS, or none that works. `must` takes any certificate:
    it keeps those out who only listen. `verify` wants the host's own, from an authority that is trusted. `dane` wants
    that which the host's TLSA records ask for, and there have to be some.
    """

    NONE = "none"
    MAY = "may"
    MUST = "must"
    VERIFY = "verify"
    DANE = "dane"


class Approach(NamedTuple):
    """How one host is called.

    `implicit`: TLS from the first byte. `permissive`: with what is no longer safe, `clear`: without TLS, both
    because it didn't work before. `reported` is the domain's policy under which it is told what TLS came to, None where
    nobody is to know. `dane`: what the host's TLSA records ask, None when it has none that count.
    """

    policy: Policy = Policy.MAY
    implicit: bool = False
    permissive: bool = False
    clear: bool = False
    reported: TlsPolicy | None = None
    dane: Dane | None = None

    @property
    def enforced(self) -> bool:
        """Whether nothing goes in the clear. TLSA records say that the host has TLS, whatever else they say."""
        return self.dane is not None or self.policy not in (Policy.NONE, Policy.MAY)

    @property
    def authority(self) -> Dane | None:
        """The records that the host's certificate has to match; None: there are none of which it has to. Where there
        are some they stand in for the authorities that `verify` trusts (RFC 7672 2.2, RFC 8689 4.2.1)."""
        if self.dane is not None and self.dane.records:
            return self.dane
        return NOTHING if self.policy is Policy.DANE else None

    @property
    def starttls(self) -> Tls:
        """Whether STARTTLS is said."""
        if self.policy is Policy.NONE or self.clear:
            return Tls.NEVER
        return Tls.MUST if self.enforced else Tls.MAY

    def after(self, ending: Ending) -> Approach | None:
        """How the same host is called again after this, None: it isn't.

        A handshake that fails is tried once more with all that OpenSSL knows, one that hangs or is talked into is not;
        then the mail goes in the clear. Nothing of that happens where TLS is enforced, or the host has refused.
        """
        if ending.stage != "tls" or self.policy is not Policy.MAY or self.enforced or self.implicit:
            return None
        if ending.category == "tls" and not self.permissive:
            return self._replace(permissive=True)
        if ending.category != "reply":
            return self._replace(permissive=False, clear=True)
        return None
