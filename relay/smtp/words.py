"""What the server says, apart from what `states` and `body` refuse (RFC 5321 4.2.3, RFC 3463)."""

from __future__ import annotations

from relay.smtp.reply import Reply, reply

ACCEPTED = reply(250, "2.1.0 Accepted")
RECIPIENT_ACCEPTED = reply(250, "2.1.5 Accepted")
GO_AHEAD = reply(354, "End data with <CR><LF>.<CR><LF>")
FLUSHED = reply(250, "2.0.0 Flushed")
OK = reply(250, "2.0.0 OK")
VRFY = reply(252, "2.5.0 Cannot verify the user, but will take mail for it")
HELP = reply(214, "2.0.0 See https://www.rfc-editor.org/rfc/rfc5321")
BYE = reply(221, "2.0.0 Bye")

UNKNOWN = reply(500, "5.5.1 Error: command not recognized")
LINE_TOO_LONG = reply(500, "5.5.2 Error: command line too long")
CONTROL = reply(500, "5.5.2 Error: control character in command, lines end with CRLF")
HELO_SYNTAX = reply(501, "5.5.4 Error: syntax: HELO hostname")
EHLO_SYNTAX = reply(501, "5.5.4 Error: syntax: EHLO hostname")
NO_ARGUMENT = reply(501, "5.5.4 Error: command takes no argument")
BAD_SENDER = reply(501, "5.1.7 Error: Bad sender address syntax")
BAD_RECIPIENT = reply(501, "5.1.3 Error: Bad recipient address syntax")
BAD_PARAMETER = reply(501, "5.5.4 Error: bad parameter syntax")
BAD_SIZE = reply(501, "5.5.4 Error: SIZE must be a number of bytes")
BAD_BODY = reply(501, "5.5.4 Error: BODY must be 7BIT or 8BITMIME")
UNKNOWN_PARAMETER = reply(555, "5.5.4 Error: parameter not recognized")
NOT_ASCII = reply(553, "5.6.7 Error: address is not ASCII and SMTPUTF8 is not offered")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3 Too many recipients")

TOO_MANY_UNKNOWN = reply(421, "4.7.0 Error: too many unrecognized commands")
HTTP = reply(421, "4.7.0 HTTP requests not allowed")
TEXT_TOO_EARLY = reply(421, "4.7.0 Error: text sent before 354")


def greeting(hostname: str) -> Reply:
    return reply(220, f"{hostname} ESMTP Welcome to Zonerelay")


def hello(hostname: str, client: str) -> Reply:
    """To HELO."""
    return reply(250, f"{hostname} Nice to meet you, [{client}]")


def extended_hello(hostname: str, client: str, max_size: int) -> Reply:
    """To EHLO; SIZE 0 says that there is no limit (RFC 1870 4)."""
    return reply(
        250,
        f"{hostname} Nice to meet you, [{client}]",
        "PIPELINING",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
        f"SIZE {max_size}",
    )


def declared_too_big(max_size: int) -> Reply:
    return reply(552, f"5.3.4 Error: message exceeds fixed maximum message size {max_size}")
