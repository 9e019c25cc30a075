"""Replies (RFC 5321 §4.2) as named values; no handler writes one out by hand.

Enhanced status codes are those of RFC 3463 and of the registry of RFC 5248; RFC 4954
§6 gives those of AUTH.  RFC 2034 §4 exempts the greeting and the replies to EHLO and
HELO, and RFC 5321 gives intermediate replies (334, 354) no class to report.
"""

import attrs


def _encode(reply: "Reply") -> bytes:
    prefix = f"{reply.status} " if reply.status else ""
    *first, last = reply.lines
    text = "".join(f"{reply.code}-{prefix}{line}\r\n" for line in first)
    return f"{text}{reply.code} {prefix}{last}\r\n".encode("ascii", "replace")


@attrs.frozen(slots=True)
class Reply:
    """One reply, of one line or more.

    :ivar code: the three-digit reply code.
    :ivar status: the enhanced status code put before each line's text (RFC 2034
        §4), or None where there is none (greeting, EHLO, 334, 354).
    :ivar lines: the texts, without code, status code or line ends; ASCII.
    :ivar encoded: the bytes for the wire, made once.
    """

    code: int
    status: str | None
    lines: tuple[str, ...]
    encoded: bytes = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(_encode, takes_self=True)
    )

    @property
    def is_positive(self) -> bool:
        """Whether the command was done or may go on (2yz, 3yz)."""
        return self.code < 400

    def __str__(self) -> str:
        """The reply in one line, as logs and reports show it."""
        return " ".join(filter(None, (str(self.code), self.status, *self.lines)))


def reply(code: int, status: str | None, *lines: str) -> Reply:
    """Make a Reply; see there for the parameters."""
    return Reply(code, status, lines)


# ---- done -------------------------------------------------------------------------
HELP = reply(
    214, "2.0.0", "Commands: AUTH BDAT DATA EHLO HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY"
)
READY_FOR_TLS = reply(220, "2.0.0", "Ready to start TLS")
BYE = reply(221, "2.0.0", "Bye")
LOGGED_IN = reply(235, "2.7.0", "Authentication successful")
OK = reply(250, "2.0.0", "Ok")
SENDER_OK = reply(250, "2.1.0", "Sender ok")
SENDER_OK_PRIORITY_LOWERED = reply(250, "2.3.6", "Sender ok; priority lowered")  # RFC 6710 §6
RECIPIENT_OK = reply(250, "2.1.5", "Recipient ok")
CANNOT_VERIFY = reply(252, "2.0.0", "Cannot VRFY; send the message and see")
START_MAIL_INPUT = reply(354, None, "End data with <CR><LF>.<CR><LF>")

# ---- not now ----------------------------------------------------------------------
TOO_MANY_ERRORS = reply(421, "4.7.0", "Too many errors")
TOO_MUCH_JUNK = reply(421, "4.7.0", "Too many commands without a message")
TOO_MANY_FAILED_LOGINS = reply(421, "4.7.0", "Too many failed logins")
TOO_MANY_CONNECTIONS = reply(421, "4.3.2", "Too many connections; try again soon")
TOO_MANY_FROM_ADDRESS = reply(421, "4.7.0", "Too many connections from your address")
TOO_MANY_NEW_CONNECTIONS = reply(421, "4.7.0", "Too many new connections from your address")
TOO_MANY_FROM_NETWORK = reply(421, "4.7.0", "Too many connections from your network")
TOO_MANY_MESSAGES = reply(421, "4.5.3", "Too many messages on one connection; connect again")
TIMEOUT = reply(421, "4.4.2", "Silent or too slow for too long")
SHUTTING_DOWN = reply(421, "4.3.2", "Server is stopping; try again soon")
STORE_FULL = reply(452, "4.3.1", "No room for the message; try again later")
TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients")
LOCAL_ERROR = reply(451, "4.3.0", "Local error; try again later")
AUTH_UNAVAILABLE = reply(454, "4.7.0", "Login cannot be checked now; try again later")

