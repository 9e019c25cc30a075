"""The report to the sender of a message that has failed (RFC 3464), ready for the queue."""

import secrets
from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from submitd.interfaces import QueuedMessage, Report
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import DeliveryStatus
from submitd.message.dsn import ORIGINAL_HEADER_OCTETS, ReportFacts, failure_report
from submitd.message.headers import find_end

log = Logger()


async def report_failure(
    message: QueuedMessage,
    sender: Mailbox,
    failed: Mapping[Mailbox, DeliveryStatus],
    hostname: str,
    now_s: float,
) -> Report:
    """Make the report about the recipients that have *failed*, for the *sender*.

    A message that can't be read is reported without its header.

    :param hostname: our own name.
    :param now_s: POSIX time in seconds.
    """
    try:
        beginning = message.content.read(0, 2 * ORIGINAL_HEADER_OCTETS)
        if isinstance(beginning, Deferred):
            beginning = await beginning
    except OSError:
        log.failure("The header of {queue_id} can't be read", queue_id=message.id)
        beginning = b""
    end = find_end(beginning)
    facts = ReportFacts(
        hostname=hostname,
        recipient=sender,
        queue_id=message.id,
        arrived_s=message.arrived_s,
        now_s=now_s,
        utc_offset_minutes=0,
        random=secrets.token_hex(16),
    )
    content = failure_report(facts, failed, beginning if end < 0 else beginning[:end])
    return Report(Envelope(None, (Recipient(sender),)), content)
