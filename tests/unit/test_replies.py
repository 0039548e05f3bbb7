"""What the shipped rules take for a complaint about us, in the style of what hosts say."""

from __future__ import annotations

import time
from typing import Literal

from twisted.trial.unittest import SynchronousTestCase

from relay.bounce.diagnosis import Complaint
from relay.bounce.rulebook import Rulebook
from relay.bounce.rulefile import shipped
from relay.bounce.said import READ, said

REPLIES = {
    "rate": (
        "421 4.7.0 mx.example.net Error: too many connections from 192.0.2.7",
        "421 4.7.0 Try again later, closing connection. a12si3456.8 - gsmtp",
        "421 4.7.28 An unusual 4.7.28 rate of mail comes from your 4.7.28 IP address, which is rate limited",
        "421 4.7.28 There is an unusual rate of mail with your SPF domain [example.com]",
        "421 RP-001 (COL004) Some messages from 192.0.2.7 weren't sent, try later: there are limits per hour and day",
        "421 RP-003 The limit for this connection's address was reached",
        "451 4.7.650 The mail server [192.0.2.7] is temporarily rate limited due to IP reputation (S775)",
        "451 4.7.500 Server busy. Please try again later from [192.0.2.7]",
        "421 4.7.0 [TSS04] Messages from 192.0.2.7 deferred because of unexpected volume or user complaints",
        "421 4.7.1 [TS01] All messages from 192.0.2.7 are deferred for now",
        "421 4.7.1 [TS02] Messages from 192.0.2.7 will be deferred; see our pages",
        "421 4.1.0 192.0.2.7 Throttled - try again later, postmaster.example/codes#RL000001",
        "450 4.7.1 Error: too much mail from 192.0.2.7",
        "421 4.3.2 Connection rate limit exceeded.",
        "421 4.3.2 Too many open connections.",
        "421 Too many concurrent SMTP connections from this IP address; please try again later.",
        "454 Throttling failure: maximum sending rate is exceeded",
        "421 mx7 ME Trop de connexions. Too many connections, slow down. OFR004_104",
        "550 Ip frequency limited, see our help pages",
        "452 4.1.0 Too many recipients received this hour from 192.0.2.7",
        "451 4.7.1 You have exceeded the maximum number of messages, come back later",
        "450 4.7.0 Please slow down, you are sending too fast",
        "421 4.4.5 Too many simultaneous connections, retry in 60 seconds",
        "421 HL:ICC too many at once 192.0.2.7",
        "421 Too many sessions opened",
        "450 4.7.1 Hourly limit reached for 2001:db8::1",
        "450 4.2.1 Mail from 192.0.2.7 temporarily deferred",
    ),
    "block": (
        "550 5.7.1 Unfortunately, messages from [192.0.2.7] weren't sent; the network is on our block list (S3150).",
        "550 5.7.1 Messages from 192.0.2.7 were not sent. S3140",
        "550 5.7.1 Messages from [192.0.2.7] were not sent (AS3150)",
        "550 IP 192.0.2.7 is blocked by the provider, see its page",
        "550 SC-001 Mail of 192.0.2.7 rejected for reasons of policy",
        "550 DY-001 Mail rejected: this looks like a dynamic address",
        "550 5.7.606 Access denied, banned sending IP [192.0.2.7]",
        "550 5.7.511 Access denied, banned sender[192.0.2.7]",
        "550 5.7.708 Service unavailable. Access denied, traffic not accepted from this IP",
        "421 4.7.1 [TS03] All messages from 192.0.2.7 are deferred for good; retrying will not succeed",
        "554 5.7.0 Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.7",
        "554 Your access to this system was rejected due to the sending MTA's poor reputation",
        "550 5.7.1 This message is suspicious due to the very low reputation of the sending domain",
        "421 4.7.0 Suspicious due to the very low 4.7.0 reputation of the sending 4.7.0 IP address",
        "554 5.7.1 <mx.example.com[192.0.2.7]>: Client host rejected: Access denied",
        "554 IP=192.0.2.7 - A problem occurred. (Ask your postmaster for help)",
        "554 IP=192.0.2.7 - Dialup/transient IP not allowed.",
        "421 Too many spams from your IP (192.0.2.7), see our postmaster's page",
        "451 4.7.1 192.0.2.7 is temporarily blocked by policy",
        "554 5.7.1 Refused. Your IP address is blocked; ask for it to be reset",
        "550 5.7.1 We refuse mail coming from your ISP",
        "550 5.7.1 The sender domain example.com is blacklisted",
        "554 5.7.1 Service unavailable; sender domain example.com blocked using dbl.spamhaus.org",
        "554 5.7.1 Mail from your network is not welcome here",
        "550 5.7.1 This server is blocking your server because of abuse",
        "554 5.1.0 192.0.2.7 block for spam, postmaster.example/codes#BL000000",
    ),
    "blacklist": (
        "554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen.spamhaus.org",
        "550 5.7.1 Mail from 192.0.2.7 refused, see https://www.spamhaus.org/sbl/query/SBL1",
        "554 5.7.1 Host 192.0.2.7 found at xbl.example-mirror.net, go away",
        "550 5.7.1 [BL21] Connections aren't accepted from 192.0.2.7: the IP is in Spamhaus's list",
        "451 4.7.1 Client host [192.0.2.7] blocked using bl.spamcop.net; Blocked - see their page",
        "554 Service unavailable; Client host [mx.example.com] blocked using Barracuda Reputation",
        "550 192.0.2.7 is listed at dnsbl.sorbs.net",
        "554 5.7.1 rejected, your IP is on invaluement's list",
        "550 5.7.1 Your address is in the CBL, see www.abuseat.org",
        "554 mx.example.net ESMTP not available; IP address is block listed",
        "550 5.7.1 Your IP 192.0.2.7 is blacklisted",
        "550 5.7.1 [2001:db8::7] is currently listed in an abuse database",
        "553 5.3.0 DNSBL:RBL 521 <192.0.2.7> is blocked",
        "554 5.7.1 Blacklisted by uceprotect, level 1",
        "421 4.7.1 Your host is on a public blocklist",
        "554 5.7.1 blocked: 192.0.2.7 in psbl.example",
        "554 5.7.1 Your IP (192.0.2.7) is in a blacklist",
        "550 Blocked by RBL",
        "554 mx.example.net 192.0.2.7 refused, postmaster.example/codes#BL000001",
        "450 DT:RBL mx.example.net 192.0.2.7",
    ),
    "": (
        "451 4.7.1 Greylisting in action, please come back later",
        "450 4.2.0 <b@example.net>: Recipient address rejected: Greylisted, try later",
        "451 4.7.1 Graylisted: this host was not seen before, too many unknown connections",
        "450 4.7.1 Please try again in 300 seconds",
        "450 4.7.1 New client host blocked, try again in 5 minutes",
        "451 4.3.0 Temporary failure, please try again later",
        "452 4.2.2 The mailbox is full",
        "552 5.2.2 b@example.net is over quota, its messages exceeded the limit",
        "452 4.2.2 The recipient's inbox is out of storage, its quota exceeded",
        "550 5.1.1 <b@example.net>: Recipient address rejected: User unknown in virtual mailbox table",
        "550 5.4.1 Recipient address rejected: Access denied. [BN1.example]",
        "550 5.1.1 No such user here",
        "550 5.1.1 b is not listed in the directory",
        "550 5.2.1 The account b@example.net is temporarily blocked",
        "550 5.7.1 You are on the recipient's blacklist",
        "450 4.2.1 The user you write to is receiving mail at a rate that allows no more messages",
        "550 5.7.26 Your mail is blocked because the sender is unauthenticated",
        "421 4.7.26 Your mail is rate limited because it isn't passing SPF or DKIM",
        "550 5.7.1 Rejected by the DMARC policy of example.com, the IP is not allowed",
        "550 5.7.23 SPF validation failed, 192.0.2.7 is not allowed to send",
        "554 5.7.1 Message rejected: its content looks like spam",
        "550 spam message rejected. Please visit our pages",
        "552 5.7.0 Message blocked: an attachment may be harmful",
        "550 5.7.1 This message has been blocked",
        "554 5.7.1 The message contains a URL listed in multi.surbl.org",
        "554 5.7.1 Virus found, connection refused",
        "550 permanent failure for one or more recipients (b@example.net:blocked)",
        "452 4.5.3 Too many recipients",
        "421 4.7.0 mx.example.net Error: too many errors",
        "421 4.7.0 Too many messages in this session",
        "552 5.3.4 Message size exceeds fixed limit",
        "554 5.4.6 Too many hops",
        "554 5.7.1 <b@example.org>: Relay access denied",
        "550 5.7.25 The IP address has no PTR record, connection refused",
        "450 4.3.2 The queue's disk is out of space",
        "421 4.3.2 Service shutting down",
        "550 5.1.8 Sender address rejected: Domain not found",
        "530 5.7.0 Must issue a STARTTLS command first",
        "503 5.5.1 Bad sequence of commands",
        "550",
        "450 4.7.1 Client host rejected: cannot find your hostname",
        "550 5.7.1 High probability of spam",
        "421 Reverse DNS failure: try again later",
        "450 MI:DMC mx.example.net: more in this connection than there may be",
        "550 5.7.1 Sender is not allowed to send to this group",
        "550 Administrative prohibition - envelope blocked",
    ),
}  # fmt: skip


