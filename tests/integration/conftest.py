"""Servers for one test each."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server


@pytest.fixture
def make_server(tmp_path: Path) -> Callable[..., Server]:
    """Writes a site in the test's own directory; by default mail ends in its `mail/` Maildir."""

    def make(
        relay: str = 'backend = "maildir"\npath = "mail"',
        tables: dict[str, str] | None = None,
        spool: Path | None = None,
    ) -> Server:
        return Server.make(tmp_path / "site", relay, tables, spool)

    return make
