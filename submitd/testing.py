"""For the tests of those who build on submitd: stand-ins that keep the same contracts.

`MemoryStore` is a queue store, `RecordingBackend` a relay backend that answers as it is
told, `StaticUsers` a user database from a dict; `ThreadedClock` is a `task.Clock` for code
that uses threads, and `queued` makes a message to hand to a backend.
"""

import queue
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from submitd.interfaces import (
    AuthFailure,
    AuthResult,
    IRelayBackend,
    IUserDatabase,
    QueuedMessage,
)
from submitd.mail.address import Mailbox
from submitd.mail.envelope import BodyType, Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.queue.memory import MemoryContent, MemoryStore

__all__ = [
    "DELIVERED",
    "Delivered",
    "MemoryContent",
    "MemoryStore",
    "RecordingBackend",
    "StaticUsers",
    "ThreadedClock",
    "envelope",
    "now",
    "queued",
    "read_all",
]

DELIVERED = DeliveryStatus(Action.DELIVERED, "2.0.0", "recorded", "recorder")


def envelope(
    *recipients: str, sender: str | None = "ann@example.org", body: BodyType = "7BIT"
) -> Envelope:
    """An envelope from addresses as text; one recipient when none is given."""
    return Envelope(
        None if sender is None else Mailbox.parse(sender),
        tuple(Recipient(Mailbox.parse(text)) for text in recipients or ("bob@example.net",)),
        body,
    )


def queued(
    content: Any = b"Subject: hello\r\n\r\nhello\r\n",
    what: Envelope | None = None,
    queue_id: str = "Q0000001",
    login: str | None = "ann",
    arrived_s: float = 1_700_000_000.0,
) -> QueuedMessage:
    """A message as a store would give it.

    :param content: octets, or something that provides `IContent`.
    """
    if isinstance(content, bytes):
        content = MemoryContent(content)
    return QueuedMessage(queue_id, what or envelope(), login, content, arrived_s)


async def read_all(content: Any, piece: int = 65_536) -> bytes:
    """All octets of something that provides `IContent`, read in pieces."""
    pieces = []
    offset = 0
    while offset < content.size:
        data = content.read(offset, piece)
        if isinstance(data, Deferred):
            data = await data
        if not data:
            raise EOFError(f"content ends after {offset} of {content.size} octets")
        pieces.append(data)
        offset += len(data)
    return b"".join(pieces)


def now(eventual: Any) -> Any:
    """The value of an `Eventual` that is there already; raises what it has failed with.

    :raises AssertionError: when it has not fired.
    """
    if not isinstance(eventual, Deferred):
        return eventual
    results: list[Any] = []
    eventual.addBoth(results.append)
    assert results, "the Deferred has not fired"
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]


