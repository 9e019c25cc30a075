"""submitd.ctl.certificates: what a self-made authority issues."""

import datetime
import ssl
from pathlib import Path

import pytest

from submitd.ctl.certificates import Authority, Credentials

NOW = datetime.datetime.now(datetime.UTC)


def handshake(authority: Authority, server: Credentials, name: str, tmp_path: Path) -> None:
    """A handshake in memory, the client verifying *name* as the standard library does."""
    (tmp_path / "server.pem").write_bytes(server.certificate)
    (tmp_path / "server.key").write_bytes(server.key)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    theirs = ssl.create_default_context(cadata=authority.certificate.decode())
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = theirs.wrap_bio(down, up, server_hostname=name)
    listener = ours.wrap_bio(up, down, server_side=True)
    done = 0
    while done < 2:
        done = 0
        for end in (client, listener):
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass


@pytest.mark.parametrize("name", ["mail.example.org", "127.0.0.1", "::1"])
def test_issued_certificates_verify(tmp_path: Path, name: str) -> None:
    """A client that trusts the authority accepts the certificate for each of its names."""
    authority = Authority.make("test authority", NOW)
    server = authority.issue(["mail.example.org", "127.0.0.1", "::1"], NOW)
    handshake(authority, server, name, tmp_path)


def test_other_names_do_not_verify(tmp_path: Path) -> None:
    """A client that asks for another name refuses the certificate."""
    authority = Authority.make("test authority", NOW)
    server = authority.issue(["mail.example.org"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(authority, server, "mail.example.net", tmp_path)


def test_expired_certificates_do_not_verify(tmp_path: Path) -> None:
    """A negative validity gives a certificate that clients refuse as expired."""
    authority = Authority.make("test authority", NOW)
    server = authority.issue(["mail.example.org"], NOW, days=-1)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        handshake(authority, server, "mail.example.org", tmp_path)


def test_keys_stay_out_of_repr() -> None:
    """Printing a certificate and its key does not show the key."""
    server = Authority.make("a", NOW).issue(["b.example"], NOW)
    assert "PRIVATE" not in repr(server)
