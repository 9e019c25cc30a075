"""The way of a message in tests: the real server, and a recording next hop behind it."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import attrs

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
                if any(each.startswith(f"TO:<{recipient}>") for each in message.recipients):
                    return message
            count = len(messages)


@contextlib.contextmanager
def running_way(site: Path, hop: NextHop) -> Iterator[Way]:
    """Run a server in *site* that lets its user send as anybody, with *hop* as its smarthost."""
    (site / "senders").write_text(f"{LOGIN}: *\n")
    relay = f'backend = "smarthost"\nhost = "127.0.0.1"\nport = {hop.port}\ntls = "none"'
    tables = {
        "senders": '[senders]\nfile = "senders"\nfrom_mismatch = "allow"',
        "completion": '[completion]\nunqualified_addresses = "accept"',
    }
    with Server.make(site, relay, tables).running() as server:
        yield Way(server, hop)
