"""What one session is offered: the reply to EHLO, and the commands and parameters that go with it.

What isn't offered isn't understood either. The offer changes with TLS and with a login, and
a listener may leave out each extension.
"""

from __future__ import annotations

from functools import lru_cache

from relay.config.schema import Listener
from relay.smtp.future import date_time
from relay.smtp.states import VERBS, Verb

#: What a trusted client may say of the one it speaks for.
XCLIENT = ("NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT")
#: The largest number that fits into LIMITS (RFC 9422 4).
_MAX_LIMIT = 999_999
#: The longest HOLDFOR, and so the longest that is offered (RFC 4865 4.2.1), in seconds.
_MAX_HOLD = 999_999_999


class Offers:
    """What is offered now.

    Attributes:
        secure: there is TLS.
        max_hold: how far ahead FUTURERELEASE may go, in seconds.
        mechanisms: the ways to log in, empty when a login can't begin now.
        names: keywords of extensions that the listener has, AUTH and STARTTLS among them even when
            they are used up, REQUIRETLS before there is TLS.
        verbs: the commands that are known.
        starttls: TLS can begin now.
    """

    __slots__ = ("_all", "_section", "_xclient", "max_hold", "mechanisms", "names", "secure", "starttls", "verbs")

    def __init__(
        self,
        section: Listener,
        starttls: bool,
        mechanisms: tuple[str, ...],
        xclient: bool,
        secure: bool = False,
    ) -> None:
        """`starttls`: TLS is there for whoever asks. `mechanisms`: all that the listener has."""
        self._all = mechanisms
        self._section = section
        self._xclient = xclient
        self.secure = secure
        self.max_hold = min(int(section.max_future), _MAX_HOLD)
        self.names = names = _names(section.without, starttls, bool(mechanisms))
        self.verbs = _verbs(names, xclient)
        self.starttls = not secure and "STARTTLS" in names
        # A password in the clear is for whoever listens on the way, unless that was asked for.
        allowed = "AUTH" in names and (secure or section.insecure_auth)
        self.mechanisms = mechanisms if allowed else ()

    def secured(self, mechanisms: tuple[str, ...]) -> Offers:
        """The same with TLS."""
        return Offers(self._section, "STARTTLS" in self.names, mechanisms, self._xclient, True)

    def spoken_for(self) -> Offers:
        """The same for whom a trusted client speaks, and who may speak itself from now on: it is believed
        nothing, and the certificate isn't its own."""
        mechanisms = tuple(mechanism for mechanism in self._all if mechanism != "EXTERNAL")
        return Offers(self._section, "STARTTLS" in self.names, mechanisms, False, self.secure)

    def lines(self, authenticated: bool, now: int) -> list[str]:
        """What the reply to EHLO lists; `now` in ms since the epoch."""
        section, names = self._section, self.names
        lines: list[str] = [name for name in ("PIPELINING", "8BITMIME", "SMTPUTF8") if name in names]
        if self.mechanisms and not authenticated:
            lines.append("AUTH " + " ".join(self.mechanisms))
        if self.starttls:
            lines.append("STARTTLS")
        if "SIZE" in names:
            lines.append(f"SIZE {section.max_size}")  # 0: no limit (RFC 1870 4)
        lines += [name for name in ("ENHANCEDSTATUSCODES", "CHUNKING", "DSN") if name in names]
        if self.secure and "REQUIRETLS" in names:
            lines.append("REQUIRETLS")  # Only in sessions with TLS (RFC 8689 2).
        if "LIMITS" in names:
            lines += _limits(section.max_messages, section.max_recipients)
        if "FUTURERELEASE" in names:
            lines.append(f"FUTURERELEASE {self.max_hold} {date_time(now // 1000 + self.max_hold)}")
        if self._xclient:
            lines.append("XCLIENT " + " ".join(XCLIENT))
        return lines


@lru_cache(maxsize=64)
def _names(without: tuple[str, ...], starttls: bool, auth: bool) -> frozenset[str]:
    names = {
        "PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN", "LIMITS",
        "FUTURERELEASE", "REQUIRETLS",
    }  # fmt: skip
    if auth:
        names.add("AUTH")
    if starttls:
        names.add("STARTTLS")
    names.difference_update(without)
    if "8BITMIME" not in names:
        names.discard("SMTPUTF8")  # It has no meaning without (RFC 6531 3.1).
    return frozenset(names)


@lru_cache(maxsize=64)
def _verbs(names: frozenset[str], xclient: bool) -> dict[str, Verb]:
    verbs = dict(VERBS)
    for word, offered in (
        ("AUTH", "AUTH" in names),
        ("STARTTLS", "STARTTLS" in names),
        ("BDAT", "CHUNKING" in names),
        ("XCLIENT", xclient),
    ):
        if not offered:
            del verbs[word]
    return verbs


def _limits(messages: int, recipients: int) -> list[str]:
    """RFC 9422 4; what is larger than can be said is as good as no limit."""
    said = [
        f"{name}={limit}" for name, limit in (("MAILMAX", messages), ("RCPTMAX", recipients)) if limit <= _MAX_LIMIT
    ]
    return ["LIMITS " + " ".join(said)] if said else []
