"""What one client can make a connection hold and do: counted in octets and calls, not in time."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred

from submitd.smtp import replies
from submitd.smtp.incoming import PIECE_OCTETS
from submitd.smtp.server import STRANGER_BURST
from submitd.transport.server import READ_AHEAD_OCTETS
from tests.support.memory import AUTH, EHLO, END, MAIL, RCPT, TEXT, Client
from tests.support.stage import SETTINGS, Stage

HANDSHAKE, ALERT = 22, 21  # RFC 8446 §5.1
CLIENT_HELLO = 1
LARGEST_CLIENT_HELLO = 131_396  # OpenSSL's own bound
WRITE_AHEAD_OCTETS = 65_536  # of Twisted's: beyond it a transport pauses its producer
ONE_READ = 65_536


def record(kind: int, data: bytes) -> bytes:
    """One TLS record in clear."""
    return bytes((kind, 3, 3)) + len(data).to_bytes(2) + data


def written(client: Client) -> int:
    """How many octets the server holds for a client that does not read."""
    transport = client.transport
    return len(transport.dataBuffer) + sum(map(len, transport._tempDataBuffer))


def each_in_a_record(client: Client, data: bytes) -> None:
    """Send *data*, each octet in a TLS record of its own, all in one piece."""
    for value in data:
        client.put(bytes((value,)))
    client.run()


# ---- TLS --------------------------------------------------------------------------


def test_tiny_records_are_joined(implicit: Stage) -> None:
    """A message with each octet in a record of its own is handed on in few pieces."""
    client = implicit.secure().log_in().begin_message()
    text = TEXT + b"x" * 10_000 + b"\r\n"
    each_in_a_record(client, text + END)
    assert client.lines() == ["250 2.0.0 Queued as 1"]
    assert implicit.last.content_octets == text
    pieces = [call for call in implicit.last.calls if call[0] == "content"]
    assert len(pieces) <= len(text) // PIECE_OCTETS + 1


def test_commands_in_tiny_records(implicit: Stage) -> None:
    """Commands with each octet in a record of its own are answered like others."""
    client = implicit.secure()
    each_in_a_record(client, EHLO + AUTH + MAIL + RCPT)
    assert client.lines()[-1] == str(replies.RECIPIENT_OK)


def test_empty_records_are_bounded(implicit: Stage) -> None:
    """A flood of records without content ends the connection."""
    client = implicit.connect()
    client.send(record(HANDSHAKE, b"") * 1000)
    assert client.closed


@pytest.mark.parametrize("octets", [131_397, 0xFFFFFF])
def test_a_client_hello_of_any_size(implicit: Stage, octets: int) -> None:
    """A ClientHello that claims to be larger than OpenSSL takes is refused at its beginning."""
    client = implicit.connect()
    begin = bytes((CLIENT_HELLO,)) + octets.to_bytes(3)
    client.send(record(HANDSHAKE, begin + b"x" * 100))
    assert client.closed
    assert len(client.seen) < 100


def test_a_client_hello_in_pieces_is_bounded(implicit: Stage) -> None:
    """However a ClientHello goes on, no more than its largest size is ever taken in."""
    client = implicit.connect()
    client.send(record(HANDSHAKE, bytes((CLIENT_HELLO,)) + LARGEST_CLIENT_HELLO.to_bytes(3)))
    sent = 0
    while not client.closed and sent < 1_000_000:
        client.send(record(HANDSHAKE, b"x" * 1000))
        sent += 1000
    assert client.closed
    assert sent <= LARGEST_CLIENT_HELLO + 1000


def test_a_flood_of_client_hellos_is_answered_once(implicit: Stage) -> None:
    """ClientHello after ClientHello on one connection makes one key exchange, and then the end."""
    client = implicit.connect()
    hello = client.begin_tls()
    client.tls = None
    client.send(hello * 100)
    assert client.closed
    other = implicit.connect()
    other.begin_tls()
    other.tls = None
    other.send(hello)
    assert len(client.seen) <= len(other.seen) + 50  # and an alert
    assert not other.closed


def test_renegotiation_without_reading(implicit: Stage) -> None:
    """A client of TLS 1.2 that asks for a new handshake gets none, and no second alert."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client = implicit.connect()
    client.start_tls(context)
    assert client.tls is not None
    before = len(client.seen)
    assert client.tls.renegotiate()
    with pytest.raises(SSL.WantReadError):
        client.tls.do_handshake()
    hello = client.tls.bio_read(1 << 16)
    client.wire.to_server += hello * 100
    client.run()
    assert client.closed
    assert len(client.seen) - before < 200


OTHERS = {
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x01\x00\x80" * 7 + b"x" * 16,
    "SSL 3": bytes((HANDSHAKE, 3, 0, 0, 45, CLIENT_HELLO, 0, 0, 41, 3, 0)) + bytes(32)
    + b"\x00\x00\x02\x00\x0a\x01\x00",
    "HTTP": b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "HTTP 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "SMTP": EHLO + MAIL,
}  # fmt: skip


