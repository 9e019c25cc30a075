"""The log's lines about a message: no longer than log collectors take."""

from collections.abc import Callable

import pytest
from twisted.logger import capturedLogs

from submitd.logs import as_json
from submitd.mail.address import Mailbox
from submitd.mail.status import Action, DeliveryStatus
from submitd.queue import lines
from submitd.testing import queued

MANY = [Mailbox(f"somebody.or.other.{number}", "example.net") for number in range(250)]
MESSAGE = queued(b"Subject: x\r\n\r\n")
RELAYED = DeliveryStatus(Action.RELAYED, "2.0.0", "250 2.0.0 Ok", "hop.example", True)
JOURNALD_OCTETS = 48 * 1024


@pytest.mark.parametrize(
    "tell",
    [
        lambda: lines.delivery(MESSAGE, dict.fromkeys(MANY, RELAYED), "hop", 0.0),
        lambda: lines.expired(MESSAGE, MANY),
        lambda: lines.no_report(MESSAGE, MANY),
    ],
)
def test_many_recipients_take_several_lines(tell: Callable[[], None]) -> None:
    """Each of many recipients is in one line, and no line is so long that journald cuts it."""
    with capturedLogs() as events:
        tell()
    assert len(events) == 3
    named = ", ".join(event["recipients"] for event in events)
    assert named.split(", ") == [str(mailbox) for mailbox in MANY]
    assert max(len(as_json(event, "2026-11-22T00:00:00", 0)) for event in events) < JOURNALD_OCTETS
