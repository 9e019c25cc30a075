"""A queue store that keeps messages in memory: for tests, and as the shortest example of one."""

from collections.abc import Mapping, Sequence
from itertools import count

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from submitd.interfaces import IContent, IMessageWriter, IQueueStore, QueuedMessage, Report
from submitd.mail.address import Mailbox
from submitd.mail.envelope import Envelope
from submitd.mail.status import DeliveryStatus
from submitd.queue.schedule import turn_s


@implementer(IContent)
@attrs.frozen(slots=True)
class MemoryContent:
    """The content of a message, all of it in memory.

    :ivar data: header block and body.
    """

    data: bytes

    @property
    def size(self) -> int:
        """Octets in all."""
        return len(self.data)

    def read(self, offset: int, octets: int) -> bytes:
        """The octets from *offset* on, fewer only at the end."""
        if offset == 0 and octets >= len(self.data):
            return self.data
        return self.data[offset : offset + octets]


@attrs.define(slots=True, eq=False)
class _Entry:
    """A message in the queue and when it is due; `number` keeps the order of arrival."""

    message: QueuedMessage
    due_s: float
    number: int

    @property
    def turn_s(self) -> float:
        """Its place among those that are due."""
        return turn_s(self.due_s, self.message.envelope.priority)


@implementer(IMessageWriter)
class MemoryWriter:
    """Takes one message into a `MemoryStore`."""

    def __init__(self, store: "MemoryStore", queue_id: str) -> None:
        self.id = queue_id
        self._store = store
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Add octets; never asks to pause."""
        self._pieces.append(data)

    def commit(self, envelope: Envelope, login: str | None) -> Deferred[QueuedMessage]:
        """Put the message into the store."""
        content = b"".join(self._pieces)
        self._pieces = []
        return succeed(self._store.add(envelope, login, content, self.id))

    def abort(self) -> None:
        """Drop what was written."""
        self._pieces = []


@implementer(IQueueStore)
class MemoryStore:
    """Keeps messages as long as the object lives, across `stop` and `start`."""

    def __init__(self, clock: IReactorTime) -> None:
        """Make an empty one.

        :param clock: gives the time messages arrive at.
        """
        self._clock = clock
        self._numbers = count(1)
        self._entries: dict[str, _Entry] = {}

    def __len__(self) -> int:
        """How many messages are in the queue."""
        return len(self._entries)

    def start(self) -> Deferred[None]:
        """Nothing to open."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Nothing to close."""
        return succeed(None)

    def new_message(self) -> MemoryWriter:
        """Begin to take in a message."""
        return MemoryWriter(self, self._new_id())

    def add(
        self, envelope: Envelope, login: str | None, content: bytes, queue_id: str | None = None
    ) -> QueuedMessage:
        """Store a whole message at once, due now or when it may be released (RFC 4865)."""
        now_s = self._clock.seconds()
        message = QueuedMessage(
            queue_id or self._new_id(), envelope, login, MemoryContent(content), now_s
        )
        due_s = max(now_s, envelope.hold_until_s or 0.0)
        self._entries[message.id] = _Entry(message, due_s, next(self._numbers))
        return message

    def remove(self, queue_id: str) -> None:
        """Take a message away, as the operator's tools can."""
        del self._entries[queue_id]

    def due(
        self, now_s: float, limit: int, busy: frozenset[str]
    ) -> Deferred[Sequence[QueuedMessage]]:
        """Messages whose time for an attempt has come, in turn."""
        found = [entry for entry in self._idle(busy) if entry.due_s <= now_s]
        found.sort(key=lambda entry: (entry.turn_s, entry.number))
        return succeed([attrs.evolve(entry.message) for entry in found[:limit]])

    def next_due_s(self, busy: frozenset[str]) -> Deferred[float | None]:
        """When the next message will be due."""
        return succeed(min((entry.due_s for entry in self._idle(busy)), default=None))

    def record(
        self,
        message: QueuedMessage,
        outcome: Mapping[Mailbox, DeliveryStatus],
        retry_at_s: float | None,
        report: Report | None = None,
    ) -> Deferred[QueuedMessage | None]:
        """Write down what an attempt came to.

        The Deferred fails with `ValueError` when recipients are left and *retry_at_s* is None.
        """
        entry = self._entries.get(message.id)
        if entry is not None:
            envelope = entry.message.envelope
            done = {mailbox for mailbox, status in outcome.items() if status.is_final}
            left = tuple(one for one in envelope.recipients if one.mailbox not in done)
            if not left:
                del self._entries[message.id]
            elif retry_at_s is None:
                return fail(ValueError("recipients are left, and no time to try again"))
            else:
                entry.message = attrs.evolve(
                    entry.message,
                    envelope=attrs.evolve(envelope, recipients=left),
                    attempts=entry.message.attempts + 1,
                    delay_told_s=message.delay_told_s,
                )
                entry.due_s = retry_at_s
        return succeed(None if report is None else self.add(report.envelope, None, report.content))

    def changed_elsewhere(self) -> Deferred[bool]:
        """Never: no other process can see it."""
        return succeed(False)

    def _idle(self, busy: frozenset[str]) -> list[_Entry]:
        return [entry for entry in self._entries.values() if entry.message.id not in busy]

    def _new_id(self) -> str:
        return f"M{next(self._numbers):07d}"