@pytest.mark.parametrize("after_starttls", [False, True])
@pytest.mark.parametrize("words", OTHERS.values(), ids=OTHERS)
def test_no_handshake_but_tls(
    make_stage: Callable[..., Stage], words: bytes, after_starttls: bool
) -> None:
    """Where a TLS handshake is due, anything else gets an alert at most, and the end."""
    stage = make_stage("starttls" if after_starttls else "implicit")
    client = stage.connect()
    if after_starttls:
        client.ask(b"STARTTLS\r\n")
    before = len(client.seen)
    client.send(words)
    assert client.closed
    told = client.seen[before:]
    assert told == b"" or told[0] == ALERT
    assert len(told) < 10
    assert stage.last.calls[-1][1].startswith("no TLS: ")


@pytest.mark.parametrize("words", [OTHERS["SSL 2"], OTHERS["SSL 3"], OTHERS["HTTP"]])
def test_other_protocols_on_the_starttls_port(starttls: Stage, words: bytes) -> None:
    """TLS or HTTP at once, where STARTTLS is due, is told so in one line, and is the end."""
    client = starttls.connect()
    client.lines()
    assert client.ask(words) == [str(replies.NOT_SMTP)]
    assert client.closed
    assert starttls.last.calls == [("closed", "not SMTP")]


def test_a_real_client_hello_on_the_starttls_port(starttls: Stage) -> None:
    """A client that is set to implicit TLS by mistake hears of it at once."""
    client = starttls.connect()
    hello = client.begin_tls()
    client.tls = None
    client.lines()
    assert client.ask(hello) == [str(replies.NOT_SMTP)]
    assert client.closed


# ---- replies that nobody reads ----------------------------------------------------


@pytest.mark.parametrize("command", [b"NOOP\r\n", EHLO, b"HELP\r\n", b"BDAT 1\r\nx"])
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_unread_replies_are_bounded(
    make_stage: Callable[..., Stage], tls: str, command: bytes
) -> None:
    """Of a pipeline whose replies nobody reads, a bounded part is read, and a bounded one held."""
    stage = make_stage(tls)
    client = stage.secure().log_in()
    client.ask(MAIL + RCPT)
    client.reading = False
    client.wire.room = 0
    client.put(command * (900_000 // len(command)))
    sent = len(client.wire.to_server)
    client.run()
    assert sent - len(client.wire.to_server) < 5 * ONE_READ
    # A read may be answered in whole before the transport's word to pause is heeded.
    largest_reply = {EHLO: 320, b"HELP\r\n": 90}.get(command, 32)
    most = WRITE_AHEAD_OCTETS + 2 * (ONE_READ // len(command) + 1) * largest_reply
    assert written(client) < most


def test_a_pipeline_behind_a_verdict_is_bounded(implicit: Stage) -> None:
    """While a verdict is awaited, what is read ahead is bounded, however much is sent."""
    client = implicit.secure().log_in()
    implicit.last.script["mail"] = [Deferred()]
    client.send(MAIL + RCPT * 100_000)
    protocol: Any = client.transport.protocol.wrappedProtocol
    assert protocol._session.buffered <= READ_AHEAD_OCTETS + ONE_READ


def test_thousands_of_recipients(implicit: Stage) -> None:
    """Of a hundred thousand RCPT the policy sees as many as are allowed, and the end comes."""
    client = implicit.secure().log_in()
    client.send(MAIL + RCPT * 100_000)
    assert client.lines()[-1] == str(replies.TOO_MANY_ERRORS)
    assert client.closed
    assert implicit.last.names().count("rcpt") == 100


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"WHAT\r\n", EHLO])
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_flood_without_a_login_waits(
    make_stage: Callable[..., Stage], tls: str, command: bytes
) -> None:
    """Before a login, twenty commands that lead nowhere are read a second, and no more."""
    settings = attrs.evolve(SETTINGS, junk_commands_per_connection=100, errors_per_connection=101)
    stage = make_stage(tls, settings=settings)
    client = stage.connect()
    if tls == "implicit":
        client.start_tls()
    client.lines()
    client.send(command * 1000)
    answered = 0
    for _ in range(5):
        answered += sum(line[3] == " " for line in client.lines())
        assert not client.closed
        stage.listener.wait(1, client)
        assert answered % STRANGER_BURST == 0
    assert answered == 5 * STRANGER_BURST
    stage.listener.wait(1, client)
    assert client.lines()[-1].startswith("421 4.7.0 ")
    assert client.closed


def test_a_client_that_waits_can_log_in(implicit: Stage) -> None:
    """A client that was made to wait loses nothing of what it said meanwhile."""
    client = implicit.secure()
    client.send(EHLO + b"NOOP\r\n" * 25 + AUTH)
    assert not client.lines()[-1].startswith("235 ")
    implicit.listener.wait(1.5, client)
    assert client.lines()[-1].startswith("235 ")
    assert client.ask(b"NOOP\r\n" * 50) == [str(replies.OK)] * 50


def test_a_client_that_waits_is_told_of_the_end(implicit: Stage) -> None:
    """A client that is made to wait while the server stops is told so at once."""
    client = implicit.secure()
    client.send(b"NOOP\r\n" * 25)
    implicit.listener.connections.drain()
    client.run()
    assert client.lines()[-1] == str(replies.SHUTTING_DOWN)
    assert client.closed


def test_a_storm_of_commands_ends(make_stage: Callable[..., Stage]) -> None:
    """Of a hundred thousand unknown commands a few are answered before the end."""
    stage = make_stage()
    client = stage.secure().log_in()
    client.send(b"WHAT\r\n" * 100_000)
    assert len(client.lines()) == 11
    assert client.closed
