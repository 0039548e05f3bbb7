"""What a reply says about us: too much, not from you, or on a blocklist. Pure.

A refusal of one message is that message's affair. These words speak of the address it came from,
and mean all mail that leaves by it for that site. What the table doesn't know is no complaint:
the delivery is deferred or bounced like any other.
"""

from __future__ import annotations

import re
from typing import Literal

Complaint = Literal["rate", "block", "blacklist"]

#: Of a reply this much is read (characters).
READ = 1000

#: Answers to an HTTP request that say it whatever their words: not now, not so soon, not so much (RFC 9110 15.5.9,
#: 8470 5.2, 6585 4). No SMTP host has such codes.
SLOWER = frozenset((408, 425, 429))

_status = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}(?= )").match

# The patterns see lower case, with single blanks. Every gap in them is bounded, so that none takes
# longer than the length of what it reads.
_US = (
    r"(?:\bips?\b|\bhosts?\b|\bclient\b|\bnetwork\b|\bsubnet\b|\bconnections?\b|\bmta\b|\bmail ?server\b|\bisp\b"
    r"|\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b|\[[0-9a-f:.]{3,45}\])"
)
_MANY = r"(?:connections?|sessions|messages|mails|e-?mails|requests|deliveries)"
_OUR_DOMAIN = r"(?:\bsender|\bsending|\bfrom|\byour|\benvelope|\be?mail) domain\b"
_LISTED = r"(?:black-?list|block-?list|listed (?:in|at|on|by)|blocked using)"

