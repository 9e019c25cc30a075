"""A few threads for work that would block the reactor, and an orderly end of it."""

from collections.abc import Callable, Coroutine
from threading import Thread
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

P = ParamSpec("P")
T = TypeVar("T")


class UnderWay:
    """Counts what has begun and not ended."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[Deferred[None]] = []

    def add(self, deferred: "Deferred[T]") -> "Deferred[T]":
        """Count *deferred* until it fires."""
        self._count += 1
        return deferred.addBoth(self._ended)

    def run(self, coroutine: Coroutine["Deferred[Any]", Any, T]) -> "Deferred[T]":
        """Start *coroutine* and count it until it ends."""
        return self.add(Deferred.fromCoroutine(coroutine))

    def _ended(self, result: T) -> T:
        self._count -= 1
        if not self._count:
            waiting, self._waiting = self._waiting, []
            for deferred in waiting:
                deferred.callback(None)
        return result

    def none(self) -> "Deferred[None]":
        """Fires when nothing is under way, at once if that is now."""
        deferred: Deferred[None] = Deferred()
        if self._count:
            self._waiting.append(deferred)
        else:
            deferred.callback(None)
        return deferred


class _Daemon(Thread):
    # Nothing is lost with a thread that ends with its process: what counts is what was
    # reported as durable.  A process that failed to stop in order must still end.
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, daemon=True, **kwargs)


class _Pool(ThreadPool):
    threadFactory = _Daemon


class Threads:
    """At most *size* threads, started when first needed.

    With one thread, calls run one after the other in the order they were made.

    :param under_way: where calls are counted; wait for it before `stop`.
    """

    def __init__(self, reactor: Any, size: int, name: str, under_way: UnderWay) -> None:
        self._reactor = reactor
        self._pool = _Pool(0, size, name)
        self._under_way = under_way

    def start(self) -> None:
        """Let calls run."""
        self._pool.start()

    def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Deferred[T]":
        """Call it in a thread; the Deferred fires on the reactor with what comes of it."""
        return self._under_way.add(
            deferToThreadPool(self._reactor, self._pool, call, *args, **kwargs)
        )

    def stop(self) -> None:
        """End the threads, which must be idle."""
        self._pool.stop()
