"""The SQLite store keeps what every store promises, and what only it does."""

from pathlib import Path
from typing import Any

import pytest

from submitd.interfaces import IQueueStore
from submitd.queue.sqlite import SqliteOptions, SqliteStore
from tests.contracts.queue_store import QueueStoreContract
from tests.support.threads import ThreadClock


class SqliteHost:
    """A spool in a temporary folder."""

    durable = True

    def __init__(self, directory: Path) -> None:
        self.clock = ThreadClock()
        self.options = SqliteOptions(path=directory / "spool", reserve_bytes=0)

    def open(self) -> IQueueStore:
        """A store over the spool."""
        store: IQueueStore = SqliteStore(self.options, self.clock)
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


class TestSqliteStore(QueueStoreContract):
    """The contract, over a spool of its own for each test."""

    @pytest.fixture
    def host(self, tmp_path: Path) -> SqliteHost:
        """A spool."""
        return SqliteHost(tmp_path)