# ---- bad commands -----------------------------------------------------------------
UNKNOWN_COMMAND = reply(500, "5.5.1", "Unknown command")
LINE_TOO_LONG = reply(500, "5.5.2", "Line too long")
AUTH_LINE_TOO_LONG = reply(500, "5.5.6", "Authentication exchange line too long")
BARE_LINE_END = reply(500, "5.5.2", "Lines must end in CRLF, and hold no bare CR or LF")
BAD_CHARACTER = reply(500, "5.5.2", "Commands must be printable ASCII, or UTF-8 in addresses")
NO_ARGUMENT = reply(501, "5.5.4", "This command takes no argument")
NEEDS_ARGUMENT = reply(501, "5.5.4", "This command needs an argument")
BAD_HELO_NAME = reply(501, "5.5.4", "Give your host name or address literal")
BAD_MAIL_SYNTAX = reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]")
BAD_RCPT_SYNTAX = reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
BAD_REVERSE_PATH = reply(501, "5.1.7", "Bad sender address syntax")
BAD_FORWARD_PATH = reply(501, "5.1.3", "Bad recipient address syntax")
BAD_PARAMETER = reply(501, "5.5.4", "Bad parameter value")
HELD_TOO_LONG = reply(501, "5.5.4", "A message may not be held that long")
REPEATED_PARAMETER = reply(501, "5.5.4", "Parameter given twice")
BAD_BDAT_SYNTAX = reply(501, "5.5.4", "Syntax: BDAT octets [LAST]")
BAD_BASE64 = reply(501, "5.5.2", "Not base64")
BAD_AUTH_RESPONSE = reply(501, "5.5.2", "Malformed authentication response")
AUTH_CANCELLED = reply(501, "5.7.0", "Authentication cancelled")
NOT_IMPLEMENTED = reply(502, "5.5.1", "Command not implemented")
BAD_SEQUENCE = reply(503, "5.5.1", "Bad sequence of commands")
EHLO_FIRST = reply(503, "5.5.1", "Say EHLO first")
HELO_CANNOT_LOG_IN = reply(503, "5.5.1", "Say EHLO: after HELO there is no login, so no mail")
MAIL_FIRST = reply(503, "5.5.1", "Say MAIL first")
NESTED_MAIL = reply(503, "5.5.1", "A sender is given already; RSET drops it")
TLS_ALREADY = reply(503, "5.5.1", "TLS is active already")
LOGGED_IN_ALREADY = reply(503, "5.5.1", "Already authenticated")
BDAT_BEGUN = reply(503, "5.5.1", "A message has begun with BDAT; go on with it or say RSET")
BINARY_NEEDS_BDAT = reply(503, "5.5.1", "BODY=BINARYMIME needs BDAT")
UNKNOWN_MECHANISM = reply(504, "5.5.4", "Unknown authentication mechanism")
UNKNOWN_PARAMETER = reply(555, "5.5.4", "Unknown parameter")

# ---- refused ----------------------------------------------------------------------
STARTTLS_FIRST = reply(530, "5.7.0", "Say STARTTLS first")
AUTH_REQUIRED = reply(530, "5.7.0", "Authentication required")
BAD_CREDENTIALS = reply(535, "5.7.8", "Authentication failed")
ENCRYPTION_REQUIRED = reply(538, "5.7.11", "Encryption required: say STARTTLS first")
MESSAGE_TOO_BIG = reply(552, "5.3.4", "Message too big")
SENDER_NOT_YOURS = reply(553, "5.7.1", "You may not send as this address")
NON_ASCII_ADDRESS = reply(553, "5.6.7", "A non-ASCII address needs the SMTPUTF8 parameter")
SENDER_NOT_QUALIFIED = reply(554, "5.1.8", "Sender domain must be fully qualified")
RECIPIENT_NOT_QUALIFIED = reply(554, "5.1.2", "Recipient domain must be fully qualified")
NOT_SMTP = reply(554, "5.5.1", "This port speaks SMTP; TLS begins with STARTTLS here")
NO_VALID_RECIPIENTS = reply(554, "5.5.1", "No valid recipients")
DATA_BEHIND_STARTTLS = reply(554, "5.5.1", "Nothing may follow STARTTLS before the handshake")
NUL_IN_MESSAGE = reply(554, "5.6.0", "Message holds a NUL")
BARE_LINE_END_IN_MESSAGE = reply(554, "5.6.0", "Message holds a bare CR or LF")
