"""Limits and parameters of extensions as the configuration sets them, on a running server."""

import smtplib
from collections.abc import Callable, Iterator

import pytest

from tests.support.server import LOGIN, Server

CONTENT = f"From: {LOGIN}\r\n\r\ntext\r\n".encode()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server with narrow limits, whose mail ends in a Maildir."""
    limits = """
recipients_per_message = 100
messages_per_connection = 2
future_release_s = 3600
highest_priority = 2
"""
    with make_server(tables={"limits": limits}).running() as server:
        yield server


def test_announced_limits_hold(server: Server) -> None:
    """RCPTMAX and MAILMAX are announced; the recipient and the message above them are put off."""
    with server.smtp() as smtp:
        assert smtp.esmtp_features["limits"] == "RCPTMAX=100 MAILMAX=2"
        for _ in range(2):
            assert smtp.mail(LOGIN)[0] == 250
            replies = [smtp.rcpt(f"bob{number}@example.net") for number in range(101)]
            assert {code for code, _ in replies[:100]} == {250}
            assert replies[100] == (452, b"4.5.3 Too many recipients")
            assert smtp.data(CONTENT)[0] == 250
        code, text = smtp.mail(LOGIN)
        assert (code, text[:5]) == (421, b"4.5.3")
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.noop()


def test_priority_is_capped(server: Server) -> None:
    """A priority above what the configuration gives is lowered, and the client is told."""
    with server.smtp() as smtp:
        assert smtp.mail(LOGIN, ["MT-PRIORITY=2"]) == (250, b"2.1.0 Sender ok")
        smtp.rset()
        assert smtp.mail(LOGIN, ["MT-PRIORITY=3"])[1].startswith(b"2.3.6")
