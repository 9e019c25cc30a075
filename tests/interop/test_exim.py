"""Exim as a satellite: the client that sends BDAT, in one group with envelope and QUIT.

Debian doesn't install it beside Postfix, so that it may only be unpacked, with no user of
its own: libnss_wrapper lends it one.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients import Port, needed, port_number, run
from tests.support.server import LOGIN, PASSWORD
from tests.support.way import Way

BODY = "Grüße\n.\n..\n.x\nThe end.\n"
UID = 65534

_CONFIGURATION = """\
exim_path = {program}
spool_directory = {directory}/spool
log_file_path = {directory}/spool/%slog
primary_hostname = exim.example
keep_environment = LD_PRELOAD : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP
begin routers
all:
  driver = manualroute
  transport = out
  route_list = * localhost
  self = send
begin transports
out:
  driver = smtp
  port = {port}
  protocol = {protocol}
  hosts_require_tls = *
  hosts_require_auth = *
  hosts_try_dane =
  dnssec_request_domains =
  tls_verify_certificates = {directory}/authority.pem
  tls_verify_hosts = *
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^{login}^{password}
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that Exim's user may enter, with its queue in it."""
    if os.getuid() != 0:
        pytest.skip("Exim takes another configuration from root alone")
    with tempfile.TemporaryDirectory(prefix="submitd-exim-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "spool").mkdir()
        os.chown(directory / "spool", UID, UID)
        for file, line in (
            ("passwd", f"Debian-exim:x:{UID}:{UID}::/:/bin/false\n"),
            ("group", f"Debian-exim:x:{UID}:\n"),
        ):
            (directory / file).write_text(Path("/etc", file).read_text() + line)
        yield directory


@pytest.mark.parametrize("port", ["implicit", "starttls"])
def test_chunks(way: Way, directory: Path, port: Port) -> None:
    """A message in a chunk comes out as it was, whatever is pipelined before and behind it."""
    program = needed("exim4")
    wrapper = next(Path("/usr/lib").glob("*/libnss_wrapper.so"), None)
    if wrapper is None:
        pytest.skip("libnss_wrapper is not installed (Debian: libnss-wrapper)")
    (directory / "authority.pem").write_bytes(way.server.authority_file.read_bytes())
    (directory / "exim.conf").write_text(
        _CONFIGURATION.format(
            program=program,
            directory=directory,
            port=port_number(way.server, port),
            protocol="smtps" if port == "implicit" else "smtp",
            login=LOGIN,
            password=PASSWORD,
        )
    )
    recipient = way.recipient()
    said = run(
        [program, "-C", directory / "exim.conf", "-f", LOGIN, "-odi", "-oi", "-v", recipient],
        f"From: {LOGIN}\nTo: {recipient}\nSubject: chunks\n\n{BODY}".encode(),
        {
            "LD_PRELOAD": str(wrapper),
            "NSS_WRAPPER_PASSWD": str(directory / "passwd"),
            "NSS_WRAPPER_GROUP": str(directory / "group"),
        },
    )
    assert "MAIL|:RCPT|:BDAT:QUIT:250:250:250:221" in said
    received = way.received(recipient)
    assert received.content.endswith(b"\r\n\r\n" + BODY.replace("\n", "\r\n").encode())