RULES = Rulebook(shipped())


def complaint(code: int, text: str) -> Complaint | Literal[""]:
    return RULES.diagnosis(said(text, code)).complaint


class RepliesTests(SynchronousTestCase):
    def test_what_they_say(self) -> None:
        wrong = [
            (kind, found, reply)
            for kind, replies in REPLIES.items()
            for reply in replies
            if (found := complaint(int(reply[:3]), reply[4:])) != kind
        ]
        self.assertEqual(wrong, [])
        self.assertGreater(sum(map(len, REPLIES.values())), 60)

    def test_case_and_line_ends_make_no_difference(self) -> None:
        for kind, replies in REPLIES.items():
            for reply in replies:
                self.assertEqual(complaint(int(reply[:3]), reply[4:].upper().replace(" ", " \r\n")), kind, reply)

    def test_no_more_is_read_than_said(self) -> None:
        self.assertEqual(complaint(421, "x" * READ + " too many connections"), "")
        self.assertEqual(complaint(421, "too many connections " + "x" * 10_000_000), "rate")

    def test_no_text_takes_long(self) -> None:
        """What makes a pattern begin at each character and end at none (CPU time: others may have the machine)."""
        pieces = ("ip ", "host ", "1.2.3.", "from ", "your domain ", "limit ", "mailbox is ", "reputation ", "[::")
        for piece in pieces:
            complaint(550, piece)
        begun = time.process_time()
        for piece in pieces:
            self.assertIn(complaint(550, piece * READ), ("", "rate", "block"))
        self.assertLess(time.process_time() - begun, 1.0)
