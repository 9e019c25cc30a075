"""What becomes of an attempt: tried again, expired, reported on; written to the store once."""

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from submitd.interfaces import IQueueStore, QueuedMessage, Report
from submitd.mail.address import Mailbox
from submitd.mail.status import Action, DeliveryStatus
from submitd.queue import lines
from submitd.queue.reports import Concerned, concerned, make_report, may_report_success
from submitd.queue.schedule import DeliveryOptions, is_late, is_long_delayed, retry_at

log = Logger()

RECORD_WAITS_S = (5.0, 10.0, 30.0, 60.0)
"""How long to leave a store alone that could not record an outcome; the last one repeats."""
SUCCESS = {Action.DELIVERED, Action.RELAYED, Action.EXPANDED}


@attrs.define(slots=True, eq=False)
class Attempt:
    """One attempt at one message.

    :ivar message: the message.
    :ivar octets: how much memory it is counted for.
    :ivar groups: how many groups of recipients have not been answered for.
    :ivar begun: whether a delivery was begun for any of them.
    :ivar outcome: what is known so far.
    :ivar retry_at_s: when the recipients that are left will be tried again.
    :ivar report: what the sender is told.
    :ivar about: about whom.
    :ivar records: how often the store could not take the outcome.
    """

    message: QueuedMessage
    octets: int
    groups: int = 1
    begun: bool = False
    outcome: dict[Mailbox, DeliveryStatus] = attrs.field(factory=dict)
    retry_at_s: float | None = None
    report: Report | None = None
    about: Concerned = attrs.field(factory=list)
    records: int = 0


class Outcomes:
    """Decides what the outcome of an attempt leads to, and has the store write it down."""

    def __init__(
        self,
        store: IQueueStore,
        options: DeliveryOptions,
        clock: IReactorTime,
        random: Callable[[], float],
        hostname: str,
        *,
        recorded: Callable[[Attempt, QueuedMessage | None], None],
        ended: Callable[[Attempt], None],
    ) -> None:
        """Prepare; for the first parameters see `submitd.queue.delivery.Delivery`.

        :param recorded: called once an outcome is durable, with the report if there is one.
        :param ended: called instead when it could not be recorded and `stop` has come.
        """
        self._store = store
        self._options = options
        self._clock = clock
        self._random = random
        self._hostname = hostname
        self._recorded = recorded
        self._ended = ended
        self._running = True
        self._unrecorded: dict[Attempt, IDelayedCall] = {}

    def stop(self) -> None:
        """Try a last time to record what could not be recorded."""
        self._running = False
        for attempt, timer in list(self._unrecorded.items()):
            timer.cancel()
            self._record(attempt)

    def conclude(self, attempt: Attempt) -> None:
        """All that was begun has been answered for: decide what comes next, write it down."""
        message = attempt.message
        now_s = self._clock.seconds()
        # For recipients that `stop` left out, who have not had this attempt.
        attempt.retry_at_s = None if self._running else now_s
        actions = {status.action for status in attempt.outcome.values()}
        if actions <= SUCCESS and not may_report_success(message.envelope):
            self._record(attempt)
            return
        delayed = late = False
        if Action.DELAYED in actions:
            attempt.retry_at_s = retry_at(message, now_s, self._options, self._random)
            if attempt.retry_at_s is None:
                attempt.retry_at_s = None if self._running else now_s
                self._expire(attempt)
            else:
                delayed = is_long_delayed(message, now_s, self._options)
                late = is_late(message, now_s)
        self._report(attempt, concerned(message.envelope, attempt.outcome, delayed, late), now_s)

    def _report(self, attempt: Attempt, about: Concerned, now_s: float) -> None:
        """Tell the sender, if there is one and anything to tell, and write it all down."""
        message = attempt.message
        sender = message.envelope.reverse_path
        if sender is None:  # RFC 5321 §4.5.5: no report about a report
            failed = [
                mailbox
                for mailbox, status in attempt.outcome.items()
                if status.action is Action.FAILED
            ]
            if failed:
                lines.no_report(message, failed)
        if sender is None or not about:
            self._record(attempt)
            return
        if any(status.action is Action.DELAYED for _one, status in about):
            message.delay_told_s = now_s
        attempt.about = about
        report = Deferred.fromCoroutine(
            make_report(message, sender, about, self._hostname, now_s, self._options)
        )
        report.addCallbacks(
            self._report_made,
            self._report_not_made,
            callbackArgs=(attempt,),
            errbackArgs=(attempt,),
        )
        report.addErrback(self._broken)

    def _expire(self, attempt: Attempt) -> None:
        """Turn delayed into failed (RFC 3463 §3.5, X.4.7: delivery time expired)."""
        delayed = {
            mailbox: attrs.evolve(status, action=Action.FAILED, status="5.4.7")
            for mailbox, status in attempt.outcome.items()
            if status.action is Action.DELAYED
        }
        attempt.outcome.update(delayed)
        lines.expired(attempt.message, delayed)

    def _report_made(self, report: Report, attempt: Attempt) -> None:
        attempt.report = report
        self._record(attempt)

    def _report_not_made(self, failure: Failure, attempt: Attempt) -> None:
        """Write the outcome down all the same: those who got the message shall not get two."""
        log.failure("No report about {queue_id}", failure, queue_id=attempt.message.id)
        self._record(attempt)

    def _record(self, attempt: Attempt) -> None:
        self._unrecorded.pop(attempt, None)
        try:
            recorded = self._store.record(
                attempt.message, attempt.outcome, attempt.retry_at_s, attempt.report
            )
        except Exception:
            recorded = fail()
        recorded.addCallbacks(
            self._was_recorded, self._not_recorded, callbackArgs=(attempt,), errbackArgs=(attempt,)
        )
        recorded.addErrback(self._broken)

    def _was_recorded(self, report: QueuedMessage | None, attempt: Attempt) -> None:
        if report is not None:
            lines.report(attempt.message, report, attempt.about)
        self._recorded(attempt, report)

    def _not_recorded(self, failure: Failure, attempt: Attempt) -> None:
        """Try to record it again: another delivery would give it to its recipients twice."""
        queue_id = attempt.message.id
        log.failure("The outcome of {queue_id} can't be recorded", failure, queue_id=queue_id)
        if not self._running:
            self._ended(attempt)
            return
        wait_s = RECORD_WAITS_S[min(attempt.records, len(RECORD_WAITS_S) - 1)]
        attempt.records += 1
        self._unrecorded[attempt] = self._clock.callLater(wait_s, self._record, attempt)

    def _broken(self, failure: Failure) -> None:
        log.failure("Delivery has a fault of its own", failure)
