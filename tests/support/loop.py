"""A reactor that a test turns by itself, for what needs real sockets but no second thread."""

import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure


class Loop:
    """A reactor of its own, never installed as the global one.

    :ivar reactor: to be handed to whatever wants one.
    """

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        self.reactor.startRunning(installSignalHandlers=False)

    def close(self) -> None:
        """Stop its threads and close its descriptors."""
        self.reactor.fireSystemEvent("shutdown")
        self.reactor.removeAll()
        self.reactor._poller.close()

    def until(self, condition: Callable[[], bool], timeout_s: float = 20) -> None:
        """Turn until *condition* holds.

        :raises TimeoutError: when it doesn't in time.
        """
        end_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > end_s:
                raise TimeoutError
            self.reactor.iterate(0.02)

    def wait(self, eventual: Any, timeout_s: float = 20) -> Any:
        """The value of *eventual*, turning until it is there; raises what it fails with."""
        if not isinstance(eventual, Deferred):
            return eventual
        results: list[Any] = []
        eventual.addBoth(results.append)
        self.until(lambda: bool(results), timeout_s)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]
