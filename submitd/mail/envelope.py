"""The envelope (RFC 5321 §2.3.1): who sent it, who gets it, and how it wants to be carried."""

from typing import Literal

import attrs

from submitd.mail.address import Mailbox

BodyType = Literal["7BIT", "8BITMIME"]  # RFC 6152 §3


@attrs.frozen(slots=True)
class Recipient:
    """One accepted RCPT command.

    :ivar mailbox: where the message shall go.
    """

    mailbox: Mailbox


@attrs.frozen(slots=True)
class Envelope:
    """What MAIL and RCPT said.

    :ivar reverse_path: the sender, or None for the null reverse-path `<>`, which
        never gets a report (RFC 5321 §4.5.5).
    :ivar recipients: in the order of their RCPT commands; never empty once queued.
    :ivar body: the BODY parameter (RFC 6152).
    """

    reverse_path: Mailbox | None
    recipients: tuple[Recipient, ...]
    body: BodyType = "7BIT"
