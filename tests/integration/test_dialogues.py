"""The golden dialogues against the listeners of a running server."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dialogue import Dialogue, dialogues
from tests.support.server import HOSTNAME, Server


class LiveSide:
    """Plays `tests.support.dialogue.Side` over a socket."""

    def __init__(self, server: Server, listener: str):
        self._context = server.context()
        self._socket: socket.socket
        if listener == "implicit":
            self._socket = server.connect_implicit()
        else:
            self._socket = server.connect_plain()
        self._received = b""

    def send(self, data: bytes) -> None:
        """See `Side`."""
        self._socket.sendall(data)

    def line(self) -> str:
        """See `Side`."""
        while b"\r\n" not in self._received:
            data = self._socket.recv(65536)
            assert data, f"the server has closed; before: {self._received!r}"
            self._received += data
        line, _, self._received = self._received.partition(b"\r\n")
        return line.decode("ascii")

    def start_tls(self) -> None:
        """See `Side`."""
        assert not self._received
        self._socket = self._context.wrap_socket(self._socket, server_hostname=HOSTNAME)

    def expect_end(self) -> None:
        """See `Side`."""
        try:
            rest = self._received + self._socket.recv(1)
        except (ssl.SSLError, ConnectionError):
            rest = self._received
        assert rest == b""

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that throws all mail away, with the limits that the dialogues know."""
    limits = "failed_logins_per_connection = 3\nerrors_per_connection = 10"
    site: Path = tmp_path_factory.mktemp("dialogues")
    with Server.make(site, 'backend = "discard"', {"limits": limits}).running() as server:
        yield server


@pytest.mark.parametrize("dialogue", dialogues(), ids=lambda dialogue: dialogue.name)
def test_dialogue(server: Server, dialogue: Dialogue) -> None:
    """Each dialogue goes over a socket, with real TLS, as it is written."""
    side = LiveSide(server, dialogue.listener)
    try:
        dialogue.play(side)
    finally:
        side.close()
