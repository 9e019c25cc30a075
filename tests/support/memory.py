"""Clients in memory: Twisted's own TCP and TLS transports over a stand-in socket.

What lies between the two ends is a pair of byte strings, so that a test decides what
comes when, sees each octet on the wire, and needs neither a reactor nor a port.
"""

import base64
import errno
import os
import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from tests.support.server import LOGIN, PASSWORD

PLENTY = 1 << 30

EHLO = b"EHLO client.example\r\n"
AUTH = b"AUTH PLAIN %b\r\n" % base64.b64encode(f"\0{LOGIN}\0{PASSWORD}".encode())
MAIL = f"MAIL FROM:<{LOGIN}>\r\n".encode()
RCPT = b"RCPT TO:<bob@example.net>\r\n"
DATA = b"DATA\r\n"
TEXT = f"From: {LOGIN}\r\nSubject: x\r\n\r\ntext\r\n".encode()
LONG_TEXT = TEXT + (b"x" * 98 + b"\r\n") * 41  # so much that it is not waited for more
END = b".\r\n"


class Wire:
    """Stands in for the connected socket on the server's side.

    :ivar to_server: octets that the server has not read yet.
    :ivar to_client: octets that the client has not read yet.
    :ivar room: how many octets the server can still write before it must wait.
    :ivar ended: the client sends no more; reading on gives the end, or *fault*.
    :ivar fault: the error number that the server's reads and writes meet.
    :ivar closed: the server has closed.
    :ivar was_reset: it did so by a reset, which drops what is under way.
    """

    def __init__(self, room: int) -> None:
        self.to_server = b""
        self.to_client = b""
        self.room = room
        self.ended = False
        self.fault: int | None = None
        self.closed = False
        self.was_reset = False

    @property
    def is_readable(self) -> bool:
        """Whether `recv` has something to tell."""
        return bool(self.to_server) or self.ended or self.fault is not None

    def recv(self, octets: int) -> bytes:
        """As of a socket that doesn't block."""
        self._check()
        if not self.to_server and not self.ended:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        data, self.to_server = self.to_server[:octets], self.to_server[octets:]
        return data

    def send(self, data: bytes) -> int:
        """As of a socket that doesn't block."""
        self._check()
        taken = bytes(data[: self.room])
        if data and not taken:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        self.room -= len(taken)
        self.to_client += taken
        return len(taken)

    def _check(self) -> None:
        if self.fault is not None:
            raise OSError(self.fault, os.strerror(self.fault))

    def setblocking(self, _flag: bool) -> None:
        """Never blocks."""

    def fileno(self) -> int:
        """No descriptor."""
        return -1

    def setsockopt(self, _level: int, option: int, _value: object) -> None:
        """Note a reset to come."""
        if option == socket.SO_LINGER:
            self.was_reset = True

    def shutdown(self, _how: int) -> None:
        """Nothing to do: `close` follows."""

    def close(self) -> None:
        """The server is done."""
        self.closed = True


