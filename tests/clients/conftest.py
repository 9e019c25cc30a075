"""One server with a recording next hop behind it, for all tests of clients."""

from collections.abc import Iterator

import pytest

from tests.support.nexthop import NextHop
from tests.support.way import Way, running_way


@pytest.fixture(scope="session")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """A server that lets its user send as anybody, before a recording next hop."""
    with NextHop() as hop, running_way(tmp_path_factory.mktemp("site"), hop) as way:
        yield way
