"""One server for all real clients, before a next hop that offers what they make use of."""

from collections.abc import Iterator

import pytest

from tests.support.nexthop import DEFAULT_EXTENSIONS, NextHop
from tests.support.way import Way, running_way


@pytest.fixture(scope="session")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """The server, and a next hop with DSN and SMTPUTF8."""
    with (
        NextHop(extensions=(*DEFAULT_EXTENSIONS, "DSN", "SMTPUTF8")) as hop,
        running_way(tmp_path_factory.mktemp("site"), hop) as way,
    ):
        yield way
