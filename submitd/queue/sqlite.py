"""The queue in an SQLite database, for one process and its operator's tools.

The spool is a folder:

    queue.sqlite    envelopes, the state of each recipient, content that is small
    bodies/         content that is large, a file a message
    lock            held by the process that delivers from this spool
    reserve         room for outcomes on a disk that is full

One thread writes (`writer.py`), one reads, a few handle the files of `bodies/`; the
reactor never waits for the disk.
"""

import os
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from submitd.interfaces import (
    IMessageWriter,
    IQueueStore,
    IQueueStoreFactory,
    QueuedMessage,
    Report,
    Site,
)
from submitd.mail.address import Mailbox
from submitd.mail.status import DeliveryStatus
from submitd.options import between, option
from submitd.queue import rows, schema
from submitd.queue.content import Bodies, BodyFile, BytesContent, FileContent
from submitd.queue.faults import Before, as_storage_error, nothing
from submitd.queue.ids import IdMaker
from submitd.queue.intake import Intake, Storage
from submitd.queue.reader import Reader
from submitd.queue.reserve import Reserve
from submitd.queue.spool import BODIES, Found, claim, put_in_order
from submitd.queue.threads import Threads, UnderWay
from submitd.queue.writer import GroupWriter

FILE_THREADS = 4
# SQLite's log has up to 4 MiB, which the database may have to grow by before any of it
# can be written over: with less, a full disk could leave no way to record an outcome.
_LEAST_RESERVE_BYTES = 8 << 20


def _is_reserve(octets: int) -> str | None:
    if octets == 0 or octets >= _LEAST_RESERVE_BYTES:
        return None
    return f"0 for none, or {_LEAST_RESERVE_BYTES} or more"


@attrs.frozen(kw_only=True)
class SqliteOptions:
    """`[queue]` with `store = "sqlite"`."""

    path: Path = option("Folder of the queue; made when missing, readable by its owner alone.")
    inline_bytes: int = option(
        "Messages up to this size are stored in the database, larger ones in a file each.",
        default=65_536,
        check=between(0, 16_777_216),
    )
    reserve_bytes: int = option(
        "Room that a file in the queue's folder keeps for the time when the disk is full: new"
        " messages are refused then (452), while those in the queue are still delivered, each"
        " once. At least 8 MiB (8388608), or 0 for none.",
        default=33_554_432,
        check=_is_reserve,
    )


@implementer(IQueueStoreFactory)
class SqliteFactory:
    """Makes `SqliteStore`s."""

    name = "sqlite"
    options = SqliteOptions

    def build(self, options: SqliteOptions, site: Site) -> IQueueStore:
        """Make one, see `IQueueStoreFactory`."""
        store: IQueueStore = SqliteStore(options, site.reactor)
        return store


