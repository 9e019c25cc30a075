"""Timers that outlive a clock set back.

Twisted's timers go by the clock of the wall.  Were it set back by a day, each that was
under way would be a day late: no time limit, no retry, no look at the certificates
until then.  A thread of its own, which goes by the monotonic clock, notices and has
them brought forward.
"""

import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

PERIOD_S = 1.0
LEAST_S = 2.0
"""Smaller steps do no harm; those of a clock that is adjusted slowly are none."""

_log = Logger()


def bring_forward(reactor: Any, by_s: float) -> None:
    """Let the timers be due when they would have been, had the clock not been set back.

    :param reactor: with `IReactorTime`.
    :param by_s: how far it was set back, seconds.
    """
    # What was set before lies about as far ahead as the clock went back; some of it was due
    # by now, for a step is noticed late.
    old_s = reactor.seconds() + by_s - 2 * PERIOD_S
    for timer in reactor.getDelayedCalls():
        if timer.getTime() >= old_s:
            timer.delay(-by_s)
    _log.warn("the clock was set back by {by_s:.0f} s", line="clock", by_s=round(by_s, 1))


class ClockWatch:
    """Notices that the clock of the wall was set back.

    :param reactor: with `IReactorTime` and `IReactorThreads`.
    :param monotonic: seconds that never go back.
    """

    def __init__(self, reactor: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._reactor = reactor
        self._monotonic = monotonic
        self._ahead_s = 0.0
        self._ended = threading.Event()

    def start(self) -> None:
        """Watch until `stop`."""
        self._ahead_s = self._difference()
        threading.Thread(target=self._watch, name="clock watch", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()

    def look(self) -> None:
        """Compare the clocks; in whatever thread."""
        ahead_s = self._difference()
        by_s, self._ahead_s = self._ahead_s - ahead_s, ahead_s
        if by_s >= LEAST_S:
            self._reactor.callFromThread(bring_forward, self._reactor, by_s)

    def _difference(self) -> float:
        return float(self._reactor.seconds()) - self._monotonic()

    def _watch(self) -> None:
        while not self._ended.wait(PERIOD_S):
            self.look()
