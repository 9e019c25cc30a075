"""A reactor for code that uses threads: the clock is a fake, the threads are real."""

from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

WAIT_S = 30


class ThreadClock(Clock):
    """A `task.Clock` that takes calls from threads and runs them while a test waits."""

    def __init__(self, now_s: float = 1_700_000_000) -> None:
        super().__init__()
        self.rightNow = now_s
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self.batches = 0

    def callFromThread(self, call: Any, *args: Any, **kwargs: Any) -> None:
        """As `IReactorFromThreads`."""
        self._calls.put((call, args, kwargs))

    def run_calls(self, timeout_s: float = 0) -> bool:
        """Run what threads have asked for, at most *timeout_s* after now; tells if it did."""
        try:
            call, args, kwargs = self._calls.get(timeout_s > 0, timeout_s or None)
        except Empty:
            return False
        self.batches += 1
        call(*args, **kwargs)
        return True

    def wait(self, eventual: Any) -> Any:
        """The value of *eventual*, or the exception it fails with."""
        if not isinstance(eventual, Deferred):
            return eventual
        results: list[Any] = []
        failures: list[Any] = []
        eventual.addCallbacks(results.append, failures.append)
        while not results and not failures:
            assert self.run_calls(WAIT_S), "nothing happened"
        if failures:
            failures[0].raiseException()
        return results[0]
