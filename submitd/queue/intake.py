"""A message on its way into the SQLite queue, piece by piece."""

from collections.abc import Callable
from functools import partial

import attrs
from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from zope.interface import implementer

from submitd.interfaces import Eventual, IMessageWriter, QueuedMessage, StoreFull
from submitd.mail.envelope import Envelope
from submitd.queue import rows
from submitd.queue.content import Bodies, BodyFile, BytesContent, FileContent
from submitd.queue.faults import as_storage_error
from submitd.queue.reserve import Reserve
from submitd.queue.threads import Threads, UnderWay
from submitd.queue.writer import GroupWriter

# A sender faster than the disk is paused with this much not yet written, and goes on
# with half of it: enough for the disk never to wait, little for a thousand senders.
OUTSTANDING_BYTES = 262_144

_log = Logger()

# How often to ask for the reserve of a full disk, in seconds.
_ASK_AGAIN_S = 1.0


@attrs.define(slots=True)
class Storage:
    """What the writers of all messages of one store share.

    :ivar inline_bytes: content up to this size goes into the database.
    """

    seconds: Callable[[], float]
    inline_bytes: int
    bodies: Bodies
    files: Threads
    under_way: UnderWay
    writer: GroupWriter
    reserve: Reserve
    spilled: "set[Intake]" = attrs.field(factory=set)
    _ask_at_s: float = 0.0

    def refusal(self) -> StoreFull | None:
        """Why no new message is taken now, if so: the reserve is used up."""
        if self.reserve.is_whole:
            return None
        now_s = self.seconds()
        if now_s >= self._ask_at_s:
            self._ask_at_s = now_s + _ASK_AGAIN_S
            self.writer.regain_reserve()
            _log.warn("The queue's disk is full: new messages are refused", line="queue")
        return StoreFull("the disk is full; what is left is for outcomes")


@implementer(IMessageWriter)
class Intake:
    """Collects in memory up to `inline_bytes`, and in a file what is larger."""

    __slots__ = (
        "_draining",
        "_ended",
        "_failure",
        "_file",
        "_outstanding",
        "_paused",
        "_pieces",
        "_size",
        "_storage",
        "id",
    )

    def __init__(self, queue_id: str, storage: Storage) -> None:
        self.id = queue_id
        self._storage = storage
        self._pieces: list[bytes] = []
        self._size = 0
        self._ended = False
        self._file: BodyFile | None = None
        # From here on only for content in a file.
        self._outstanding = 0
        self._draining: Deferred[None] | None = None
        self._paused: list[Deferred[None]] = []
        self._failure: Exception | None = None

    def write(self, data: bytes) -> Eventual[None]:
        """Add octets, see `IMessageWriter`."""
        if self._ended:
            return None
        self._size += len(data)
        if self._file is None:
            self._pieces.append(data)
            if self._size <= self._storage.inline_bytes:
                return None
            return self._spill()
        if self._failure is not None:
            return None
        self._pieces.append(data)
        return self._drain(self._file, len(data))

    def commit(self, envelope: Envelope, login: str | None) -> "Deferred[QueuedMessage]":
        """Make the message durable, see `IMessageWriter`."""
        self._ended = True
        storage = self._storage
        if self._file is not None:
            storage.spilled.discard(self)
            return storage.under_way.run(self._commit_file(self._file, envelope, login))
        data = b"".join(self._pieces)
        self._pieces.clear()
        message = QueuedMessage(self.id, envelope, login, BytesContent(data), storage.seconds())
        return self._keep(message, data)

    def abort(self) -> None:
        """Drop what was written, see `IMessageWriter`."""
        if self._ended:
            return
        self._ended = True
        self._pieces.clear()
        if self._file is not None:
            self._storage.spilled.discard(self)
            self._storage.under_way.run(self._abort_file(self._file))

    def _keep(self, message: QueuedMessage, data: bytes | None) -> "Deferred[QueuedMessage]":
        refusal = self._storage.refusal()
        if refusal is not None:
            return fail(refusal)
        return self._storage.writer.submit(partial(rows.insert, message, data))

    # ---- content in a file --------------------------------------------------------

    def _spill(self) -> Eventual[None]:
        self._file = BodyFile(self._storage.bodies, self.id)
        self._storage.spilled.add(self)
        self._failure = self._storage.refusal()
        if self._failure is not None:
            self._pieces.clear()
            return fail(self._failure)
        return self._drain(self._file, self._size)

    def _drain(self, file: BodyFile, octets: int) -> Eventual[None]:
        self._outstanding += octets
        if self._draining is None:
            self._draining = self._storage.under_way.run(self._write_out(file))
        if self._outstanding <= OUTSTANDING_BYTES:
            return None
        paused: Deferred[None] = Deferred()
        self._paused.append(paused)
        return paused

    async def _write_out(self, file: BodyFile) -> None:
        try:
            while self._pieces:
                pieces, self._pieces = self._pieces, []
                await self._storage.files.run(file.append, pieces)
                self._outstanding -= sum(map(len, pieces))
                if self._outstanding <= OUTSTANDING_BYTES // 2:
                    self._resume()
        except Exception as error:
            self._failure = as_storage_error(error)
            self._pieces.clear()
        self._draining = None
        self._resume()

    def _resume(self) -> None:
        paused, self._paused = self._paused, []
        for deferred in paused:
            # An aborted message has nobody left to tell.
            if self._failure is None or self._ended:
                deferred.callback(None)
            else:
                deferred.errback(self._failure)

    async def _commit_file(
        self, file: BodyFile, envelope: Envelope, login: str | None
    ) -> QueuedMessage:
        storage = self._storage
        try:
            if self._draining is not None:
                await self._draining
            if self._failure is not None:
                raise self._failure
            await storage.files.run(file.publish)
            content = FileContent(storage.bodies.path(self.id), self._size, storage.files)
            message = QueuedMessage(self.id, envelope, login, content, storage.seconds())
            return await self._keep(message, None)
        except Exception as error:
            await self._discard(file)
            raise as_storage_error(error) from None

    async def _abort_file(self, file: BodyFile) -> None:
        if self._draining is not None:
            await self._draining
        await self._discard(file)

    async def _discard(self, file: BodyFile) -> None:
        try:
            await self._storage.files.run(file.discard)
        except OSError:
            # The next start takes it away.
            _log.failure("An unfinished message stays in the spool: {queue_id}", queue_id=self.id)
