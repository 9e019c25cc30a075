"""The smarthost backend keeps the promises of every relay backend, over each level of TLS."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from submitd.interfaces import Site
from submitd.relay.smarthost import SmarthostFactory, SmarthostOptions
from tests.contracts.relay_backend import RelayBackendContract
from tests.support.loop import Loop
from tests.support.nexthop import DEFAULT_EXTENSIONS, NextHop
from tests.support.pki import TestAuthority


class SmarthostHop:
    """The backend in front of a recording next hop."""

    keeps_content = True

    def __init__(self, next_hop: NextHop, options: SmarthostOptions) -> None:
        # A chunk says where it ends, lines need an end.
        self.ends_last_line = "CHUNKING" not in next_hop.extensions
        self.loop = Loop()
        self.next_hop = next_hop
        self.backend = SmarthostFactory().build(
            options, Site("mail.example.org", self.loop.reactor)
        )

    def wait(self, eventual: Any) -> Any:
        return self.loop.wait(eventual)

    def received(self) -> Sequence[tuple[str, bytes]]:
        return [
            (recipient.removeprefix("TO:<").removesuffix(">"), message.content)
            for message in self.next_hop.messages
            for recipient in message.recipients
        ]


class TestSmarthost(RelayBackendContract):
    """Runs the suite in clear, with chunks, over implicit TLS with a login, and step by step."""

    @pytest.fixture(params=["clear", "chunks", "tls", "sequential"])
    def hop(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmarthostHop]:
        extensions = DEFAULT_EXTENSIONS if request.param != "sequential" else ("8BITMIME",)
        if request.param == "chunks":
            extensions = (*extensions, "CHUNKING")
        secure: dict[str, Any] = {}
        users = None
        identity = None
        if request.param == "tls":
            authority = TestAuthority(tmp_path)
            identity = authority.issue("localhost")
            users = {"org": "secret"}
            (tmp_path / "password").write_text("secret\n")
            (tmp_path / "password").chmod(0o600)
            secure = {
                "ca_file": authority.file,
                "username": "org",
                "password_file": tmp_path / "password",
            }
        level: Any = "implicit" if request.param == "tls" else "none"
        with NextHop(level, identity, users, extensions) as next_hop:
            options = SmarthostOptions(
                host="localhost", port=next_hop.port, tls=level, connections=4, **secure
            )
            hop = SmarthostHop(next_hop, options)
            yield hop
            hop.wait(hop.backend.stop())
            hop.loop.close()
