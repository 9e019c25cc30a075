"""Limits and parameters of extensions as the configuration sets them, on a running server."""

import json
import smtplib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.server import LOGIN, Server, wait_until

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


def submitctl(server: Server, *arguments: str) -> str:
    """Run the operator's command on the server's site; what it printed."""
    command = [
        str(Path(sys.executable).with_name("submitctl")),
        "--config", str(server.site / "submitd.toml"), "queue", *arguments,
    ]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout


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


def test_a_message_is_held_until_it_is_released(server: Server) -> None:
    """A message to be sent later waits in sight of the operator, who can send it now."""
    with server.smtp() as smtp:
        assert smtp.esmtp_features["futurerelease"].startswith("3600 ")
        assert smtp.mail(LOGIN, ["HOLDFOR=3601"])[0] == 501
        smtp.sendmail(LOGIN, ["bob@example.net"], CONTENT, mail_options=["HOLDFOR=3600"])
        smtp.sendmail(LOGIN, ["carol@example.net"], CONTENT)
    wait_until("what isn't held is delivered", lambda: len(server.mails()) == 1)
    (held,) = json.loads(submitctl(server, "list", "--json"))
    submitctl(server, "release", held["id"])
    wait_until("what was held is delivered", lambda: len(server.mails()) == 2)
