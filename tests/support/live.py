"""A dialogue's side that is a running server."""

import socket
import ssl

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
