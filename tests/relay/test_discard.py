"""The backend that throws mail away."""

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from submitd.interfaces import IRelayBackendFactory, Site
from submitd.relay.discard import DiscardFactory, DiscardOptions
from submitd.testing import now
from tests.contracts.relay_backend import RelayBackendContract


class DiscardHop:
    """The backend, and nothing behind it."""

    keeps_content = False
    ends_last_line = False

    def __init__(self) -> None:
        self.backend = DiscardFactory().build(DiscardOptions(), Site("mail.example.org", Clock()))

    def wait(self, eventual: Any) -> Any:
        """Its value, there at once."""
        return now(eventual)

    def received(self) -> Sequence[tuple[str, bytes]]:
        """Nothing."""
        return []


class TestDiscard(RelayBackendContract):
    """The contract of relay backends, as far as it applies."""

    @pytest.fixture
    def hop(self) -> DiscardHop:
        """A fresh one."""
        return DiscardHop()


def test_factory() -> None:
    """The factory has all that its interface names."""
    assert verifyObject(IRelayBackendFactory, DiscardFactory())
