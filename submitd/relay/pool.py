"""Connections to one next hop: kept, reused, bounded; deliveries wait in order."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.smtp.client_events import Finished
from submitd.smtp.errors import LocalProtocolError
from submitd.transport.client import ClientConnection
from submitd.transport.next_hop import Unreachable

Outcome = Mapping[Mailbox, DeliveryStatus]
Connect = Callable[[Callable[[ClientConnection], None]], "Deferred[ClientConnection]"]

# After an attempt to connect has failed while other connections stand: perhaps the
# next hop allows no more of them, and asking again for each message won't help.
PAUSE_S = 5.0

_log = Logger()


@attrs.define(eq=False)
class _Job:
    envelope: Envelope
    recipients: Sequence[Recipient]
    content: Any
    result: "Deferred[Outcome]" = attrs.field(factory=Deferred)
    retried: bool = False

    def answer(self, status: DeliveryStatus) -> None:
        """*status* is the outcome for all its recipients."""
        self.result.callback({recipient.mailbox: status for recipient in self.recipients})


class ConnectionPool:
    """Delivers messages to one next hop over as few connections as do.

    :param connect: makes a connection; called with what to call when it is gone.
    :param next_hop: its name, for statuses.
    :param connections: most at one time, those under construction included.
    :param messages_per_connection: after so many a connection is closed.
    :param idle_s: seconds after which an unused connection is closed.
    """

    def __init__(
        self,
        connect: Connect,
        clock: IReactorTime,
        next_hop: str,
        connections: int,
        messages_per_connection: int,
        idle_s: float,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._next_hop = next_hop
        self._bound = connections
        self._messages = messages_per_connection
        self._idle_s = idle_s
        self._attempts: set[Deferred[ClientConnection]] = set()
        self._open: set[ClientConnection] = set()
        self._idle: list[ClientConnection] = []  # the last one is used first
        self._waiting: deque[_Job] = deque()
        self._retries: deque[_Job] = deque()  # only for a connection that is new
        self._no_attempt_before_s = 0.0
        self._serving = False
        self._stopped: Deferred[None] | None = None

    def deliver(
        self, envelope: Envelope, recipients: Sequence[Recipient], content: Any
    ) -> "Deferred[Outcome]":
        """Send one message, at once or when its turn comes.

        :param recipients: those of the envelope that are meant; at least one.
        :param content: provides `IContent`.
        :returns: a Deferred that doesn't fail.
        """
        job = _Job(envelope, recipients, content)
        if self._stopped is not None:
            self._answer_stopped(job)
        else:
            self._waiting.append(job)
            self._serve()
        return job.result

    def stop(self) -> "Deferred[None]":
        """Close what is idle, delay what waits, finish what is under way.

        The Deferred fires when the last connection is gone.
        """
        if self._stopped is None:
            self._stopped = Deferred()
            for jobs in (self._waiting, self._retries):
                while jobs:
                    self._answer_stopped(jobs.popleft())
            for attempt in list(self._attempts):
                attempt.cancel()
            idle, self._idle = self._idle, []
            for connection in idle:
                connection.close()
            self._check_stopped()
        return self._stopped

    def _answer_stopped(self, job: _Job) -> None:
        reason = "the server is stopping"
        status = DeliveryStatus(Action.DELAYED, "4.3.2", reason, self._next_hop)
        job.answer(status)

    def _check_stopped(self) -> None:
        if self._stopped is None or self._stopped.called:
            return
        if not (self._open or self._attempts):
            self._stopped.callback(None)

    # ---- connections ------------------------------------------------------------------

    def _serve(self) -> None:
        """Give idle connections what waits, and make new ones for the rest."""
        if self._serving:  # called from within: the loops below go on
            return
        self._serving = True
        while self._waiting and self._idle:
            connection = self._idle.pop()
            if connection.is_idle:
                self._start(connection, self._waiting.popleft())
        while self._may_connect():
            attempt = self._connect(self._lost)
            self._attempts.add(attempt)
            attempt.addCallbacks(
                self._opened, self._failed, callbackArgs=(attempt,), errbackArgs=(attempt,)
            )
        self._serving = False

    def _may_connect(self) -> bool:
        attempts = len(self._attempts)
        if attempts + len(self._open) >= self._bound:
            return False
        if attempts < len(self._retries):
            return True
        if self._open and self._clock.seconds() < self._no_attempt_before_s:
            return False
        return attempts < len(self._retries) + len(self._waiting)

    def _opened(self, connection: ClientConnection, attempt: "Deferred[Any]") -> None:
        self._attempts.discard(attempt)
        self._open.add(connection)
        self._free(connection)

    def _failed(self, failure: Failure, attempt: "Deferred[Any]") -> None:
        self._attempts.discard(attempt)
        status = self._reason(failure)
        if self._open:
            self._no_attempt_before_s = self._clock.seconds() + PAUSE_S
        elif not self._attempts:
            # Nothing else is there to wait for.
            jobs = [*self._retries, *self._waiting]
            self._retries.clear()
            self._waiting.clear()
            for job in jobs:
                job.answer(status)
        if self._retries:
            job = self._retries.popleft()
            job.answer(status)
        self._check_stopped()

    def _reason(self, failure: Failure) -> DeliveryStatus:
        if isinstance(failure.value, Unreachable):
            return failure.value.status
        _log.failure("fault while connecting to {next_hop}", failure, next_hop=self._next_hop)
        return DeliveryStatus(Action.DELAYED, "4.3.0", "internal fault", self._next_hop)

    def _lost(self, connection: ClientConnection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._serve()
        self._check_stopped()

    def _free(self, connection: ClientConnection) -> None:
        """What to do next with a connection that has nothing under way."""
        if not connection.is_idle:
            return  # it is about to be lost
        if connection.deliveries >= self._messages or self._stopped is not None:
            connection.close()
        elif self._retries and connection.deliveries == 0:
            self._start(connection, self._retries.popleft())
        else:
            self._idle.append(connection)
            self._serve()
            if connection in self._idle:
                connection.rest(self._idle_s)

    # ---- deliveries -------------------------------------------------------------------

    def _start(self, connection: ClientConnection, job: _Job) -> None:
        try:
            delivery = connection.deliver(job.envelope, job.recipients, job.content)
        except LocalProtocolError:
            _log.failure("message for {next_hop} cannot be sent", next_hop=self._next_hop)
            status = DeliveryStatus(Action.DELAYED, "4.3.0", "internal fault", self._next_hop)
            job.answer(status)
            self._free(connection)
            return
        delivery.addCallback(self._finished, connection, job)

    def _finished(self, finished: Finished, connection: ClientConnection, job: _Job) -> None:
        if (
            not finished.begun
            and not connection.is_idle
            and connection.deliveries > 1
            and not job.retried
            and self._stopped is None
        ):
            # The next hop had closed a kept connection before it saw any of this.
            job.retried = True
            self._retries.append(job)
        else:
            job.result.callback(finished.outcome)
        self._free(connection)
