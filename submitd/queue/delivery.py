"""Delivery from the queue: at once where it can be, again and again until it expires.

A fresh message is delivered from memory, without reading it back.  Where bounds don't allow
that, it is forgotten and read from the store when there is room.  What an attempt came to
is written to the store once, when all its recipients have been answered for (`outcomes`).
"""

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from submitd.interfaces import IQueueStore, IRelayBackend, QueuedMessage
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.queue import lines
from submitd.queue.lookout import Lookout
from submitd.queue.outcomes import Attempt, Outcomes
from submitd.queue.parking import Parking
from submitd.queue.schedule import DeliveryOptions, is_too_late, turn_s
from submitd.queue.slots import Slots

__all__ = ["Delivery", "DeliveryOptions"]

log = Logger()

ROOM = 2000
"""How many messages are held at most: under way, and waiting for their next hop's turn."""
# A longer message is stored in a file and read in pieces of about this size.
MEMORY_PER_MESSAGE_BYTES = 262_144

FAULT = DeliveryStatus(Action.DELAYED, "4.3.0", "internal fault of the relay backend")
TOO_LATE = DeliveryStatus(
    Action.FAILED, "5.4.7", "not delivered by the time that the sender has set"
)
SILENCE = DeliveryStatus(Action.DELAYED, "4.3.0", "the relay backend gave no outcome")

Outcome = Mapping[Mailbox, DeliveryStatus]


