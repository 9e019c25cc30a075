"""What a `ClientSession` tells its driver."""

from collections.abc import Mapping

import attrs

from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType
from submitd.mail.status import DeliveryStatus
from submitd.smtp.client_replies import Stage


@attrs.frozen(slots=True)
class Hello:
    """EHLO or HELO was answered: the session is ready for whatever the driver chooses."""


@attrs.frozen(slots=True)
class StartTls:
    """The next hop awaits the handshake now; go on with `ClientSession.secured`."""


@attrs.frozen(slots=True)
class Authenticated:
    """The login was accepted."""


@attrs.frozen(slots=True)
class Refused:
    """STARTTLS or AUTH was refused; the session is ready as before.

    :ivar stage: which of them.
    :ivar status: DELAYED, with the next hop's words.
    """

    stage: Stage
    status: DeliveryStatus


@attrs.frozen(slots=True)
class InspectionWanted:
    """Look into the content before anything is sent; go on with `ClientSession.inspected`.

    :ivar body: what the content has to become.
    :ivar ascii_header: whether a header beyond ASCII stands in the way.
    """

    body: BodyType
    ascii_header: bool


@attrs.frozen(slots=True)
class ContentWanted:
    """Go on with `ClientSession.content` and `end_of_content`."""


@attrs.frozen(slots=True)
class Finished:
    """A transaction is over.

    :ivar outcome: for each recipient.
    :ivar begun: False when the connection ended before the next hop said anything
        about this transaction: it can be tried on another connection at once.
    """

    outcome: Mapping[Mailbox, DeliveryStatus]
    begun: bool


@attrs.frozen(slots=True)
class Ended:
    """The session is over: close the connection.  No event follows.

    :ivar status: DELAYED, with the reason, or None after an orderly QUIT.
    """

    status: DeliveryStatus | None


Event = (
    Hello | StartTls | Authenticated | Refused | InspectionWanted | ContentWanted | Finished | Ended
)