class ThreadedClock(Clock):
    """A clock that also takes calls from threads, and makes them while `wait` waits."""

    def __init__(self, now_s: float = 1_700_000_000.0) -> None:
        super().__init__()
        self.advance(now_s)
        self._calls: queue.SimpleQueue[tuple[Any, Any, Any]] = queue.SimpleQueue()
        self._pool = ThreadPool(0, 4)

    def callFromThread(self, call: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Have `wait` make this call (`IReactorFromThreads`)."""
        self._calls.put((call, args, kwargs))

    def getThreadPool(self) -> ThreadPool:
        """A pool of a few threads (`IReactorThreads`), to be ended by `end_threads`."""
        if not self._pool.started:
            self._pool.start()
        return self._pool

    def end_threads(self) -> None:
        """Wait for the threads and end them."""
        if self._pool.started:
            self._pool.stop()

    def wait(self, eventual: Any, limit_s: float = 20.0) -> Any:
        """The value of *eventual*; raises what it fails with.

        :param limit_s: real seconds between two calls from threads.
        :raises AssertionError: when nothing has come for so long.
        """
        if isinstance(eventual, Deferred):
            while not eventual.called or eventual.paused:
                try:
                    call, args, kwargs = self._calls.get(timeout=limit_s)
                except queue.Empty:
                    raise AssertionError("the Deferred has not fired") from None
                call(*args, **kwargs)
        return now(eventual)


@attrs.frozen(slots=True)
class Delivered:
    """One call of `RecordingBackend.deliver`.

    :ivar message: the message.
    :ivar recipients: for whom.
    :ivar content: what was read of it.
    """

    message: QueuedMessage
    recipients: tuple[Recipient, ...]
    content: bytes

    @property
    def addresses(self) -> list[str]:
        """The recipients as text."""
        return [str(recipient.mailbox) for recipient in self.recipients]


Answer = DeliveryStatus | Mapping[str, DeliveryStatus] | Exception | None


@implementer(IRelayBackend)
class RecordingBackend:
    """Records what it is given and answers as told: delivered, when told nothing.

    :ivar delivered: what came, in order.
    :ivar answers: the answer for each address, as text, that has one of its own.
    :ivar script: answers for the next deliveries, used up one by one.  A
        status is for all recipients, a mapping goes by address, an exception fails
        the delivery, None takes `answers`; a Deferred delays the delivery until it
        fires with one of these.
    :ivar under_way: how many deliveries wait for a scripted Deferred now.
    :ivar stopped: whether `stop` was called.
    """

    def __init__(self, next_hop: Callable[[Recipient], str] | None = None) -> None:
        """Make one.

        :param next_hop: names the next hop of a recipient; the domain by default.
        """
        self.delivered: list[Delivered] = []
        self.answers: dict[str, DeliveryStatus] = {}
        self.script: list[Answer | Deferred[Any]] = []
        self.under_way = 0
        self.stopped = False
        self._next_hop = next_hop or (lambda recipient: recipient.mailbox.domain.lower())

    def next_hop(self, recipient: Recipient) -> str:
        """Where *recipient*'s mail goes."""
        return self._next_hop(recipient)

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[Recipient]
    ) -> Deferred[Mapping[Mailbox, DeliveryStatus]]:
        """Record the message and answer."""
        answer = self.script.pop(0) if self.script else None
        return Deferred.fromCoroutine(self._deliver(message, tuple(recipients), answer))

    def stop(self) -> None:
        """Nothing to close."""
        self.stopped = True

    async def _deliver(
        self,
        message: QueuedMessage,
        recipients: tuple[Recipient, ...],
        told: Answer | Deferred[Any],
    ) -> Mapping[Mailbox, DeliveryStatus]:
        try:
            content = await read_all(message.content)
        except (OSError, EOFError) as error:
            fault = DeliveryStatus(Action.DELAYED, "4.3.0", f"can't read the message: {error}")
            return {recipient.mailbox: fault for recipient in recipients}
        self.delivered.append(Delivered(message, recipients, content))
        answer: Answer
        if isinstance(told, Deferred):
            self.under_way += 1
            try:
                answer = await told
            finally:
                self.under_way -= 1
        else:
            answer = told
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, DeliveryStatus):
            return {recipient.mailbox: answer for recipient in recipients}
        answers = self.answers if answer is None else answer
        return {
            recipient.mailbox: answers.get(str(recipient.mailbox), DELIVERED)
            for recipient in recipients
        }


@implementer(IUserDatabase)
class StaticUsers:
    """Users and their passwords from a dict.

    :ivar passwords: password of each login; changes take effect at once.
    :ivar disabled: logins that are refused whatever the password.
    """

    def __init__(self, passwords: Mapping[str, str], disabled: Sequence[str] = ()) -> None:
        self.passwords = dict(passwords)
        self.disabled = set(disabled)

    def verify_password(self, login: str, password: str) -> AuthResult:
        """Check a password, at once."""
        stored = self.passwords.get(login)
        if stored is None:
            return AuthResult(None, AuthFailure.UNKNOWN_USER)
        if login in self.disabled:
            return AuthResult(None, AuthFailure.DISABLED)
        if not password or password != stored:
            return AuthResult(None, AuthFailure.WRONG_PASSWORD)
        return AuthResult(login)

    def stop(self) -> None:
        """Nothing to let go of."""
