"""How mail ends at each kind of hostile host and name server: what the relay has to make of every behaviour
that tests/peers/evil_mx.py and evil_dns.py know.

The module isn't called test_*: test_hostile_hosts walks the table.
"""

from __future__ import annotations

from typing import NamedTuple

#: The zone that refuses addresses of this machine and of private networks, and that whose port is the relay's own.
GUARDED, LOOPING = "guarded", "looping"

PLAIN = b"hello\r\n"
EIGHT_BIT = "gr\u00fc\u00dfe\r\n".encode()
#: More than comes in one piece, and more than the sockets of both sides take, for hosts that stop in the midst of it.
LONG = (b"x" * 70 + b"\r\n") * 10_000
LARGE = (b"x" * 70 + b"\r\n") * 250_000


class Case(NamedTuple):
    """Mail for one behaviour, and its ending.

    `result` is delivered, bounced, or deferred: then it was tried at least `tries` times and is still there; else it
    was so at exactly that try, or within (least, most). `says` is looked for in the last reply (or the relay's own
    words for want of one), `stage` is where that attempt ended. `copies` arrived, by default one of what was
    delivered. `count` messages go to one recipient, over one connection at a time if there is more than one.
    """

    rows: str
    behaviour: str
    result: str
    tries: int | tuple[int, int] = 1
    says: str = ""
    stage: str = ""
    local: str = ""
    copies: int = -1
    count: int = 1
    zone: str = "default"
    body: bytes = PLAIN
    to: str = ""

    @property
    def expected(self) -> int:
        """Copies of each message."""
        return self.copies if self.copies >= 0 else int(self.result == "delivered")

    @property
    def span(self) -> tuple[int, int]:
        """The fewest and most tries."""
        if isinstance(self.tries, tuple):
            return self.tries
        return self.tries, 99 if self.result == "deferred" else self.tries


