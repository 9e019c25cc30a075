"""Verifies passwords in threads of its own: few, with a bounded queue before them."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorThreads
from twisted.logger import Logger

from submitd.auth.hashing import check
from submitd.interfaces import AuthFailure, Eventual

Verdict = AuthFailure | None
"""None for the right password, else why not."""

MAXIMUM_THREADS = 4  # so many logins at one time are an attack; the cores have mail to carry


def default_threads() -> int:
    """A thread for each core we may use, up to `MAXIMUM_THREADS`."""
    return min(MAXIMUM_THREADS, len(os.sched_getaffinity(0)))


class Verifier:
    """Checks passwords against stored hashes, off the reactor.

    The threads begin with the first verification, not before: twistd forks between
    making the service and starting it, and threads do not survive that.

    :param reactor: told of each result through `callFromThread`.
    :param threads: verifications at one time.
    :param waiting: verifications that may wait for a thread.
    :param check: what is run in a thread, see `submitd.auth.hashing.check`.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorThreads,
        threads: int,
        waiting: int,
        check: Callable[[str, str], bool] = check,
    ) -> None:
        self._reactor = reactor
        self._bound = threads + waiting
        self._check = check
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._under_way = 0
        self._stopped: Deferred[None] | None = None

    def verify(self, password: str, stored: str) -> Eventual[Verdict]:
        """Check one password.

        `AuthFailure.UNAVAILABLE`, at once, when too many wait already or after `stop`.
        """
        if self._stopped is not None or self._under_way >= self._bound:
            return AuthFailure.UNAVAILABLE
        self._under_way += 1
        answer: Deferred[Verdict] = Deferred()
        future = self._executor.submit(self._check, password, stored)
        future.add_done_callback(
            lambda done: self._reactor.callFromThread(self._done, answer, done)
        )
        return answer

    def stop(self) -> Eventual[None]:
        """Answer those that wait with UNAVAILABLE; fires when those under way have ended."""
        if self._stopped is None:
            self._stopped = Deferred()
            if not self._under_way:
                self._stopped.callback(None)
            self._executor.shutdown(wait=False, cancel_futures=True)
        elif self._stopped.called:
            return succeed(None)
        return self._stopped

    def _done(self, answer: Deferred[Verdict], future: Future[bool]) -> None:
        self._under_way -= 1
        answer.callback(self._verdict(future))
        if self._stopped is not None and not self._under_way:
            self._stopped.callback(None)

    def _verdict(self, future: Future[bool]) -> Verdict:
        if future.cancelled():
            return AuthFailure.UNAVAILABLE
        error = future.exception()
        if error is None:
            return None if future.result() else AuthFailure.WRONG_PASSWORD
        if isinstance(error, ValueError):
            return AuthFailure.UNUSABLE_HASH
        # Only its type: the text of some of passlib's errors contains the hash.
        self._log.error("cannot verify a password: {error}", error=type(error).__name__)
        return AuthFailure.UNAVAILABLE
