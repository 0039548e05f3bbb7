"""How safe a delivery has to be on its way, and what is tried for that (RFC 3207, 7435, 7672, 8461, 8689)."""

from __future__ import annotations

import enum
from typing import NamedTuple

import msgspec.structs

from relay.message.tls import TlsPolicy
from relay.message.values import Result
from relay.net.dane import NOTHING, Dane
from relay.smtp.ending import Ending
from relay.smtp.introduction import Tls

#: What a message with REQUIRETLS bounces by: no way there is safe enough; the next host would not see to the rest of it
#: (RFC 8689 4.2.1).
NEEDED, UNSUPPORTED = "5.7.10", "5.7.30"


class Policy(enum.StrEnum):
    """What a delivery asks of TLS, each more than the one before.

    With `may` mail goes in the clear to a host that has no TLS, or none that works. `must` takes any certificate:
    it keeps those out who only listen. `verify` wants the host's own, from an authority that is trusted; `sts` wants
    the domain to say which hosts are its own, too. `dane` wants that which the host's TLSA records ask for, and there
    have to be some.
    """

    NONE = "none"
    MAY = "may"
    MUST = "must"
    VERIFY = "verify"
    STS = "sts"
    DANE = "dane"

    @property
    def enforced(self) -> bool:
        """Whether nothing goes in the clear."""
        return self is Policy.MUST or self.proven

    @property
    def proven(self) -> bool:
        """Whether the certificate has to be the host's own, whoever says so."""
        return self in (Policy.VERIFY, Policy.STS, Policy.DANE)


class Approach(NamedTuple):
    """How one host is called.

    `implicit`: TLS from the first byte. `permissive`: with what is no longer safe, `clear`: without TLS, both
    because it didn't work before. `reported` is the domain's policy under which it is told what TLS came to, None where
    nobody is to know; `flaw` is what that has against the host, though mail may go there. `dane`: what the host's TLSA
    records ask, None when it has none that count. `required`: the message has REQUIRETLS, so that the host has to
    offer that, too. `named`: the domain's own MTA-STS policy, in force or on trial, allows the host.
    `heedless`: neither that nor TLSA records are asked for, since the message had rather arrive (RFC 8689 4.2.2).
    """

    policy: Policy = Policy.MAY
    implicit: bool = False
    permissive: bool = False
    clear: bool = False
    reported: TlsPolicy | None = None
    flaw: str = ""
    dane: Dane | None = None
    required: bool = False
    named: bool = False
    heedless: bool = False

    @property
    def enforced(self) -> bool:
        """Whether nothing goes in the clear. TLSA records say that the host has TLS, whatever else they say."""
        return self.dane is not None or self.policy.enforced

    @property
    def authority(self) -> Dane | None:
        """The records that the host's certificate has to match; None: there are none of which it has to."""
        if self.dane is not None and self.dane.records:
            return self.dane
        return NOTHING if self.policy is Policy.DANE else None

    @property
    def verified(self) -> bool:
        """Whether an authority that is trusted has to say that the certificate is the host's. TLSA records stand in
        for all of them where there are some to match (RFC 7672 2.2, RFC 8461 2, RFC 8689 4.2.1)."""
        return self.policy.proven and self.authority is None

    @property
    def tested(self) -> bool:
        """Whether the certificate is looked at for the sake of a report alone."""
        return self.reported is not None and self.reported.type == "sts"

    @property
    def starttls(self) -> Tls:
        """Whether STARTTLS is said."""
        if self.policy is Policy.NONE or self.clear:
            return Tls.NEVER
        return Tls.MUST if self.enforced else Tls.MAY

    def called(self, host: str) -> str:
        """The name by which a host of this name is asked for in the handshake (SNI; RFC 7672 8.1)."""
        return host if self.authority is None else self.authority.base or host

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

    def explained(self, ending: Ending) -> Ending:
        """The ending of a call, and for whose sake it is one, where the host would have done for others. It is the last
        word on a message with REQUIRETLS, unless it may be another the next time (RFC 8689 4.2.1)."""
        if self.required and ending.stage == "tls" and (ending.category == "tls" or ending.code >= 500):
            text = f"{NEEDED} {ending.text.removeprefix('4.7.5 ')} (the message requires TLS all the way)"
            # No rule for what hosts say has a word in it.
            return msgspec.structs.replace(ending, result=Result.BOUNCED, text=text, category="tls")
        if not (self.policy is Policy.STS and self.verified) or ending.stage != "tls" or ending.category == "ours":
            return ending
        status = "" if ending.code or ending.text.startswith("4.") else "4.7.5 "
        text = f"{status}{ending.text} (asked for by the domain's MTA-STS policy)"
        return msgspec.structs.replace(ending, text=text)
