"""The relay backend `discard`: takes all mail and keeps none, for trials and load tests."""

from collections.abc import Mapping, Sequence

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from zope.interface import implementer

from submitd.interfaces import IRelayBackend, IRelayBackendFactory, QueuedMessage, Site
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Recipient
from submitd.mail.status import Action, DeliveryStatus

log = Logger()

DISCARDED = DeliveryStatus(Action.DELIVERED, "2.0.0", "discarded", "discard")


@attrs.frozen(kw_only=True)
class DiscardOptions:
    """`[relay]` with `backend = "discard"`: all mail is accepted and thrown away."""


@implementer(IRelayBackend)
class DiscardBackend:
    """Says of every message that it was delivered, without reading it."""

    def next_hop(self, recipient: Recipient) -> str:
        """One for all."""
        return "discard"

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[Recipient]
    ) -> Deferred[Mapping[Mailbox, DeliveryStatus]]:
        """Every recipient is done with, at once."""
        return succeed({recipient.mailbox: DISCARDED for recipient in recipients})

    def stop(self) -> None:
        """Nothing to close."""


@implementer(IRelayBackendFactory)
class DiscardFactory:
    """The relay backend `discard`."""

    name = "discard"
    options = DiscardOptions

    def build(self, options: DiscardOptions, site: Site) -> DiscardBackend:
        """Make one; the log is told, lest it be left so by mistake."""
        log.warn("The relay backend is discard: all mail is accepted and thrown away")
        return DiscardBackend()
