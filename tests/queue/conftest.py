"""What the tests of the queue share."""

from collections.abc import Iterator

import pytest
from twisted.logger import globalLogPublisher

from tests.support.delivery import Bench


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A started delivery; its options come from the test's parameters."""
    made = Bench(**getattr(request, "param", {}))
    globalLogPublisher.addObserver(made.events.append)
    made.delivery.start()
    yield made
    globalLogPublisher.removeObserver(made.events.append)
