"""Limits of the running server: sizes, numbers, seconds."""

import base64
import smtplib
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.support.server import LOGIN, PASSWORD, Server

HEAD = f"From: {LOGIN}\r\nTo: bob@example.net\r\nSubject: x\r\n\r\n".encode()


def test_a_message_larger_than_declared_and_allowed_is_refused(
    make_server: Callable[..., Server],
) -> None:
    """A message that turns out over the limit gets 552 after its end, and the session goes on."""
    server = make_server(tables={"limits": "message_size_bytes = 65536"})
    with server.running(), server.smtp() as smtp:
        smtp.mail(LOGIN, ["SIZE=1000"])
        smtp.rcpt("bob@example.net")
        code, text = smtp.data(HEAD + (b"y" * 98 + b"\r\n") * 700)
        assert (code, text[:5]) == (552, b"5.3.4")
        smtp.sendmail(LOGIN, ["bob@example.net"], HEAD + b"small\r\n")


def test_recipients_over_the_limit_are_put_off(make_server: Callable[..., Server]) -> None:
    """A hundred recipients are taken, the one over the limit gets 452, and the rest is sent."""
    server = make_server(tables={"limits": "recipients_per_message = 100"})
    with server.running(), server.smtp() as smtp:
        smtp.mail(LOGIN)
        codes = [smtp.rcpt(f"b{n}@example.net")[0] for n in range(101)]
        assert codes == [250] * 100 + [452]
        assert smtp.data(HEAD)[0] == 250


def test_an_auth_line_of_the_full_length_is_read(make_server: Callable[..., Server]) -> None:
    """A response of 12,288 octets is judged as a login; a longer one is refused with 500."""
    with make_server().running() as server, server.smtp(login=False) as smtp:
        smtp.ehlo("client.example")
        for octets, expected in ((12_288, (535, 501)), (12_296, (500,))):
            plain = b"\0" + LOGIN.encode() + b"\0"
            response = base64.b64encode(plain + b"x" * ((octets - 2) // 4 * 3 - len(plain)))
            assert smtp.docmd("AUTH", "PLAIN")[0] == 334
            assert smtp.docmd(response.decode())[0] in expected


def test_a_silent_client_is_sent_away(make_server: Callable[..., Server]) -> None:
    """A client that says nothing for longer than allowed gets 421 4.4.2 and the end."""
    limits = "command_s = 1\nlogin_s = 1\nhandshake_s = 1"
    with make_server(tables={"limits": limits}).running() as server:
        with server.connect_plain() as silent:
            replies = b""
            while piece := silent.recv(1000):
                replies += piece
            assert replies.splitlines()[1].startswith(b"421 4.4.2")
        with server.smtp() as smtp:
            code, text = smtp.getreply()
            assert (code, text[:5]) == (421, b"4.4.2")
            smtp.close()


def test_connections_of_one_address_are_bounded(make_server: Callable[..., Server]) -> None:
    """One connection more than an address may have is refused, and there is room again later."""
    server = make_server()
    file = server.site / "submitd.toml"
    file.write_text(file.read_text().replace("per_address = 1000", "per_address = 3"))
    with server.running():
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(server.smtp())
            with server.connect_plain() as refused:
                assert refused.recv(1000).startswith(b"421 4.7.0")
            with pytest.raises(OSError, match=r"reset|EOF|closed|timed out"):
                server.connect_implicit()
        with server.smtp() as smtp:
            assert smtp.noop()[0] == 250


def test_failed_logins_end_the_connection(make_server: Callable[..., Server]) -> None:
    """After the failures allowed the connection ends with 421 4.7.0; a good login still works."""
    limits = "failed_logins_per_connection = 2"
    with make_server(tables={"limits": limits}).running() as server:
        smtp = server.smtp(login=False)
        smtp.ehlo("client.example")
        with pytest.raises(smtplib.SMTPAuthenticationError):
            smtp.login(LOGIN, "wrong")
        bad = base64.b64encode(f"\0{LOGIN}\0worse".encode()).decode()
        code, text = smtp.docmd("AUTH", f"PLAIN {bad}")
        assert (code, text[:5]) in ((421, b"4.7.0"), (535, b"5.7.8"))
        smtp.close()
        with server.smtp(login=False) as good:
            assert good.login(LOGIN, PASSWORD)[0] == 235
