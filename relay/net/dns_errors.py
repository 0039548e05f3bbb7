"""Why the DNS gave no answer that can be used."""

from __future__ import annotations


class DnsError(Exception):
    """No answer that can be used; the text names the domain and can be logged as it is.

    Attributes:
        temporary: nobody could tell; else it is certain.
        secure: it was validated (RFC 4035).
    """

    temporary = True
    secure = False

    def again(self) -> DnsError:
        """The same, to be raised: a raised error carries its traceback along."""
        fresh = type(self)(*self.args)
        fresh.secure = self.secure
        return fresh


class NoSuchDomain(DnsError):
    """The name does not exist (NXDOMAIN), or can't exist."""

    temporary = False


class NoData(DnsError):
    """The name exists and has no record of this type."""

    temporary = False


class NullMX(DnsError):
    """The domain takes no mail, and says so (RFC 7505)."""

    temporary = False


class ServerFailure(DnsError):
    """The name servers could not tell: SERVFAIL, REFUSED, an endless chain, and the like."""


class TimedOut(DnsError):
    """No name server answered in time."""


def printable(text: str) -> str:
    """`text` bounded, and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:300])
