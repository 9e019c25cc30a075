"""Reports to the sender (RFC 3461, RFC 3464): who is told about what, ready for the queue."""

import secrets
from collections.abc import Mapping

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from submitd.interfaces import QueuedMessage, Report
from submitd.mail.address import Mailbox
from submitd.mail.envelope import DeliverBy, Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.message.dsn import ORIGINAL_HEADER_OCTETS, Original, ReportFacts, delivery_report
from submitd.queue.schedule import DeliveryOptions, expires_at

log = Logger()

SMALL_OCTETS = 65_536
"""Up to this size a message that failed comes back whole when its sender didn't say (RET)."""

Concerned = list[tuple[Recipient, DeliveryStatus]]


def may_report_success(envelope: Envelope) -> bool:
    """Whether anybody asked to be told of more than failure and delay; cheap."""
    by = envelope.deliver_by
    if by is not None and (by.trace or by.mode == "N"):
        return True
    return any(one.notify is not None and "SUCCESS" in one.notify for one in envelope.recipients)


def concerned(
    envelope: Envelope, outcome: Mapping[Mailbox, DeliveryStatus], delayed: bool, late: bool
) -> Concerned:
    """The recipients that the sender is to be told about (RFC 3461 §4.1, §5.2).

    :param outcome: of one attempt; it may leave out some recipients.
    :param delayed: whether it is time to tell of a delay.
    :param late: whether the time has come that the sender has set for that (RFC 2852).
    """
    by = envelope.deliver_by
    found: dict[Mailbox, tuple[Recipient, DeliveryStatus]] = {}
    for one in envelope.recipients:
        status = outcome.get(one.mailbox)
        if status is not None and _is_wanted(one, status, delayed, late, by):
            if late and status.action is Action.DELAYED:  # RFC 3463 §3.5: time has expired
                status = attrs.evolve(status, status="4.4.7")
            found.setdefault(one.mailbox, (one, status))
    return list(found.values())


def _is_wanted(
    one: Recipient, status: DeliveryStatus, delayed: bool, late: bool, by: DeliverBy | None
) -> bool:
    notify = one.notify
    if notify is not None and "NEVER" in notify:
        return False
    if status.action is Action.FAILED:
        return notify is None or "FAILURE" in notify
    if status.action is Action.DELAYED:
        # With BY=...;N the sender has asked for this report, whatever NOTIFY has.
        return late or (delayed and (notify is None or "DELAY" in notify))
    if (
        by is not None
        and status.action is Action.RELAYED
        # RFC 2852 §4.1.4: on request, and where nobody would tell of the time any more.
        and (by.trace or (by.mode == "N" and not status.deliver_by_passed_on))
    ):
        return True
    # RFC 3461 §5.2.1: the next hop that knows of NOTIFY tells of success itself.
    asked = notify is not None and "SUCCESS" in notify
    return asked and not (status.action is Action.RELAYED and status.dsn_passed_on)


async def make_report(
    message: QueuedMessage,
    sender: Mailbox,
    about: Concerned,
    hostname: str,
    now_s: float,
    options: DeliveryOptions,
) -> Report:
    """Make the report for the *sender* of *message*.

    A message that can't be read is reported without its header.

    :param about: what `concerned` has found: at least one recipient.
    :param hostname: our own name.
    :param now_s: POSIX time in seconds.
    """
    envelope = message.envelope
    facts = ReportFacts(
        hostname=hostname,
        recipient=sender,
        queue_id=message.id,
        arrived_s=message.arrived_s,
        now_s=now_s,
        utc_offset_minutes=0,
        random=secrets.token_hex(16),
        envelope_id=envelope.envelope_id,
        retry_until_s=expires_at(message, options),
        deliver_by_s=None if envelope.deliver_by is None else envelope.deliver_by.at_s,
        utf8=envelope.utf8,
    )
    failed = any(status.action is Action.FAILED for _one, status in about)
    whole = failed and _returns_whole(message, options)
    content = delivery_report(facts, about, await _original(message, whole))
    return Report(
        Envelope(
            None,
            (Recipient(sender),),
            "7BIT" if content.isascii() else "8BITMIME",
            utf8=not sender.is_ascii,
            # RFC 8689 §5: a report tells too much to be less protected than its message.
            require_tls=envelope.require_tls,
            priority=envelope.priority,
        ),
        content,
    )


def _returns_whole(message: QueuedMessage, options: DeliveryOptions) -> bool:
    """Whether a failed message comes back with all of its content (RFC 3461 §4.3)."""
    envelope = message.envelope
    if envelope.body == "BINARYMIME":  # it would keep the report from most next hops
        return False
    if envelope.require_tls:  # RFC 8689 §5: even where RET=FULL asks for it
        return False
    if envelope.ret is None:
        return bool(message.content.size <= min(SMALL_OCTETS, options.return_bytes))
    return envelope.ret == "FULL" and bool(message.content.size <= options.return_bytes)


async def _original(message: QueuedMessage, whole: bool) -> Original:
    octets = message.content.size if whole else 2 * ORIGINAL_HEADER_OCTETS
    try:
        content = message.content.read(0, octets)
        if isinstance(content, Deferred):
            content = await content
    except OSError:
        log.failure("{queue_id} can't be read for a report", queue_id=message.id)
        return Original(b"")
    return Original(content, whole)
