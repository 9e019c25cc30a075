"""Certificates change while clients are connected."""

import os
import signal
import ssl
from collections.abc import Callable, Iterator

import pytest

from tests.support.server import HOSTNAME, Server, certify, wait_until


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A running server."""
    with make_server().running() as running:
        yield running


def certificate(server: Server) -> bytes:
    """What a new connection is shown."""
    with server.connect_implicit() as connection:
        der = connection.getpeercert(binary_form=True)
        assert der is not None
        return der


def file_certificate(server: Server) -> bytes:
    """What is in the file."""
    return ssl.PEM_cert_to_DER_cert((server.site / "tls" / "fullchain.pem").read_text())


def test_sighup_takes_a_new_certificate_and_keeps_connections(server: Server) -> None:
    """After SIGHUP new connections see the new certificate, and old ones go on."""
    old = certificate(server)
    with server.smtp() as smtp, server.smtp("starttls") as other:
        certify(server.site, server.authority)
        os.kill(server.pid, signal.SIGHUP)
        wait_until("the new certificate", lambda: certificate(server) == file_certificate(server))
        assert certificate(server) != old
        for client in (smtp, other):
            assert client.noop()[0] == 250
        with server.connect_plain() as plain:
            plain.recv(1000)
            plain.sendall(b"EHLO client.example\r\n")
            plain.recv(1000)
            plain.sendall(b"STARTTLS\r\n")
            plain.recv(1000)
            with server.context().wrap_socket(plain, server_hostname=HOSTNAME) as tls:
                assert tls.getpeercert(binary_form=True) == file_certificate(server)


def test_a_changed_file_is_taken_without_a_signal(server: Server) -> None:
    """A certificate that was replaced on disk is in use soon, without SIGHUP."""
    certify(server.site, server.authority)
    wait_until("the new certificate", lambda: certificate(server) == file_certificate(server))


def test_a_bad_certificate_leaves_the_old_one_in_service(server: Server) -> None:
    """A broken new certificate is named in the log, and the old one serves on."""
    old = certificate(server)
    (server.site / "tls" / "fullchain.pem").write_text("no certificate\n")
    os.kill(server.pid, signal.SIGHUP)
    wait_until("a word in the log", lambda: "fullchain.pem" in server.log())
    assert certificate(server) == old
    certify(server.site, server.authority)
    os.kill(server.pid, signal.SIGHUP)
    wait_until("the new certificate", lambda: certificate(server) == file_certificate(server))