class Client:
    """One client and its connection, made by `Listener.connect`.

    :ivar wire: what lies between.
    :ivar seen: every octet that has come, as it was on the wire.
    :ivar text: what of it has not been taken by `lines`, decrypted where TLS is in force.
    :ivar tls: the client's side of TLS, or None.
    :ivar secure: whether the handshake is done, as the client sees it.
    :ivar fault: the error that ended TLS, or None.
    :ivar reading: False: the client takes nothing off the wire.
    """

    def __init__(
        self, clock: MemoryReactorClock, factory: Any, address: str, room: int = PLENTY
    ) -> None:
        self._clock = clock
        self.wire = Wire(room)
        self.seen = b""
        self.text = b""
        self.tls: SSL.Connection | None = None
        self.secure = False
        self.fault: SSL.Error | None = None
        self.reading = True
        is_v6 = ":" in address
        peer = IPv6Address("TCP", address, 40000) if is_v6 else IPv4Address("TCP", address, 40000)
        place = (address, 40000, 0, 0) if is_v6 else (address, 40000)
        wire: Any = self.wire
        nobody: Any = None
        reactor: Any = clock
        protocol = factory.buildProtocol(peer)
        self.transport: Any = tcp.Server(wire, protocol, place, nobody, 1, reactor)
        protocol.makeConnection(self.transport)
        self.run()

    @property
    def closed(self) -> bool:
        """Whether the server has closed the connection, all of it."""
        return self.wire.closed

    def start_tls(self, context: SSL.Context | None = None, name: str | None = None) -> None:
        """Do the handshake, as far as it goes.

        :param context: by default one that takes any certificate.
        :param name: the server name to ask for.
        """
        self.wire.to_server += self.begin_tls(context, name)
        self.run()

    def begin_tls(self, context: SSL.Context | None = None, name: str | None = None) -> bytes:
        """Make ready for the handshake; the ClientHello, which is not sent yet."""
        self.tls = SSL.Connection(context or SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.tls.set_connect_state()
        if name is not None:
            self.tls.set_tlsext_host_name(name.encode("ascii"))
        try:
            self.tls.do_handshake()
        except SSL.WantReadError:
            return self.tls.bio_read(1 << 20)
        raise AssertionError("a handshake of no round trip")

    def send(self, data: bytes) -> None:
        """Say *data*, in one piece, and let the server do what it does at once."""
        self.put(data)
        self.run()

    def put(self, data: bytes) -> None:
        """Put *data* on the wire; the server sees it at the next `run`."""
        if self.tls is None:
            self.wire.to_server += data
            return
        for start in range(0, len(data), 16_384):
            self.tls.send(data[start : start + 16_384])
        self._flush_tls(self.tls)

    def lines(self) -> list[str]:
        """Take what the server has said."""
        text, self.text = self.text, b""
        return text.decode("ascii").splitlines()

    def ask(self, data: bytes) -> list[str]:
        """Say *data*; what the server has said by then."""
        self.send(data)
        return self.lines()

    def log_in(self) -> "Client":
        """EHLO and AUTH; self."""
        assert self.ask(EHLO + AUTH)[-1].startswith("235 ")
        return self

    def begin_message(self) -> "Client":
        """MAIL, RCPT and DATA; self."""
        assert self.ask(MAIL + RCPT + DATA)[-1].startswith("354 ")
        return self

    def hang_up(self) -> None:
        """Close in good order (FIN)."""
        self.wire.ended = True
        self.run()

    def vanish(self) -> None:
        """Reset the connection."""
        self.wire.fault = errno.ECONNRESET
        self.run()

    def run(self) -> None:
        """Let both sides read and write until nothing moves any more."""
        while True:
            self._clock.advance(0)
            moved = self._serve()
            if self.reading:
                moved |= self._receive()
            if not moved:
                return

    def _serve(self) -> bool:
        """What the reactor would do now; whether there was anything."""
        transport, wire = self.transport, self.wire
        moved = False
        if transport in self._clock.getWriters():
            before = len(wire.to_client), wire.room
            if lost := transport.doWrite():
                self._lose(lost)
            moved = before != (len(wire.to_client), wire.room)
        if transport in self._clock.getReaders() and wire.is_readable:
            if lost := transport.doRead():
                self._lose(lost)
            moved = True
        return moved

    def _lose(self, reason: Exception) -> None:
        self._clock.removeReader(self.transport)
        self._clock.removeWriter(self.transport)
        self.transport.connectionLost(Failure(reason))

    def _receive(self) -> bool:
        data, self.wire.to_client = self.wire.to_client, b""
        self.seen += data
        if self.tls is None:
            self.text += data
            return bool(data)
        if data:
            self.tls.bio_write(data)
        try:
            if not self.secure:
                self.tls.do_handshake()
                self.secure = True
            while True:
                self.text += self.tls.recv(65_536)
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.tls.shutdown()
        except SSL.Error as error:
            self.fault = error
        return self._flush_tls(self.tls) or bool(data)

    def _flush_tls(self, tls: SSL.Connection) -> bool:
        try:
            self.wire.to_server += tls.bio_read(1 << 20)
        except SSL.WantReadError:
            return False
        return True
