"""Random octets against a running server, and an honest client meanwhile."""

import base64
import contextlib
import random
import socket
import ssl
import struct
import time
from collections.abc import Iterator, Sequence

import attrs

from tests.fuzz.mutations import mutated
from tests.fuzz.splits import pieces
from tests.fuzz.targets import seeds, words
from tests.support.server import HOSTNAME, LOGIN, PASSWORD, Server

_ABUSER = "127.0.0.2"  # so that what is held against it isn't against the honest client
_TOGETHER = 20
_MOST_OCTETS = 3000
_PLENTY = 10**9
_LINGER_NOT = struct.pack("ii", 1, 0)  # close with a reset
_LOG_IN = b"EHLO c.example\r\nAUTH PLAIN %b\r\n" % base64.b64encode(
    f"\0{LOGIN}\0{PASSWORD}".encode()
)


@attrs.define
class Outcome:
    """What a storm came to.

    :ivar connections: of abusers.
    :ivar octets: that they sent.
    :ivar subjects: of the messages that the honest client had taken with 250.
    :ivar slowest_s: the longest that one of these took.
    """

    connections: int = 0
    octets: int = 0
    subjects: list[str] = attrs.field(factory=list)
    slowest_s: float = 0.0


def storm(server: Server, seconds: float, seed: int) -> Outcome:
    """Abuse a running server for some time; after each round the honest client sends a message.

    :raises OSError: when the honest client isn't served (`smtplib.SMTPException` is one too).
    """
    outcome = Outcome()
    dice = random.Random(seed)
    # Without the two octets that are for the target.
    corpus = [data[2:] for data in seeds("session")]
    streams = mutated(corpus, list(words()), _PLENTY, _MOST_OCTETS, seed)
    end_s = time.monotonic() + seconds
    while not outcome.subjects or time.monotonic() < end_s:
        with contextlib.ExitStack() as stack:
            abusers = []
            for _ in range(_TOGETHER):
                with contextlib.suppress(OSError):
                    abusers.append(stack.enter_context(_connect(server, dice)))
            for abuser in abusers:
                outcome.connections += 1
                with contextlib.suppress(OSError):
                    outcome.octets += _abuse(abuser, next(streams), dice)
            _send_honestly(server, outcome)
    return outcome


def _connect(server: Server, dice: random.Random) -> socket.socket:
    """An abuser's connection at some stage: in clear, within TLS, logged in."""
    implicit = dice.random() < 0.7
    port = server.implicit_port if implicit else server.starttls_port
    plain = socket.create_connection(("127.0.0.1", port), 5, (_ABUSER, 0))
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if dice.random() < 0.2:
            return plain
        if not implicit:
            plain.recv(1000)
            plain.sendall(b"STARTTLS\r\n")
            plain.recv(1000)
        secure: ssl.SSLSocket = server.context().wrap_socket(plain, server_hostname=HOSTNAME)
        if dice.random() < 0.7:
            secure.sendall(_LOG_IN)
        return secure
    except BaseException:
        plain.close()
        raise


def _abuse(abuser: socket.socket, stream: bytes, dice: random.Random) -> int:
    """Say *stream* in some pieces, and leave in some way; how much was said."""
    said = 0
    for piece in _some(stream, dice):
        abuser.sendall(piece)
        said += len(piece)
    match dice.randrange(4):
        case 0:  # as an honest one would
            abuser.settimeout(0.05)
            with contextlib.suppress(OSError):
                while abuser.recv(65_536):
                    pass
        case 1:
            abuser.shutdown(socket.SHUT_WR)
        case 2:
            abuser.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    return said


def _some(stream: bytes, dice: random.Random) -> Iterator[bytes]:
    pattern = dice.choice((0, 0, 7, 64, 100))
    cut: Sequence[bytes] = list(pieces(stream, pattern))
    return iter(cut[: dice.randint(1, 200)])


def _send_honestly(server: Server, outcome: Outcome) -> None:
    subject = f"honest {len(outcome.subjects)}"
    begun_s = time.monotonic()
    port = ("implicit", "starttls")[len(outcome.subjects) % 2]
    with server.smtp(port) as smtp:
        text = f"From: {LOGIN}\r\nSubject: {subject}\r\n\r\nhello\r\n"
        smtp.sendmail(LOGIN, ["bob@example.net"], text)
    outcome.slowest_s = max(outcome.slowest_s, time.monotonic() - begun_s)
    outcome.subjects.append(subject)