class Delivery:
    """Takes messages from the store to the relay backend; one object a store."""

    def __init__(
        self,
        store: IQueueStore,
        backend: IRelayBackend,
        options: DeliveryOptions,
        clock: IReactorTime,
        random: Callable[[], float],
        hostname: str,
    ) -> None:
        """Prepare; nothing happens before `start`.

        :param store: to be started before this, and stopped after it.
        :param backend: to be stopped after this.
        :param clock: the only source of time; its seconds are POSIX time.
        :param random: gives a number from 0 to 1, for the jitter of retries.
        :param hostname: our own name, for reports.
        """
        self._backend = backend
        self._options = options
        self._clock = clock
        self._running = False
        self._slots: Slots[tuple[Attempt, Sequence[Recipient]]] = Slots(
            options.concurrency, options.concurrency_per_next_hop
        )
        self._serving = False  # what waited is being begun
        self._held: dict[str, Attempt] = {}
        self._held_bytes = 0
        self._parking = Parking(self._slots.weight_waiting)
        self._outcomes = Outcomes(
            store, options, clock, random, hostname, recorded=self._recorded, ended=self._release
        )
        self._lookout = Lookout(
            store,
            clock,
            held=(self._held, self._parking),
            has_room=self._has_room,
            take=self._take,
            changed=self._forget_waiting,
            quiet=self._stop_when_idle,
        )
        self._stopped: Deferred[None] | None = None
        self._limit: IDelayedCall | None = None

    # ---- from outside -------------------------------------------------------------

    def start(self) -> None:
        """Begin with what the store has, and go on until `stop`."""
        self._running = True
        self._lookout.start()

    def submitted(self, message: QueuedMessage) -> None:
        """Deliver a message that was stored just now; does not raise.

        To be called when the commit's Deferred fires, in the same turn: later, a look
        into the store could have found, delivered and forgotten it already.
        """
        if not self._running or message.id in self._held:
            return
        hold_until_s = message.envelope.hold_until_s
        if hold_until_s is not None and hold_until_s > self._clock.seconds():
            self._lookout.look_at(hold_until_s)
        elif self._has_room(1):
            self._take(message)
        else:
            self._lookout.look()

    def stop(self, limit_s: float) -> Deferred[None]:
        """Begin no more deliveries.

        :param limit_s: how long to wait for those under way.
        :return: fires when they have ended and are recorded, or when the limit has passed.
        """
        self._running = False
        self._lookout.stop()
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        self._limit = self._clock.callLater(limit_s, self._give_up)
        self._outcomes.stop()
        self._parking.clear()
        for _, (attempt, _recipients) in self._slots.clear():
            self._leave_out(attempt)
        self._stop_when_idle()
        return stopped

    # ---- attempts -----------------------------------------------------------------

    def _has_room(self, messages: int) -> bool:
        if not self._held:
            return True
        if len(self._held) + messages > ROOM or self._parking.is_full:
            return False
        return self._held_bytes < self._options.memory_bytes

    def _room_left(self) -> int:
        """What could still be held, by the weight of messages."""
        memory_bytes = self._options.memory_bytes
        used = self._held_bytes + len(self._held) * (memory_bytes // ROOM)
        return max(0, memory_bytes - used)

    def _take(self, message: QueuedMessage) -> None:
        attempt = Attempt(message, min(message.content.size, MEMORY_PER_MESSAGE_BYTES))
        recipients = message.envelope.recipients
        groups: dict[str, Sequence[Recipient]]
        try:
            if len(recipients) == 1:
                groups = {self._backend.next_hop(recipients[0]): recipients}
            else:
                groups = self._grouped(recipients)
        except Exception:
            log.failure("No next hop for {queue_id}: the backend failed", queue_id=message.id)
            attempt.outcome = {recipient.mailbox: FAULT for recipient in recipients}
            self._hold(attempt)
            self._outcomes.conclude(attempt)
            return
        if message.envelope.priority <= 0 and self._parking.takes(
            message.id, groups, self._room_left()
        ):
            return
        self._hold(attempt)
        attempt.groups = len(groups)
        for hop, group in groups.items():
            self._enter(hop, attempt, group)

    def _hold(self, attempt: Attempt) -> None:
        self._held[attempt.message.id] = attempt
        self._held_bytes += attempt.octets

    def _grouped(self, recipients: Sequence[Recipient]) -> dict[str, Sequence[Recipient]]:
        groups: dict[str, list[Recipient]] = {}
        for recipient in recipients:
            groups.setdefault(self._backend.next_hop(recipient), []).append(recipient)
        return dict(groups)

    def _enter(self, hop: str, attempt: Attempt, recipients: Sequence[Recipient]) -> None:
        priority = attempt.message.envelope.priority
        begins = self._slots.enter(
            hop,
            (attempt, recipients),
            turn=turn_s(self._clock.seconds(), priority),
            priority=priority,
            weight=attempt.octets + self._options.memory_bytes // ROOM,
        )
        if begins:
            self._begin(hop, attempt, recipients)

    def _begin(self, hop: str, attempt: Attempt, recipients: Sequence[Recipient]) -> None:
        attempt.begun = True
        answer: Deferred[Outcome]
        if is_too_late(attempt.message, self._clock.seconds()):
            answer = succeed({recipient.mailbox: TOO_LATE for recipient in recipients})
        else:
            try:
                answer = self._backend.deliver(attempt.message, recipients)
            except Exception:
                answer = fail()
        which = (hop, attempt, recipients)
        answer.addCallbacks(
            self._answered, self._not_answered, callbackArgs=which, errbackArgs=which
        )
        answer.addErrback(self._broken)

    def _not_answered(
        self, failure: Failure, hop: str, attempt: Attempt, recipients: Sequence[Recipient]
    ) -> None:
        log.failure("Delivery of {queue_id} broke off", failure, queue_id=attempt.message.id)
        outcome = {recipient.mailbox: FAULT for recipient in recipients}
        self._answered(outcome, hop, attempt, recipients)

    def _answered(
        self, outcome: Outcome, hop: str, attempt: Attempt, recipients: Sequence[Recipient]
    ) -> None:
        self._slots.leave(hop)
        try:
            whole = {one.mailbox: outcome.get(one.mailbox, SILENCE) for one in recipients}
        except Exception:
            log.failure("No outcome for {queue_id}", queue_id=attempt.message.id)
            whole = {one.mailbox: FAULT for one in recipients}
        lines.delivery(attempt.message, whole, hop, self._clock.seconds())
        attempt.outcome.update(whole)
        attempt.groups -= 1
        if attempt.groups == 0:
            self._outcomes.conclude(attempt)
        if not self._serving:
            self._serve()
        if self._parking and self._parking.releases(hop, self._room_left()):
            self._lookout.look()

    def _serve(self) -> None:
        """Begin what waited; a loop even where the backend answers at once."""
        self._serving = True
        try:
            while (turn := self._slots.next()) is not None:
                hop, (attempt, recipients) = turn
                self._begin(hop, attempt, recipients)
        finally:
            self._serving = False

    def _forget_waiting(self) -> None:
        """Let go of what only waits: it may have been held or deleted, and is read again."""
        self._parking.clear()
        for hop, (attempt, recipients) in self._slots.clear():
            if attempt.begun:
                self._enter(hop, attempt, recipients)
            else:
                self._leave_out(attempt)

    def _leave_out(self, attempt: Attempt) -> None:
        """One group has no part in the attempt; the store still has its recipients."""
        attempt.groups -= 1
        if attempt.groups == 0:
            if attempt.begun:
                self._outcomes.conclude(attempt)
            else:
                self._release(attempt)

    # ---- done with ----------------------------------------------------------------

    def _recorded(self, attempt: Attempt, report: QueuedMessage | None) -> None:
        if attempt.retry_at_s is not None:
            self._lookout.look_at(attempt.retry_at_s)
        self._release(attempt)
        if report is not None:
            self.submitted(report)

    def _release(self, attempt: Attempt) -> None:
        del self._held[attempt.message.id]
        self._held_bytes -= attempt.octets
        self._lookout.let_go(attempt.message.id)
        if self._stopped is not None:
            self._stop_when_idle()

    # ---- the end ------------------------------------------------------------------

    def _stop_when_idle(self) -> None:
        if not self._held and not self._lookout.busy:
            self._end_stop()

    def _give_up(self) -> None:
        log.warn("Stopped with {count} messages under way", count=len(self._held))
        self._end_stop()

    def _end_stop(self) -> None:
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            if self._limit is not None and self._limit.active():
                self._limit.cancel()
            stopped.callback(None)

    def _broken(self, failure: Failure) -> None:
        log.failure("Delivery has a fault of its own", failure)
