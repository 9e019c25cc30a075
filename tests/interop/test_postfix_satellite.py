"""Postfix as a satellite: its SMTP client submits through both ports what it took in itself."""

import smtplib
from collections.abc import Iterator

import pytest

from tests.support import postfix
from tests.support.clients import Port
from tests.support.postfix import Postfix
from tests.support.server import HOSTNAME, LOGIN, PASSWORD
from tests.support.way import Way

CONTENT = (
    "From: alice@example.org\r\nTo: bob@example.net\r\nSubject: satellite\r\n"
    "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@example.org>\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n.\r\n..\r\nThe end.\r\n"
).encode()

# One service for each port; the sender, which has the port's name in it, chooses.
_SERVICES = """\
implicit unix - - n - - smtp
  -o smtp_tls_wrappermode=yes
starttls unix - - n - - smtp
"""

ports = pytest.mark.parametrize("port", ["implicit", "starttls"])


@pytest.fixture(scope="module")
def satellite(way: Way) -> Iterator[Postfix]:
    """A Postfix that submits all mail, that of `PORT@example.org` through that port."""
    with postfix.directory() as directory:
        routes = {
            "implicit": f"[127.0.0.1]:{way.server.implicit_port}",
            "starttls": f"[127.0.0.1]:{way.server.starttls_port}",
        }
        (directory / "passwords").write_text(
            "".join(f"{route} {LOGIN}:{PASSWORD}\n" for route in routes.values())
        )
        senders = {f"{port}{letter}@example.org": port for port in routes for letter in ("", "ü")}
        senders["<>"] = "implicit"
        (directory / "transports").write_text(
            "".join(f"{sender} {port}:{routes[port]}\n" for sender, port in senders.items())
        )
        (directory / "authority.pem").write_bytes(way.server.authority_file.read_bytes())
        settings = {
            "sender_dependent_default_transport_maps": f"texthash:{directory}/transports",
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": f"texthash:{directory}/passwords",
            "smtp_sasl_security_options": "noanonymous",
            "smtp_tls_security_level": "secure",
            "smtp_tls_secure_cert_match": HOSTNAME,
            "smtp_tls_CAfile": f"{directory}/authority.pem",
        }
        with Postfix.make(directory, settings, _SERVICES).running() as running:
            yield running


@ports
def test_delivery_status_parameters(way: Way, satellite: Postfix, port: Port) -> None:
    """What Postfix was asked to report is asked of submitd, and then of the next hop."""
    recipient = way.recipient()
    with smtplib.SMTP("127.0.0.1", satellite.port, timeout=30) as smtp:
        smtp.sendmail(
            f"{port}@example.org",
            [recipient],
            CONTENT,
            mail_options=["BODY=8BITMIME", "RET=HDRS", "ENVID=QQ+2B1"],
            rcpt_options=["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;bob+2B@example.com"],
        )
    received = way.received(recipient)
    assert {"BODY=8BITMIME", "RET=HDRS", "ENVID=QQ+2B1"} <= set(received.mail.split())
    assert {"NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;bob+2B@example.com"} <= set(
        received.recipients[0].split()
    )
    assert received.content.endswith(CONTENT)


@ports
def test_internationalised_addresses(way: Way, satellite: Postfix, port: Port) -> None:
    """Addresses and header fields beyond ASCII come through Postfix and out again."""
    recipient = f"jürgen{way.recipient()}"
    content = CONTENT.replace(b"Subject: satellite", "Subject: Grüße".encode())
    with smtplib.SMTP("127.0.0.1", satellite.port, timeout=30) as smtp:
        smtp.ehlo()
        smtp.sendmail(
            f"{port}ü@example.org", [recipient], content, mail_options=["SMTPUTF8", "BODY=8BITMIME"]
        )
    received = way.received(recipient)
    assert received.mail.split()[0] == f"FROM:<{port}ü@example.org>"
    assert "SMTPUTF8" in received.mail.split()
    assert received.content.endswith(content)


@ports
def test_many_messages_and_recipients(way: Way, satellite: Postfix, port: Port) -> None:
    """A refused recipient is bounced by Postfix, the other recipients get the message."""
    recipients = [way.recipient() for _ in range(20)]
    with smtplib.SMTP("127.0.0.1", satellite.port, timeout=30) as smtp:
        smtp.sendmail(f"{port}@example.org", [*recipients, "nobody@unqualified"], CONTENT)
    for recipient in recipients:
        assert way.received(recipient).content.endswith(CONTENT)
    report = way.received(f"{port}@example.org")
    assert report.mail.split()[0] == "FROM:<>"
    assert b"554 5.1.2" in report.content
