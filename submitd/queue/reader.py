"""The questions to the SQLite queue, answered in a thread with a connection of its own."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred

from submitd.interfaces import QueuedMessage
from submitd.queue import rows, schema
from submitd.queue.content import FileContent
from submitd.queue.faults import as_storage_error
from submitd.queue.ids import keys_of
from submitd.queue.threads import Threads

T = TypeVar("T")


@attrs.frozen(slots=True)
class Due:
    """What was found to be due.

    :ivar messages: oldest first.
    :ivar damaged: keys of rows that make no message, with what is wrong.
    """

    messages: list[QueuedMessage]
    damaged: list[tuple[int, str]]


class Reader:
    """Reads the queue.

    :param thread: one thread, for this alone.
    :param file_content: makes the `IContent` of what is in a file, from id and size.
    """

    def __init__(
        self, directory: Path, thread: Threads, file_content: Callable[[str, int], FileContent]
    ) -> None:
        self._directory = directory
        self._thread = thread
        self._file_content = file_content
        self._db: sqlite3.Connection | None = None

    def start(self) -> Deferred[None]:
        """Open the connection."""
        return self._thread.run(self._open)

    def stop(self) -> Deferred[None]:
        """Close the connection."""
        return self._thread.run(self._close)

    def due(self, now_s: float, limit: int, busy: frozenset[str]) -> Deferred[Due]:
        """As `IQueueStore.due`."""

        def read(db: sqlite3.Connection) -> Due:
            due = Due([], [])
            for key in rows.due_keys(db, now_s, limit, keys_of(busy)):
                try:
                    due.messages.append(rows.load(db, key, self._file_content))
                except ValueError as error:
                    due.damaged.append((key, str(error)))
            return due

        return self._thread.run(self._in_transaction, read)

    def next_due_s(self, busy: frozenset[str]) -> Deferred[float | None]:
        """As `IQueueStore.next_due_s`."""
        return self._thread.run(self._in_transaction, lambda db: rows.next_due_s(db, keys_of(busy)))

    # ---- in the thread ------------------------------------------------------------

    def _open(self) -> None:
        self._db = schema.connect(self._directory, create=False)
        self._db.execute("PRAGMA query_only = ON")

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _in_transaction(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Let all that *read* sees be of one moment."""
        if self._db is None:
            raise OSError("the queue is closed")
        try:
            self._db.execute("BEGIN")
            try:
                return read(self._db)
            finally:
                self._db.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise as_storage_error(error) from error