#: The first that fits decides; "" is no complaint.
_TABLE: tuple[tuple[Complaint | Literal[""], tuple[str, ...]], ...] = (
    # Codes that providers publish, which say it whatever the words beside them.
    ("rate", (
        r"\[tss?0[12456789]\]", r"\brp-00[1-9]\b", r"\b4\.7\.28\b", r"\brl0000[0-9][0-9]\b", r"\bhl:i(?:cc|fc)\b",
        r"\bofr_?004",
    )),
    ("blacklist", (r"\bbl000001\b",)),
    ("block", (
        r"\[tss?03\]", r"\ba?s31[45]0\b", r"\b(?:sc|dy|ou)-00[1-9]\b", r"\b5\.7\.6(?:0[6-9]|[1-4][0-9])\b",
        r"\bbl0000[0-9][0-9]\b", r"ipcheck\.proofpoint",
    )),
    # Of one message, one recipient, one session: nothing against our address.
    ("", (
        r"\bgr[ae]y-? ?list", r"\bspf\b", r"\bdkim\b", r"\bdmarc\b", r"sender policy framework", r"unauthenticated",
        r"authenticat(?:e|ion)\b", r"\bstarttls\b", r"\bhelo\b", r"\behlo\b", r"\bptr\b", r"reverse (?:dns|host)",
        r"\bcannot find your\b",
        r"\brelay(?:ing)?\b.{0,30}?(?:denied|not|prohibited)", r"unable to relay",
        r"\bvirus\b", r"\bmalware\b", r"\battachments?\b", r"\bcontents?\b", r"\bsurbl\b", r"\buribl\b",
        r"\bcontain(?:s|ed|ing)?\b", r"\b(?:message|mail) body\b", r"\burls?\b.{0,40}?listed", r"spam message",
        r"\bsize\b", r"\btoo (?:big|large|long)\b",
        r"\bunknown (?:user|recipient|mailbox|address)", r"\buser unknown\b", r"\bno such\b", r"\bno mailbox\b",
        r"\bnot listed in\b", r"\brecipient address rejected\b", r"\brecipient not\b", r"\breceiving mail\b",
        r"\b(?:mailbox|account|user|recipient)\b(?: <?[^ ]{1,80})? "
        r"(?:(?:is|was|has|been|temporarily|currently) ){0,3}"
        r"(?:blocked|disabled|suspended|inactive|full|over|unavailable|not)\b",
        r"\bmailbox full\b", r"\bover-? ?quota\b", r"\b(?:mailbox|storage|disk|inbox|user)\b.{0,30}?(?:quota|exceed)",
        r"\b(?:user|recipient)s?(?:'s?)? (?:has )?(?:personal )?(?:blocked|black-?list|block-?list)",
        r"\b(?:per|in (?:this|one|a|the same)|for this|on this) (?:session|connection|transaction)\b",
        r"\btoo many (?:recipients\b(?! (?:from|received|per|this|in))|hops|errors|(?:invalid|unknown|bad)\b)",
    )),
    # A list of domains doesn't get better with another address.
    ("block", (_OUR_DOMAIN + r".{0,60}?" + _LISTED, r"\bdbl\b")),
    ("blacklist", (
        r"spamhaus", r"spamcop", r"barracuda ?(?:reputation|networks|central)", r"\bsorbs\b", r"invaluement",
        r"\bivmsip", r"\bcbl\b", r"abuseat\b", r"uceprotect", r"\bpsbl\b", r"mailspike", r"spamrats", r"\bnixspam\b",
        r"dronebl", r"spfbl", r"dnsw?bl", r"\brbls?\b", r"\btrend micro\b", r"backscatterer", r"hostkarma", r"gbudb",
        r"\b(?:sbl|xbl|pbl|zen)(?:-xbl)?\.",
        r"black-? ?list(?:ed|ing)", r"\b(?:on|in) (?:a|the|several|one of the) (?:public )?(?:black|block)-? ?lists?\b",
        r"\bblock-? ?listed\b", r"\blisted (?:in|at|on|by)\b",
    )),
    ("rate", (
        r"\btoo many (?:(?:concurrent|simultaneous|parallel|open|active|new|recent|smtp|tcp|tls) ){0,3}" + _MANY,
        r"\btoo many recipients (?:from|received|per|this|in)\b", r"\btoo much (?:e-?)?mail\b", r"\btoo much traffic\b",
        r"\btoo (?:fast|quickly|frequent(?:ly)?|often)\b", r"\bslow(?:ing)? down\b", r"\bthrott?l(?:ed|ing)\b",
        r"\brate-? ?(?:limit|control|exceed)", r"\b(?:connection|sending|message|mail|delivery) rate\b",
        r"\bfrequency (?:limit|exceed)",
        r"\b(?:connection|message|mail|sending|hourly|daily) (?:limit|quota|threshold)\b",
        r"\b(?:maximum|limits?|exceed(?:s|ed|ing)?|reached|how many)\b.{0,40}?"
        r"\b(?:messages|connections|sessions|e-?mails|rate)\b",
        r"\b(?:unusual|excessive|abnormal|high|unexpected) (?:rate|volume|number|amount)\b",
        r"\bexcessive connections\b",
        r"\b(?:connections|messages|mails?|e-?mails?|recipients)(?: (?:received|allowed|sent))? "
        r"(?:per|this|in an?|in the last) (?:second|minute|hour|day)\b",
        r"\bserver (?:is )?(?:too )?busy\b", r"\bfrom\b.{0,60}? temporarily deferred\b",
        r"\b4\.7\.0 try again later, closing connection",
    )),
    # Who says when it may come again has not refused it.
    ("", (r"\b(?:try|retry|back)\b.{0,20}? in \d+ ?(?:s|m|h)", r"\bfor \d+ (?:seconds|minutes)")),
    ("block", (
        _US + r".{0,80}?\b(?:blocked|banned|denied|refused|not (?:allowed|accepted|permitted|welcome))\b",
        _US + r".{0,40}?\brejected (?:due to|for|because of|by) (?:local )?(?:policy|reputation|abuse|spam)",
        r"\b(?:block(?:ed|ing)|bann(?:ed|ing)|refus(?:e|ed|ing)|reject(?:ed|ing))\b.{0,60}?"
        r"\byour (?:ip|host|network|server|isp)",
        r"\bbanned send(?:er|ing)\b", r"\btemporarily blocked\b", r"\bblocked for (?:spam|abuse)",
        r"\bon our (?:internal )?(?:black|block)-? ?list", r"\b(?:poor|bad|low|negative)(?: [a-z]{1,20})? reputation\b",
        r"\breputation\b.{0,60}?\b(?:poor|bad|low)\b", r"\b(?:due to|because of|based on)\b.{0,30}?\breputation\b",
        r"\btoo many spams?\b", r"\bspam (?:originating |coming )?from your\b",
        r"\bunsolicited (?:mail|messages|email)\b.{0,30}?\bfrom your (?:ip|network|server)",
        r"\bnot accept(?:ing|ed)?\b.{0,30}?\bfrom (?:you|your|this|[0-9\[])",
        r"\b(?:dynamic|dial-?up|residential|transient)(?:[/ ][a-z]{1,20})? (?:ip|address|host|pool)",
        r"\bip=[^ ]{1,60} - a problem occurred\b", _OUR_DOMAIN + r".{0,60}?\b(?:blocked|banned|reputation)\b",
    )),
)  # fmt: skip

_patterns = [
    (kind, re.compile("|".join(f"(?:{pattern})" for pattern in patterns), re.ASCII).search)
    for kind, patterns in _TABLE
]


def complaint(code: int, text: str) -> Complaint | Literal[""]:
    """What a reply of a host says about mail from our address: "rate", too much of it; "block", its
    policy is against it; "blacklist", the address is on a list that many read; "", nothing.

    `text` may be anything; its lines may have been joined by blanks or line ends.
    """
    if not 400 <= code <= 599:
        return ""
    if code in SLOWER:
        return "rate"
    text = " ".join(text[:READ].lower().split())
    status = _status(text)
    if status is not None:
        # A reply of several lines repeats it in each, in the midst of a phrase.
        first = status.group()
        text = first + text[len(first) :].replace(f" {first} ", " ")
    for kind, found in _patterns:
        if found(text):
            return kind
    return ""
