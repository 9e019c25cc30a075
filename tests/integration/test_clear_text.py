"""What a network can see or put in: nothing of value before TLS, nothing carried over."""

import smtplib
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing
from socket import create_connection, socket

import pytest

from tests.support.server import HOSTNAME, LOGIN, PASSWORD, Server


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A running server."""
    with make_server().running() as running:
        yield running


def read_all(connection: socket) -> bytes:
    """What comes until the other side closes or cuts the connection."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def read_reply(connection: socket) -> bytes:
    """One reply, all its lines."""
    data = b""
    while not data.endswith(b"\r\n") or data.splitlines()[-1][3:4] != b" ":
        piece = connection.recv(65536)
        assert piece, data
        data += piece
    return data


def ask(connection: socket, command: bytes) -> bytes:
    """The reply to a command."""
    connection.sendall(command + b"\r\n")
    return read_reply(connection)


def test_plain_text_on_the_implicit_port_gets_no_smtp(server: Server) -> None:
    """Who speaks in clear to the implicit TLS port gets an alert at most, and the end."""
    with create_connection(("127.0.0.1", server.implicit_port), timeout=20) as connection:
        connection.sendall(b"EHLO client.example\r\nAUTH PLAIN AGEAYg==\r\n")
        answer = read_all(connection)
    assert answer[:1] in (b"", b"\x15")  # nothing, or a TLS alert record
    assert b"220" not in answer
    assert b"250" not in answer
    with server.smtp() as smtp:
        assert smtp.noop()[0] == 250


def test_the_implicit_port_says_nothing_before_the_handshake(server: Server) -> None:
    """A client that waits for a greeting in clear waits in vain."""
    place = ("127.0.0.1", server.implicit_port)
    with create_connection(place, timeout=0.5) as connection, pytest.raises(TimeoutError):
        connection.recv(1)


@pytest.mark.parametrize(
    "command",
    [b"MAIL FROM:<alice@example.org>", b"RCPT TO:<bob@example.net>", b"DATA", b"VRFY alice",
     b"AUTH LOGIN", b"AUTH PLAIN AGFsaWNlAHg="],
)  # fmt: skip
def test_nothing_of_value_is_served_before_starttls(server: Server, command: bytes) -> None:
    """Before STARTTLS, login and mail are refused with 530 or 538, and AUTH isn't offered."""
    with closing(server.connect_plain()) as connection:
        read_reply(connection)
        hello = ask(connection, b"EHLO client.example")
        assert b"STARTTLS" in hello
        assert b"AUTH" not in hello
        assert ask(connection, command)[:3] in (b"530", b"538")


def test_commands_behind_starttls_are_never_carried_out(server: Server) -> None:
    """Bytes in the same segment as STARTTLS end the connection, and nothing of them is done."""
    with closing(server.connect_plain()) as connection:
        read_reply(connection)
        ask(connection, b"EHLO client.example")
        connection.sendall(b"STARTTLS\r\nEHLO evil.example\r\nNOOP\r\n")
        answer = read_all(connection)
    assert answer.count(b"\r\n") <= 1
    assert not answer.startswith(b"220")
    assert not answer.startswith(b"250")


def test_the_session_starts_from_nothing_after_starttls(server: Server) -> None:
    """After the handshake MAIL isn't taken before a new EHLO and a login; STARTTLS is gone."""
    with closing(server.connect_plain()) as plain:
        read_reply(plain)
        ask(plain, b"EHLO client.example")
        assert ask(plain, b"STARTTLS")[:3] == b"220"
        with server.context().wrap_socket(plain, server_hostname=HOSTNAME) as connection:
            assert ask(connection, b"MAIL FROM:<alice@example.org>")[:3] in (b"503", b"530")
            hello = ask(connection, b"EHLO client.example")
            assert b"STARTTLS" not in hello
            assert b"AUTH" in hello
            assert ask(connection, b"STARTTLS")[:3] == b"503"
            assert ask(connection, b"MAIL FROM:<alice@example.org>")[:3] == b"530"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(server: Server) -> None:
    """A client that knows nothing newer than TLS 1.1 gets no connection."""
    context = server.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with closing(server.connect_plain()) as plain:
        read_reply(plain)
        ask(plain, b"EHLO client.example")
        ask(plain, b"STARTTLS")
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(plain, server_hostname=HOSTNAME)


def test_the_server_ends_tls_before_it_ends_tcp(server: Server) -> None:
    """After QUIT the server says close_notify, so that a cut connection can be told from an end."""
    plain = create_connection(("127.0.0.1", server.implicit_port), timeout=20)
    with server.context().wrap_socket(
        plain, server_hostname=HOSTNAME, suppress_ragged_eofs=False
    ) as connection:
        read_reply(connection)
        assert ask(connection, b"QUIT").startswith(b"221")
        assert connection.recv(1) == b""


def test_the_log_never_holds_a_password(server: Server) -> None:
    """Neither a right password nor a wrong one is written to the log, plain or encoded."""
    with server.smtp() as smtp:
        smtp.sendmail(LOGIN, ["bob@example.net"], f"From: {LOGIN}\n\nsecret text\n")
    with server.smtp(login=False) as smtp, pytest.raises(smtplib.SMTPAuthenticationError):
        smtp.login(LOGIN, "wrong-password")
    server.terminate()
    log = server.log()
    for secret in (PASSWORD, "wrong-password"):
        assert secret not in log
        assert b64encode(secret.encode()).decode().rstrip("=") not in log
    assert "secret text" not in log
