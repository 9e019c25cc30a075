"""What a session tells its driver.

The events of the first group need a verdict: the session reads nothing more until
`ServerSession.send` has been given the reply.  The others only inform.
"""

import attrs

from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType
from submitd.smtp.replies import Reply

# ---- a verdict is wanted ----------------------------------------------------------


@attrs.frozen(slots=True)
class LoginReceived:
    """An AUTH exchange gave credentials.

    :ivar mechanism: its name (`"PLAIN"`).
    :ivar login: the authentication identity.
    :ivar password: in clear, never to be logged or kept.
    :ivar authorization: whom to act for; empty for the login itself (RFC 4422 §2).
    """

    mechanism: str
    login: str
    password: str = attrs.field(repr=False)
    authorization: str


@attrs.frozen(slots=True)
class MailReceived:
    """MAIL (RFC 5321 §4.1.1.2).

    :ivar reverse_path: None for `<>`.
    :ivar body: the BODY parameter, `"7BIT"` without one (RFC 6152).
    :ivar size: the SIZE parameter in octets (RFC 1870), or None.
    """

    reverse_path: Mailbox | None
    body: BodyType
    size: int | None


@attrs.frozen(slots=True)
class RcptReceived:
    """RCPT (RFC 5321 §4.1.1.3); source routes are dropped, `<postmaster>` has our own domain."""

    mailbox: Mailbox


@attrs.frozen(slots=True)
class DataRequested:
    """DATA (RFC 5321 §4.1.1.4)."""


@attrs.frozen(slots=True)
class EndOfData:
    """The message is whole.

    :ivar bare_line_ends: how many bare CR and LF became CRLF.
    :ivar eight_bit: whether any octet was above 127.
    :ivar refused: the reply with which the session itself refuses the message (too
        big, NUL, bare line ends), or None; the verdict must then be this one.
    """

    bare_line_ends: int
    eight_bit: bool
    refused: Reply | None


# ---- for information --------------------------------------------------------------


@attrs.frozen(slots=True)
class HelloReceived:
    """EHLO (*extended*) or HELO; the envelope is dropped, if there was one."""

    name: str
    extended: bool


@attrs.frozen(slots=True)
class StartTlsAccepted:
    """220 has been given: send it, begin the handshake, then call `ServerSession.secured`."""


@attrs.frozen(slots=True)
class ContentReceived:
    """A piece of the message: dots unstuffed, all lines ended by CRLF."""

    data: bytes


@attrs.frozen(slots=True)
class TransactionReset:
    """RSET; the envelope is dropped, if there was one."""


@attrs.frozen(slots=True)
class SessionClosed:
    """Send what is left and close.

    :ivar reason: for the log.
    """

    reason: str


Event = (
    LoginReceived
    | MailReceived
    | RcptReceived
    | DataRequested
    | EndOfData
    | HelloReceived
    | StartTlsAccepted
    | ContentReceived
    | TransactionReset
    | SessionClosed
)
