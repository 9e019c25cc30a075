"""One server with a recording next hop behind it, for all tests of clients."""

import itertools
from collections.abc import Iterator

import attrs
import pytest

from tests.support.nexthop import Message, NextHop
from tests.support.server import LOGIN, Server

_numbers = itertools.count(1)


@attrs.frozen
class Way:
    """The server, and where its messages come out."""

    server: Server
    hop: NextHop

    def recipient(self) -> str:
        """An address that no other message goes to."""
        return f"bob+{next(_numbers)}@example.net"

    def received(self, recipient: str) -> Message:
        """The message that came out for *recipient*; waits for it."""
        count = 0
        while True:
            messages = self.hop.wait_for(messages=count + 1, timeout_s=20)
            for message in messages[count:]:
                if message.recipients == [f"TO:<{recipient}>"]:
                    return message
            count = len(messages)


@pytest.fixture(scope="session")
def way(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """A server that lets its user send as anybody, before a recording next hop."""
    site = tmp_path_factory.mktemp("site")
    (site / "senders").write_text(f"{LOGIN}: *\n")
    with NextHop() as hop:
        relay = f'backend = "smarthost"\nhost = "127.0.0.1"\nport = {hop.port}\ntls = "none"'
        tables = {
            "senders": '[senders]\nfile = "senders"\nfrom_mismatch = "allow"',
            "completion": '[completion]\nunqualified_addresses = "accept"',
        }
        with Server.make(site, relay, tables).running() as server:
            yield Way(server, hop)
