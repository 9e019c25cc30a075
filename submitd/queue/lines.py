"""The lines of the log that tell what became of a message; docs/backends.md lists them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from twisted.logger import Logger

from submitd.interfaces import QueuedMessage
from submitd.mail.address import Mailbox
from submitd.mail.status import DeliveryStatus
from submitd.queue.reports import Concerned

log = Logger()

RECIPIENTS_PER_LINE = 100
"""journald cuts lines at 48 KiB, and what is left then is no JSON."""


def delivery(
    message: QueuedMessage, outcome: Mapping[Mailbox, DeliveryStatus], hop: str, now_s: float
) -> None:
    """What one next hop answered: one line for recipients with the same status.

    :param hop: the key of the next hop, for those that give themselves no name.
    :param now_s: POSIX time in seconds.
    """
    if len(outcome) == 1:
        ((mailbox, status),) = outcome.items()
        _delivery(message, status, [str(mailbox)], hop, now_s)
        return
    by_status: dict[DeliveryStatus, list[str]] = {}
    for mailbox, status in outcome.items():
        by_status.setdefault(status, []).append(str(mailbox))
    for status, addresses in by_status.items():
        for some in _lines_of(addresses):
            _delivery(message, status, some, hop, now_s)


def _lines_of(addresses: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(addresses), RECIPIENTS_PER_LINE):
        yield addresses[first : first + RECIPIENTS_PER_LINE]


def _delivery(
    message: QueuedMessage, status: DeliveryStatus, addresses: Sequence[str], hop: str, now_s: float
) -> None:
    log.info(
        "{queue_id} to {recipients}: {action} by {next_hop}, {diagnostic}",
        line="delivery",
        queue_id=message.id,
        login=message.login,
        next_hop=status.next_hop or hop,
        recipients=", ".join(addresses),
        recipients_count=len(addresses),
        action=status.action.value,
        status=status.status,
        diagnostic=status.diagnostic,
        attempt=message.attempts + 1,
        delay_s=round(now_s - message.arrived_s, 3),
    )


def expired(message: QueuedMessage, recipients: Iterable[Mailbox]) -> None:
    """Recipients that were delayed for the last time."""
    for some in _lines_of([*map(str, recipients)]):
        log.info(
            "{queue_id} to {recipients}: expired after {attempt} attempts",
            line="expired",
            queue_id=message.id,
            login=message.login,
            recipients=", ".join(some),
            attempt=message.attempts + 1,
        )


def report(message: QueuedMessage, stored: QueuedMessage, about: Concerned) -> None:
    """The report *about* recipients of *message* that was *stored*."""
    actions = sorted({status.action.value for _one, status in about})
    log.info(
        "{report_id} tells {recipients} about {queue_id}: {actions}",
        line="report",
        queue_id=message.id,
        login=message.login,
        report_id=stored.id,
        recipients=", ".join(str(one.mailbox) for one in stored.envelope.recipients),
        actions=", ".join(actions),
        about=", ".join(str(one.mailbox) for one, _status in about),
    )


def no_report(message: QueuedMessage, recipients: Iterable[Mailbox]) -> None:
    """Recipients that have failed without a sender who could be told."""
    for some in _lines_of([*map(str, recipients)]):
        log.warn(
            "{queue_id} to {recipients}: failed, and there is no sender to tell",
            line="no-report",
            queue_id=message.id,
            login=message.login,
            recipients=", ".join(some),
        )
