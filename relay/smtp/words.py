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
READY_FOR_TLS = reply(220, "2.0.0 Ready to start TLS")
AUTHENTICATED = reply(235, "2.7.0 Authentication successful")

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
BAD_RET = reply(501, "5.5.4 Error: RET must be FULL or HDRS")
BAD_ENVID = reply(501, "5.5.4 Error: ENVID must be printable xtext of 100 characters at most")
BAD_NOTIFY = reply(501, "5.5.4 Error: NOTIFY must be NEVER or some of SUCCESS,FAILURE,DELAY")
BAD_ORCPT = reply(501, "5.5.4 Error: ORCPT must be a type, a semicolon and printable xtext")
BAD_HOLD = reply(501, "5.5.4 Error: HOLDFOR must be seconds or HOLDUNTIL a date and time, not both")
HOLD_TOO_LONG = reply(501, "5.5.4 Error: a message can not be held for so long")
UNKNOWN_PARAMETER = reply(555, "5.5.4 Error: parameter not recognized")
NOT_ASCII = reply(553, "5.6.7 Error: address is not ASCII and SMTPUTF8 was not agreed on")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3 Too many recipients")
NO_NULL_SENDER = reply(550, "5.7.1 Error: mail from the null sender is not accepted here")
ONE_RECIPIENT = reply(452, "4.5.3 Error: one recipient only for mail from the null sender")
REQUIRETLS_NEEDS_TLS = reply(530, "5.7.10 Error: REQUIRETLS needs a session with TLS")

BAD_CHUNK = reply(501, "5.5.4 Error: syntax: BDAT size [LAST]")
CHUNK_TOO_BIG = reply(552, "5.3.4 Error: chunk exceeds maximum message size by far")

STARTTLS_FIRST = reply(530, "5.7.0 Error: Must issue a STARTTLS command first")
TLS_ALREADY = reply(503, "5.5.1 Error: TLS is in use already")

LOGIN_WANTED = reply(530, "5.7.0 Error: authentication Required")
STARTTLS_BEFORE_AUTH = reply(538, "5.7.11 Error: Must issue a STARTTLS command first")
AUTH_NEEDS_TLS = reply(538, "5.7.11 Error: authentication needs TLS")
NO_IDENTITY_CHANGES = reply(503, "5.5.1 Error: No identity changes permitted")
UNKNOWN_MECHANISM = reply(504, "5.5.4 Error: Unrecognized authentication type")
AUTH_SYNTAX = reply(501, "5.5.4 Error: syntax: AUTH mechanism [initial-response]")
BAD_BASE64 = reply(501, "5.5.2 Error: Invalid base64 in authentication")
AUTH_CANCELLED = reply(501, "5.7.0 Authentication aborted")
AUTH_TOO_LONG = reply(500, "5.5.6 Error: Authentication exchange line is too long")

XCLIENT_DENIED = reply(550, "5.7.0 Error: Not allowed")
BAD_XCLIENT = reply(501, "5.5.4 Error: bad XCLIENT attribute")

TOO_MANY_UNKNOWN = reply(421, "4.7.0 Error: too many unrecognized commands")
TOO_MANY_ANONYMOUS = reply(421, "4.7.0 Error: too many unauthenticated commands")
TOO_MANY_COMMANDS = reply(421, "4.7.0 Error: too many commands")
TOO_MANY_ERRORS = reply(421, "4.7.0 Error: too many errors")
TOO_MANY_BAD_RECIPIENTS = reply(421, "4.7.0 Error: too many bad recipients")
TOO_MANY_MESSAGES = reply(421, "4.7.0 Error: too many messages in one session")
TEXT_BEHIND_STARTTLS = reply(421, "4.7.0 Error: commands sent behind STARTTLS")
BDAT_NOT_OFFERED = reply(502, "5.5.1 Error: BDAT is not offered")
HTTP = reply(421, "4.7.0 HTTP requests not allowed")
TEXT_TOO_EARLY = reply(421, "4.7.0 Error: text sent before 354")


def greeting(hostname: str) -> Reply:
    return reply(220, f"{hostname} ESMTP Welcome to Zonerelay")


def hello(hostname: str, client: str) -> Reply:
    """To HELO."""
    return reply(250, f"{hostname} Nice to meet you, [{client}]")


def extended_hello(hostname: str, client: str, offers: list[str]) -> Reply:
    """To EHLO."""
    return reply(250, f"{hostname} Nice to meet you, [{client}]", *offers)


def too_soon(hostname: str) -> Reply:
    """To who speaks before the greeting."""
    return reply(421, f"{hostname} You talk too soon")


def chunk_taken(octets: int) -> Reply:
    """To a chunk that isn't the last (RFC 3030 2)."""
    return reply(250, f"2.0.0 {octets} octets received")


def declared_too_big(max_size: int) -> Reply:
    return reply(552, f"5.3.4 Error: message exceeds fixed maximum message size {max_size}")
