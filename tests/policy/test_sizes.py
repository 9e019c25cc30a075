"""The largest message of each login."""

from pathlib import Path

import pytest

from submitd.policy.sizes import MessageSizes
from submitd.transport.options import LimitsOptions, LoginLimitsOptions
from tests.support.server import LOGIN, Server

LIMITS = LimitsOptions(
    message_size_bytes=1_000_000,
    login=(
        LoginLimitsOptions(names=("scanner@example.org",), message_size_bytes=100_000),
        LoginLimitsOptions(names=("*@example.org", "Ünal*"), message_size_bytes=5_000_000),
    ),
)


@pytest.mark.parametrize(
    ("login", "size_bytes"),
    [
        ("scanner@example.org", 100_000),
        ("SCANNER@example.org", 100_000),
        ("alice@example.org", 5_000_000),
        ("alice@example.org.example", 1_000_000),
        ("alice", 1_000_000),
        ("ünal", 5_000_000),
    ],
)
def test_the_first_table_that_names_a_login_counts(login: str, size_bytes: int) -> None:
    """A login has the limit of the first table that names it, in any case, else the usual one."""
    assert MessageSizes(LIMITS).of(login) == size_bytes


def test_the_largest_is_announced_to_strangers() -> None:
    """Before a login EHLO says the largest limit, or a client would not try its large message."""
    assert MessageSizes(LIMITS).largest_bytes == 5_000_000
    assert MessageSizes(LimitsOptions(message_size_bytes=70_000)).largest_bytes == 70_000


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """A site where alice may send 100,000 octets and others more."""
    own = f'[[limits.login]]\nnames = ["{LOGIN}"]\nmessage_size_bytes = 100_000'
    return Server.make(tmp_path / "site", 'backend = "discard"', {"own": own})


def test_a_login_s_limit_is_announced_and_kept(server: Server) -> None:
    """After the login EHLO says its own limit; MAIL, DATA and BDAT beyond it get 552."""
    with server.running(), server.smtp(login=False) as smtp:
        smtp.ehlo()
        assert int(smtp.esmtp_features["size"]) > 100_000
        smtp.login(LOGIN, "correct horse")
        smtp.ehlo()
        assert smtp.esmtp_features["size"] == "100000"
        assert smtp.mail(LOGIN, ["SIZE=100001"])[0] == 552
        assert smtp.mail(LOGIN)[0] == 250
        assert smtp.rcpt("bob@example.net")[0] == 250
        content = b"From: alice@example.org\r\n\r\n" + (b"x" * 98 + b"\r\n") * 1000
        assert smtp.data(content)[0] == 552
        assert smtp.mail(LOGIN)[0] == 250
        assert smtp.rcpt("bob@example.net")[0] == 250
        smtp.send(b"BDAT 100001 LAST\r\n" + b"x" * 100_001)
        assert smtp.getreply()[0] == 552
