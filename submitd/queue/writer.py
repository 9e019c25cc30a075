"""Group commit: one thread that writes, and one fsync for all who wait at that moment."""

import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from submitd.interfaces import StoreFull
from submitd.queue.faults import Before, as_storage_error
from submitd.queue.reserve import Reserve, checkpoint

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]
Waiting = tuple[Job, "Deferred[Any]", bool]

# A group is what came in while the one before was being written.  The bound keeps
# one from taking so long that the next thousand wait for it.
GROUP_JOBS = 512


class GroupWriter:
    """Runs jobs, each a function of the connection, in the order they were given.

    All jobs that wait are run in one transaction.  Should that fail, each is run again
    in a transaction of its own, so that a bad job fails alone; a job must
    therefore do nothing but use its connection.

    :param reactor: where results are handed over, by `callFromThread`.
    :param connect: opens the connection, in the writing thread.
    :param before: called ahead of each step, in the writing thread, with its name: `group`,
        `commit`, `alone`.  For tests, which make it raise.
    :param reserve: given up when an urgent job finds no room.
    """

    def __init__(
        self,
        reactor: Any,
        connect: Callable[[], sqlite3.Connection],
        before: Before,
        reserve: Reserve,
    ) -> None:
        self._reactor = reactor
        self._connect = connect
        self._before = before
        self._reserve = reserve
        self._is_reserve_wanted = False
        self._waiting: SimpleQueue[Waiting | None] = SimpleQueue()
        self._stopped: Deferred[None] = Deferred()
        self._is_closed = True

    def start(self) -> Deferred[None]:
        """Open the connection; fails with what opening it raised, and the thread ends."""
        self._is_closed = False
        started: Deferred[None] = Deferred()
        threading.Thread(
            target=self._run, args=(started,), name="queue writer", daemon=True
        ).start()
        return started

    def submit(
        self, job: Callable[[sqlite3.Connection], T], *, urgent: bool = False
    ) -> "Deferred[T]":
        """Run a job; the Deferred fires with what it returned once that is durable.

        :param urgent: whether it may use the reserve.

        It fails with `StoreFull`, with `OSError` for other faults of storage, or with
        what *job* raised; then nothing of the job remains.
        """
        if self._is_closed:
            return fail(OSError("the queue is closed"))
        done: Deferred[T] = Deferred()
        self._waiting.put((job, done, urgent))
        return done

    def regain_reserve(self) -> None:
        """Let the reserve be laid again, if there is room."""
        self._is_reserve_wanted = True
        self.submit(_nothing)

    def stop(self) -> Deferred[None]:
        """Fires when all jobs given before are done and the connection is closed."""
        self._is_closed = True
        self._waiting.put(None)
        return self._stopped

    # ---- in the writing thread ----------------------------------------------------

    def _run(self, started: "Deferred[None]") -> None:
        try:
            connection = self._connect()
        except Exception:
            self._reactor.callFromThread(started.errback, Failure())
            return
        self._reactor.callFromThread(started.callback, None)
        more = True
        while more:
            group, more = self._take()
            if group:
                results = self._write(connection, group)
                self._reactor.callFromThread(_hand_over, group, results)
            if self._is_reserve_wanted:
                self._is_reserve_wanted = False
                self._reserve.regain(connection)
        connection.close()
        self._reactor.callFromThread(self._stopped.callback, None)

    def _take(self) -> tuple[list[Waiting], bool]:
        """What waits, at least one job, and whether there may be more later."""
        group: list[Waiting] = []
        get = self._waiting.get
        try:
            item = get()
            while item is not None:
                group.append(item)
                if len(group) == GROUP_JOBS:
                    return group, True
                item = get(block=False)
        except Empty:
            return group, True
        return group, False

    def _write(self, connection: sqlite3.Connection, group: Sequence[Waiting]) -> list[Any]:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return [Failure(as_storage_error(error)) for _ in group]
        try:
            self._before("group")
            results = [job(connection) for job, _, _ in group]
            self._before("commit")
            connection.execute("COMMIT")
        except Exception:
            _roll_back(connection)
            checkpoint(connection)
            return [self._write_alone(connection, job, urgent) for job, _, urgent in group]
        return results

    def _write_alone(self, connection: sqlite3.Connection, job: Job, urgent: bool) -> Any:
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = job(connection)
            self._before("alone")
            connection.execute("COMMIT")
        except Exception as error:
            _roll_back(connection)
            reason = as_storage_error(error)
            if urgent and isinstance(reason, StoreFull):
                self._reserve.give_up(connection)
                return self._write_alone(connection, job, urgent=False)
            return Failure(reason)
        return result


def _roll_back(connection: sqlite3.Connection) -> None:
    # A full disk makes SQLite roll back by itself.  If this fails, so will the next
    # BEGIN, which is reported.
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _nothing(_connection: sqlite3.Connection) -> None:
    pass


def _hand_over(group: Sequence[Waiting], results: Sequence[Any]) -> None:
    for (_, done, _), result in zip(group, results, strict=True):
        if isinstance(result, Failure):
            done.errback(result)
        else:
            done.callback(result)