#: A case for each behaviour at least. Where the recipient decides, `local` says how often it misbehaves.
CASES = (
    # Hosts that hang, wherever it may be, and tarpits.
    Case("D01", "hang-banner", "deferred", 2, "No reply within", "banner"),
    Case("D01", "hang-ehlo", "deferred", 2, "No reply within", "ehlo"),
    Case("D01", "hang-mail", "deferred", 2, "No reply within", "mail"),
    Case("D01", "hang-rcpt", "delivered", 2),
    Case("D01", "hang-data", "delivered", 2),
    Case("D01", "hang-dot", "delivered", 2),
    Case("D01", "stall-body", "delivered", 2),
    Case("D01", "stall-body", "deferred", 2, "took nothing", "body", local="stall-body-0", body=LARGE),
    Case("D01", "drip-banner", "deferred", 2, "No reply within", "banner"),
    Case("D01", "drip-mail", "deferred", 2, "No reply within", "mail"),
    Case("D01", "drip-rcpt", "delivered", 2),
    Case("D01", "drip-dot", "delivered", 2),
    # Slow ones, that have time.
    Case("D02", "slow-banner", "delivered"),
    Case("D02", "split-reply", "delivered"),
    Case("D02", "slow-rcpt", "delivered", local="slow-rcpt-1"),
    Case("D02", "slow-body", "delivered", local="slow-body-1", body=b"x" * 70 + b"\r\n" * 400),
    Case("D02", "slow-dot", "delivered", local="slow-dot-2"),
    # At the final dot.
    Case("D03", "drop-after-dot", "delivered", 2),
    Case("D04", "accept-then-drop", "delivered", 2, copies=2),
    Case("D05", "partial-reply", "delivered", 2),
    Case("D05", "garbage-dot", "delivered", 2),
    Case("D06", "double-reply", "delivered", count=2, local="double-reply-0"),
    # Before it was asked, or instead of a reply.
    Case("D07", "early-talker", "deferred", 2, "before it is asked"),
    Case("D08", "421-banner", "deferred", 2, "421", "banner"),
    Case("D08", "421-after-ehlo", "deferred", 2, "421", "ehlo"),
    Case("D08", "421-after-mail", "deferred", 2, "421", "mail"),
    Case("D08", "421-rcpt", "delivered", 2),
    Case("D08", "421-data", "delivered", 2),
    Case("D08", "421-dot", "delivered", 2),
    Case("D09", "554-banner", "deferred", 2, "554", "banner"),
    Case("D09", "close-on-connect", "deferred", 2, "closed|lost", "banner"),
    Case("D09", "rst-on-connect", "deferred", 2, "lost|refused|reset", ""),
    Case("D09", "close-on-ehlo", "deferred", 2, "closed", "ehlo"),
    Case("D09", "500-ehlo", "delivered"),
    # Not now.
    Case("D10", "tempfail-mail", "deferred", 3, "451", "mail"),
    Case("D10", "tempfail-rcpt", "delivered", 4, local="tempfail-rcpt-3"),
    Case("D10", "tempfail-data", "delivered", 2),
    Case("D10", "tempfail-dot", "delivered", 3, local="tempfail-dot-2"),
    Case("D14", "greylist", "delivered", 3, local="greylist-2"),
    # Never.
    Case("D11", "perm-mail", "bounced", says="550", stage="mail"),
    Case("D11", "perm-rcpt", "bounced", says="550 5.1.1", stage="rcpt"),
    Case("D11", "perm-data", "bounced", says="554 5.6.0", stage="data"),
    Case("D11", "perm-dot", "bounced", says="550 5.7.1", stage="dot"),
    Case("D13", "452-rcpt", "delivered", 2),
    # Replies that are none.
    Case("D15", "big-reply", "deferred", 2, "long|big|lines|bytes", "ehlo"),
    Case("D15", "endless-reply", "deferred", 2, "long|big|lines|bytes", "ehlo"),
    Case("D15", "long-line-reply", "deferred", 2, "long|big|lines|bytes", "ehlo"),
    Case("D16", "mismatch-reply", "deferred", 2, "codes|reply", "ehlo"),
    Case("D16", "nul-reply", "deferred", 2, "NUL in reply", "ehlo"),
    Case("D16", "bare-lf-reply", "delivered"),
    Case("D16", "garbage-banner", "deferred", 2, "", "banner"),
    Case("D16", "garbage-rcpt", "delivered", 2),
    # In the midst.
    Case("D17", "drop-after-mail", "deferred", 2, "closed", "mail"),
    Case("D17", "drop-rcpt", "delivered", 2),
    Case("D17", "drop-on-data", "delivered", 2),
    Case("D17", "drop-mid-body", "delivered", 2, body=LONG),
    # After it: the next message goes on another connection.
    Case("D18", "close-after-ok", "delivered", count=2, local="close-after-ok-0"),
    Case("D18", "rst-after-ok", "delivered", count=2, local="rst-after-ok-0"),
    Case("D18", "half-close-ok", "delivered", count=2, local="half-close-ok-0"),
    Case("D18", "quit-hang", "delivered", count=2),
    Case("D18 D19", "rset-fail", "bounced", says="550 5.1.1", local="perm-rcpt", count=2),
    Case("D18 D19", "rset-fail", "delivered", count=3),
    Case("D12 D19", "ok", "delivered", count=3, to="d19.evil.test"),
    Case("D12 D19", "perm-rcpt", "bounced", says="550 5.1.1", count=3, to="d19.evil.test"),
    Case("D12 D19", "tempfail-rcpt", "delivered", 2, to="d19.evil.test"),
    # What the message needs, and the host lacks.
    Case("D20", "size-one", "bounced", says="5.3.4", stage="mail"),
    Case("D21", "no-extensions", "delivered"),
    Case("D21", "no-extensions", "bounced", says="5.6.3", stage="mail", body=EIGHT_BIT),
    Case("D21", "500-ehlo", "bounced", says="5.6.3", stage="mail", body=EIGHT_BIT),
    Case("D21", "ok", "delivered", body=EIGHT_BIT),
    # STARTTLS that fails: once more without, in the same attempt.
    Case("D23", "tls-refuse", "delivered"),
    Case("D23", "tls-close", "delivered"),
    Case("D23", "tls-garbage", "delivered"),
    Case("D01 D23", "tls-hang", "delivered"),
    Case("D24", "tls-inject", "delivered"),
    # Name servers that can't tell: no mail bounces for it.
    Case("D28", "dns-servfail", "deferred", 2, "4.4.3 .*SERVFAIL"),
    Case("D28", "dns-refused", "deferred", 2, "4.4.3 .*REFUSED"),
    Case("D28", "dns-timeout", "deferred", 2, "4.4.3 .*no answer"),
    Case("D28", "dns-garbage", "deferred", 2, "4.4.3"),
    Case("D28", "dns-short", "deferred", 2, "4.4.3"),
    Case("D28", "dns-wrong-id", "deferred", 2, "4.4.3"),
    Case("D28", "dns-wrong-question", "deferred", 2, "4.4.3"),
    Case("D28", "dns-pointer-loop", "deferred", 2, "4.4.3"),
    Case("D28", "dns-truncated-dead", "deferred", 2, "4.4.3"),
    # Those that can.
    Case("D29", "dns-nxdomain", "bounced", says="5.1.2"),
    Case("D29", "dns-nodata", "bounced", says="5.1.2"),
    Case("D29", "dns-nullmx", "bounced", says="5.1.10"),
    Case("D29", "dns-nomx", "delivered"),
    # An MX that can't be looked up is not one that isn't there.
    Case("D30", "dns-mx-servfail-a-ok", "deferred", 2, "4.4.3 .*SERVFAIL"),
    Case("D30", "dns-mx-timeout-a-ok", "deferred", 2, "4.4.3 .*no answer"),
    # Without end.
    Case("D31", "dns-cname-loop", "deferred", 2, "4.4.3 .*alias"),
    Case("D31", "dns-cname-chain", "deferred", 2, "4.4.3 .*alias"),
    Case("D31", "dns-mx-cname", "delivered"),
    Case("D31", "dns-manymx", "deferred", 2, "refused", "connect"),
    Case("D31", "dns-manya", "deferred", 2, "refused", "connect"),
    Case("D31", "dns-slow", "delivered", (1, 2)),
    # Hosts inside.
    Case("D32", "dns-private", "bounced", says="5.1.2 .*no public address", zone=GUARDED),
    Case("D32", "dns-loopback", "bounced", says="5.1.2 .*no public address", zone=GUARDED),
    Case("D32", "dns-unspecified", "bounced", says="5.1.2 .*no public address", zone=GUARDED),
    Case("D32", "dns-unspecified", "bounced", says="5.1.2 .*no public address"),
    Case("D32", "dns-mx-ip", "bounced", says="5.1.2 .*no public address", zone=GUARDED),
    Case("D32", "dns-mx-ip", "delivered"),
    Case("D32", "ok", "bounced", says="5.4.6 .*loops back", zone=LOOPING),
    # The next one, in the same attempt.
    Case("D33", "dns-v6hole", "delivered"),
    Case("D33", "dns-deadfirst", "delivered"),
    Case("D33", "dns-equal-mx", "delivered"),
    Case("D33", "dns-mx-bad-a", "delivered"),
    # Odd answers.
    Case("D34", "dns-truncated", "delivered"),
    Case("D34", "dns-ttl0", "delivered"),
    Case("D34", "dns-ttl-huge", "delivered"),
    Case("D34", "dns-flap", "delivered", (1, 4)),
    Case("D35", "dns-hostile-name", "delivered"),
    Case("D27", "dns-tlsa-mismatch", "delivered"),
)
