"""The store in memory keeps what every store promises."""

from typing import Any

import pytest
from twisted.internet.task import Clock

from submitd.queue.memory import MemoryContent, MemoryStore
from submitd.testing import now
from tests.contracts.queue_store import QueueStoreContract


class MemoryHost:
    """One store in memory; opening it again gives the same one."""

    durable = True

    def __init__(self) -> None:
        self._clock = Clock()
        self._clock.advance(1_700_000_000)
        self._store = MemoryStore(self._clock)

    def open(self) -> MemoryStore:
        """The store."""
        return self._store

    def wait(self, eventual: Any) -> Any:
        """Its value: everything is there at once."""
        return now(eventual)

    def now_s(self) -> float:
        """The time by the store's clock."""
        return self._clock.seconds()

    def advance(self, seconds: float) -> None:
        """Put the store's clock forward."""
        self._clock.advance(seconds)


class TestMemoryStore(QueueStoreContract):
    """The contract of queue stores."""

    @pytest.fixture
    def host(self) -> MemoryHost:
        """Where the store lives."""
        return MemoryHost()


def test_whole_content_is_not_copied() -> None:
    """Reading all of a message gives the octets that are kept, not a copy of them."""
    data = b"Subject: x\r\n\r\n" * 100
    assert MemoryContent(data).read(0, 1_000_000) is data
