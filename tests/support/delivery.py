"""A delivery from the queue on the bench: a store and a backend that do as told, a clock."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from submitd.interfaces import QueuedMessage, Report
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope
from submitd.mail.status import Action, DeliveryStatus
from submitd.queue.delivery import Delivery, DeliveryOptions
from submitd.testing import MemoryStore, RecordingBackend, envelope

NOW_S = 1_700_000_000.0
BUSY = DeliveryStatus(Action.DELAYED, "4.2.1", "450 4.2.1 busy", "mx.example.net", True)
REFUSED = DeliveryStatus(Action.FAILED, "5.1.1", "550 5.1.1 no such user", "mx.example.net", True)
CONTENT = b"From: ann@example.org\r\nSubject: hello\r\nMessage-ID: <1@example.org>\r\n\r\nhello\r\n"


class Store(MemoryStore):
    """A store in memory whose steps can be counted, held up and made to fail.

    :ivar looks: how often it was asked what is due.
    :ivar faults: exceptions for the next calls of `record`.
    :ivar late: while a list, `due` answers only when its Deferreds are fired.
    :ivar changed: the next answer of `changed_elsewhere`.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.looks = 0
        self.faults: list[Exception] = []
        self.late: list[Deferred[None]] | None = None
        self.changed = False

    def due(self, now_s: float, limit: int, busy: frozenset[str]) -> Deferred[Any]:
        """As in memory; what is found is decided now, even if it is told late."""
        self.looks += 1
        found = super().due(now_s, limit, busy)
        if self.late is None:
            return found
        later: Deferred[Any] = Deferred()
        later.addCallback(lambda _: found)
        self.late.append(later)
        return later

    def record(
        self,
        message: QueuedMessage,
        outcome: Mapping[Mailbox, DeliveryStatus],
        retry_at_s: float | None,
        report: Report | None = None,
    ) -> Deferred[QueuedMessage | None]:
        """As in memory, unless a fault is due."""
        if self.faults:
            return fail(self.faults.pop(0))
        return super().record(message, outcome, retry_at_s, report)

    def changed_elsewhere(self) -> Deferred[bool]:
        """What the test said, once."""
        changed, self.changed = self.changed, False
        return succeed(changed)


class Bench:
    """A delivery with all that it touches.

    :ivar events: what was logged.
    """

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.clock.advance(NOW_S)
        self.store = Store(self.clock)
        self.backend = RecordingBackend()
        self.options = DeliveryOptions(**options)
        self.events: list[LogEvent] = []
        self.delivery = self.another()

    def another(self) -> Delivery:
        """A delivery over the same store and backend, not started."""
        return Delivery(
            self.store, self.backend, self.options, self.clock, Random(1).random, "mail.example.org"
        )

    def submit(self, *recipients: str, sender: str | None = "ann@example.org") -> QueuedMessage:
        """Store a message and hand it over, as a submission does."""
        message = self.store.add(envelope(*recipients, sender=sender), "ann", CONTENT)
        self.delivery.submitted(message)
        return message

    def send(self, what: Envelope, content: bytes = CONTENT) -> QueuedMessage:
        """Store a message with this envelope and hand it over."""
        message = self.store.add(what, "ann", content)
        self.delivery.submitted(message)
        return message

    def pass_time(self, seconds: int) -> None:
        """Let time pass, second by second."""
        for _ in range(seconds):
            self.clock.advance(1)

    def hold(self, count: int) -> list[Deferred[Any]]:
        """Let the next deliveries wait until these are fired."""
        waiting: list[Deferred[Any]] = [Deferred() for _ in range(count)]
        self.backend.script.extend(waiting)
        return waiting

    @property
    def recipients(self) -> list[str]:
        """The recipients of each delivery so far, comma-separated."""
        return [",".join(delivered.addresses) for delivered in self.backend.delivered]

    def lines(self, kind: str) -> list[LogEvent]:
        """The log lines of one kind."""
        return [event for event in self.events if event.get("line") == kind]

    def faults(self) -> list[LogEvent]:
        """The failures that were logged."""
        return [event for event in self.events if "log_failure" in event]


def with_options(**options: Any) -> Any:
    """Run a test with options of its own."""
    return pytest.mark.parametrize("bench", [options], indirect=True)
