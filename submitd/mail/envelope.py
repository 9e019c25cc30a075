"""The envelope (RFC 5321 §2.3.1): who sent it, who gets it, and how it wants to be carried."""

from typing import Literal

import attrs

from submitd.mail.address import Mailbox

BodyType = Literal["7BIT", "8BITMIME", "BINARYMIME"]  # RFC 6152 §3, RFC 3030 §3
Notify = Literal["NEVER", "SUCCESS", "FAILURE", "DELAY"]  # RFC 3461 §4.1


@attrs.frozen(slots=True)
class DeliverBy:
    """By when the message is wanted (RFC 2852).

    :ivar at_s: POSIX time in seconds.
    :ivar mode: `"R"`: return it when it can't be delivered by then; `"N"`: go on, but
        tell the sender.
    :ivar trace: whether the sender wants a report of each relay (`T`).
    """

    at_s: float
    mode: Literal["R", "N"]
    trace: bool = False


@attrs.frozen(slots=True)
class Recipient:
    """One accepted RCPT command.

    :ivar mailbox: where the message shall go.
    :ivar notify: when the sender wants a report (RFC 3461 §4.1); None where it didn't
        say, which means failures and perhaps delays.
    :ivar original: the ORCPT parameter as it came, `"rfc822;bob+40example.net"` with its
        xtext (RFC 3461 §4.2), or None.
    """

    mailbox: Mailbox
    notify: frozenset[Notify] | None = None
    original: str | None = None


@attrs.frozen(slots=True)
class Envelope:
    """What MAIL and RCPT said.

    :ivar reverse_path: the sender, or None for the null reverse-path `<>`, which
        never gets a report (RFC 5321 §4.5.5).
    :ivar recipients: in the order of their RCPT commands; never empty once queued.
    :ivar body: the BODY parameter (RFC 6152, RFC 3030).
    :ivar utf8: SMTPUTF8: addresses or header fields are beyond ASCII (RFC 6531).
    :ivar ret: how much of the message a failure report shall hold (RFC 3461 §4.3).
    :ivar envelope_id: the ENVID parameter as it came, in xtext (RFC 3461 §4.4), or None.
    :ivar require_tls: REQUIRETLS (RFC 8689 §2): only over verified TLS, all the way.
    :ivar tls_optional: the message says `TLS-Required: No` (RFC 8689 §3).
    :ivar hold_until_s: not to be relayed before this POSIX time (RFC 4865), or None.
    :ivar deliver_by: RFC 2852, or None.
    :ivar priority: MT-PRIORITY from -9 to 9 (RFC 6710), 0 as usual.
    """

    reverse_path: Mailbox | None
    recipients: tuple[Recipient, ...]
    body: BodyType = "7BIT"
    utf8: bool = False
    ret: Literal["FULL", "HDRS"] | None = None
    envelope_id: str | None = None
    require_tls: bool = False
    tls_optional: bool = False
    hold_until_s: float | None = None
    deliver_by: DeliverBy | None = None
    priority: int = 0
