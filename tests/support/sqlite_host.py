"""A place for `SqliteStore`s under test, and faults for their steps."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from submitd.interfaces import IQueueStore
from submitd.queue.sqlite import SqliteOptions, SqliteStore
from tests.support.threads import WAIT_S, ThreadClock


class Steps:
    """Stands at each step of storing (`Before`): counts them, and makes some fail or wait."""

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self._faults: dict[str, Callable[[], None]] = {}

    def __call__(self, step: str) -> None:
        self.count[step] += 1
        if step in self._faults:
            self._faults[step]()

    def fail(self, *steps: str, error: Exception) -> None:
        """Let these steps fail from now on."""

        def fault() -> None:
            raise error

        self._faults.update(dict.fromkeys(steps, fault))

    def wait_at(self, step: str) -> Callable[[], None]:
        """Let this step wait until the result is called."""
        go_on = threading.Event()

        def fault() -> None:
            assert go_on.wait(WAIT_S)

        self._faults[step] = fault
        return go_on.set

    def mend(self) -> None:
        """Let all steps go well again."""
        self._faults.clear()


class SqliteHost:
    """A spool in *directory*; a `StoreHost` for the contract suite."""

    durable = True

    def __init__(self, directory: Path, **options: Any) -> None:
        self.clock = ThreadClock()
        self.steps = Steps()
        self.options = SqliteOptions(path=directory / "spool", reserve_bytes=0)
        self.options = attrs.evolve(self.options, **options)

    def open(self) -> IQueueStore:
        """A store over the spool."""
        store: IQueueStore = SqliteStore(self.options, self.clock, self.steps)
        return store

    def wait(self, eventual: Any) -> Any:
        """Run the threads' calls until it fires."""
        return self.clock.wait(eventual)

    def now_s(self) -> float:
        """The fake clock's time."""
        return self.clock.seconds()

    def advance(self, seconds: float) -> None:
        """Put the fake clock forward."""
        self.clock.advance(seconds)

    @property
    def files(self) -> set[str]:
        """The names of the files of large content."""
        return {path.name for path in (self.options.path / "bodies").iterdir()}
