"""What a session tells its driver.

The events of the first group need a verdict: the session reads nothing more until
`ServerSession.send` has been given the reply.  The others only inform.
"""

from typing import Literal

import attrs

from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType, Notify
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
    """MAIL (RFC 5321 §4.1.1.2) and its parameters.

    :ivar reverse_path: None for `<>`.
    :ivar size: SIZE in octets (RFC 1870), or None.
    :ivar body: BODY, `"7BIT"` without one (RFC 6152, RFC 3030).
    :ivar utf8: SMTPUTF8 (RFC 6531).
    :ivar ret: RET (RFC 3461 §4.3), or None.
    :ivar envelope_id: ENVID, still in xtext (RFC 3461 §4.4), or None.
    :ivar require_tls: REQUIRETLS (RFC 8689).
    :ivar hold_for_s: HOLDFOR in seconds (RFC 4865), or None.
    :ivar hold_until_s: HOLDUNTIL as POSIX time, or None.
    :ivar deliver_by: BY (RFC 2852), or None.
    :ivar priority: MT-PRIORITY (RFC 6710), 0 without one.
    """

    reverse_path: Mailbox | None
    size: int | None = None
    body: BodyType = "7BIT"
    utf8: bool = False
    ret: Literal["FULL", "HDRS"] | None = None
    envelope_id: str | None = None
    require_tls: bool = False
    hold_for_s: int | None = None
    hold_until_s: float | None = None
    deliver_by: "DeliverByRequest | None" = None
    priority: int = 0


@attrs.frozen(slots=True)
class DeliverByRequest:
    """The BY parameter (RFC 2852 §4).

    :ivar seconds: from the MAIL command on; negative when the time has passed (mode N).
    :ivar mode: `"R"` to have it returned, `"N"` to be told.
    :ivar trace: `T`: a report of each relay.
    """

    seconds: int
    mode: Literal["R", "N"]
    trace: bool


@attrs.frozen(slots=True)
class RcptReceived:
    """RCPT (RFC 5321 §4.1.1.3) and its parameters.

    :ivar mailbox: without its source route; `<postmaster>` has our own domain.
    :ivar notify: NOTIFY (RFC 3461 §4.1), or None.
    :ivar original: ORCPT as it came (RFC 3461 §4.2), or None.
    """

    mailbox: Mailbox
    notify: frozenset[Notify] | None = None
    original: str | None = None


@attrs.frozen(slots=True)
class DataRequested:
    """DATA (RFC 5321 §4.1.1.4), or the first BDAT (RFC 3030): a message is to come."""


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
class TalksTooMuch:
    """A client without a login says much that leads nowhere: let it wait a little."""


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
    | TalksTooMuch
    | SessionClosed
)