@implementer(IQueueStore)
class SqliteStore:
    """Messages in SQLite, see the module.

    :param before: called ahead of each step of storing, in the thread that takes it, with
        the step's name; what it raises, the step fails with.  For tests.
    """

    _log = Logger()

    def __init__(self, options: SqliteOptions, reactor: Any, before: Before = nothing) -> None:
        self._directory = options.path
        self._seconds = reactor.seconds
        self._ids = IdMaker(reactor.seconds)
        self._under_way = UnderWay()
        self._files = Threads(reactor, FILE_THREADS, "queue files", self._under_way)
        self._thread = Threads(reactor, 1, "queue reader", self._under_way)
        self._reader = Reader(options.path, self._thread, self._file_content)
        self._reserve = Reserve(options.path, options.reserve_bytes)
        self._writer = GroupWriter(reactor, self._open, before, self._reserve)
        self._bodies = Bodies(options.path / BODIES, before)
        self._storage = Storage(
            reactor.seconds,
            options.inline_bytes,
            self._bodies,
            self._files,
            self._under_way,
            self._writer,
            self._reserve,
        )
        self._lock: int | None = None
        self._found: Found | None = None
        self._version = 0
        # For each `due` under way, the ids of what was recorded since it began.
        self._recorded: list[set[str]] = []

    # ---- coming and going ---------------------------------------------------------

    def start(self) -> Deferred[None]:
        """Open the spool, see `IQueueStore`.

        :raises SchemaError: when the database isn't ours or was made by a newer version.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        try:
            await self._writer.start()
        except BaseException:
            self._release()
            raise
        self._files.start()
        self._thread.start()
        await self._reader.start()
        self._version = await self._writer.submit(rows.data_version)
        self._tell_what_was_found()

    def _tell_what_was_found(self) -> None:
        found = self._found
        if found is None:
            return
        self._log.info(
            "Queue {path}: {queued} messages, {held} on hold, {orphans} incomplete ones removed",
            line="queue",
            path=str(self._directory),
            queued=found.queued,
            held=found.held,
            orphans=found.orphans,
        )
        if not self._reserve.is_whole:
            self._log.warn(
                "There is no room for the reserve of queue {path}: new messages are refused",
                line="queue",
                path=str(self._directory),
            )
        for queue_id in found.missing:
            self._log.critical(
                "The content of {queue_id} is missing from the spool; the message is on hold",
                line="queue",
                queue_id=queue_id,
            )

    def stop(self) -> Deferred[None]:
        """Finish and close, see `IQueueStore`; harmless when it was not started."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._lock is None:
            return
        for intake in tuple(self._storage.spilled):
            intake.abort()
        await self._under_way.none()
        await self._writer.stop()
        # The last outcomes have taken the files of their messages away.
        await self._under_way.none()
        await self._reader.stop()
        self._thread.stop()
        self._files.stop()
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _open(self) -> sqlite3.Connection:
        """The writing connection, in its thread, with the spool claimed and in order."""
        self._lock = claim(self._directory)
        db = schema.connect(self._directory, create=True)
        try:
            self._ids.skip_to(rows.last_key(db))
            self._found = put_in_order(db, self._bodies)
            self._reserve.lay()
        except BaseException:
            db.close()
            raise
        return db

    # ---- messages -----------------------------------------------------------------

    def new_message(self) -> IMessageWriter:
        """Begin to take in a message, see `IQueueStore`."""
        writer: IMessageWriter = Intake(self._ids.make(), self._storage)
        return writer

    def due(
        self, now_s: float, limit: int, busy: frozenset[str]
    ) -> Deferred[Sequence[QueuedMessage]]:
        """Messages whose time has come, see `IQueueStore`.

        Leaves out those for which `record` was called since.
        """
        return self._under_way.run(self._due(now_s, limit, busy))

    async def _due(self, now_s: float, limit: int, busy: frozenset[str]) -> Sequence[QueuedMessage]:
        recorded: set[str] = set()
        self._recorded.append(recorded)
        try:
            found = await self._reader.due(now_s, limit, busy)
        finally:
            self._recorded.remove(recorded)
        for key, reason in found.damaged:
            self._log.critical(
                "A message in the queue can't be used and is on hold: {reason}",
                line="queue",
                reason=reason,
            )
            await self._writer.submit(partial(rows.hold, key))
        return [message for message in found.messages if message.id not in recorded]

    def next_due_s(self, busy: frozenset[str]) -> Deferred[float | None]:
        """When the next message is due, see `IQueueStore`."""
        return self._reader.next_due_s(busy)

    def record(
        self,
        message: QueuedMessage,
        outcome: Mapping[Mailbox, DeliveryStatus],
        retry_at_s: float | None,
        report: Report | None = None,
    ) -> Deferred[QueuedMessage | None]:
        """Write down an outcome, see `IQueueStore`."""
        for recorded in self._recorded:
            recorded.add(message.id)
        job = rows.Outcome(message, outcome, self._seconds(), retry_at_s)
        if report is not None:
            return self._under_way.run(self._record_with_report(job, report))
        return self._writer.submit(job, urgent=True).addCallback(self._take_file_away, job)

    async def _record_with_report(self, job: rows.Outcome, report: Report) -> QueuedMessage | None:
        queue_id = self._ids.make()
        size = len(report.content)
        body = BodyFile(self._bodies, queue_id) if size > self._storage.inline_bytes else None
        job.report_data = report.content if body is None else None
        job.report = QueuedMessage(
            queue_id,
            report.envelope,
            None,
            BytesContent(report.content) if body is None else self._file_content(queue_id, size),
            self._seconds(),
        )
        try:
            if body is not None:
                await self._files.run(body.append, (report.content,))
                await self._files.run(body.publish)
            stored = await self._writer.submit(job, urgent=True)
        except Exception as error:
            if body is not None:
                await self._files.run(body.discard)
            raise as_storage_error(error) from None
        return self._take_file_away(stored, job)

    def _take_file_away(
        self, stored: QueuedMessage | None, job: rows.Outcome
    ) -> QueuedMessage | None:
        if job.leaves_file:
            removed = self._files.run(self._bodies.remove, job.message.id)
            removed.addErrback(self._file_stays, job.message.id)
        return stored

    def _file_stays(self, failure: Failure, queue_id: str) -> None:
        # The next start takes it away.
        self._log.failure(
            "The content of {queue_id} stays in the spool", failure, queue_id=queue_id
        )

    def _file_content(self, queue_id: str, size: int) -> FileContent:
        return FileContent(self._bodies.path(queue_id), size, self._files)

    def changed_elsewhere(self) -> Deferred[bool]:
        """Whether the operator's tools were here, see `IQueueStore`."""
        return self._writer.submit(rows.data_version).addCallback(self._compare_version)

    def _compare_version(self, version: int) -> bool:
        changed, self._version = version != self._version, version
        return changed
