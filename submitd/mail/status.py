"""What became of a recipient: RFC 3463 status codes and RFC 3464 actions."""

import enum

import attrs


class Action(enum.Enum):
    """What was done with the message for one recipient (RFC 3464 §2.3.3)."""

    RELAYED = "relayed"
    """The next hop answered 2yz and is responsible now."""
    DELIVERED = "delivered"
    """Stored in its final place, as by a Maildir."""
    EXPANDED = "expanded"
    """Handed to the members of a list, who are many."""
    DELAYED = "delayed"
    """Not yet; it will be tried again."""
    FAILED = "failed"
    """Never; the sender gets a report."""


@attrs.frozen(slots=True)
class DeliveryStatus:
    """The outcome of one attempt for one recipient.

    :ivar action: what was done.
    :ivar status: enhanced status code, such as `"5.1.1"` (RFC 3463).
    :ivar diagnostic: in words for the log, the queue and the report: the next
        hop's own reply where there was one (`"550 5.1.1 No such user"`).
    :ivar next_hop: host name or other name of who answered, if anybody did.
    :ivar smtp_reply: True when *diagnostic* is an SMTP reply (Diagnostic-Code type `smtp`).
    :ivar dsn_passed_on: True when the next hop has taken over what the sender asked about
        reports (RFC 3461 §5.2.1): a report of success is its business then, not ours.
    :ivar deliver_by_passed_on: True when the next hop knows of deliver-by times (RFC 2852), so
        that it tells the sender when such a time has passed.
    """

    action: Action
    status: str
    diagnostic: str
    next_hop: str | None = None
    smtp_reply: bool = False
    dsn_passed_on: bool = False
    deliver_by_passed_on: bool = False

    @property
    def is_final(self) -> bool:
        """Whether nothing is left to do for the recipient."""
        return self.action is not Action.DELAYED
