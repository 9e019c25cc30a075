"""submitd.ctl.init: a site that works as written."""

import os
import ssl
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from submitd.config.load import load
from submitd.ctl.init import parse_relay
from submitd.ctl.main import cli

SMARTHOST = "smtps://org%40example.org@smtp.example.net"


def init(site: Path, *arguments: str, relay: str = SMARTHOST, stdin: str | None = None) -> Result:
    """Run `submitctl init`."""
    command = ["init", str(site), "--hostname", "mail.example.org", "--relay", relay]
    return CliRunner().invoke(cli, [*command, *arguments], input=stdin)


def mode(path: Path) -> int:
    """The permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_the_site_loads(tmp_path: Path) -> None:
    """What init writes is a configuration that loads, and every file it names is there."""
    site = tmp_path / "site"
    result = init(site, "--relay-password-stdin", stdin="correct horse\n")
    assert result.exit_code == 0, result.output
    configuration = load(site / "submitd.toml")
    assert configuration.hostname == "mail.example.org"
    assert [listener.name for listener in configuration.listener] == [
        "implicit:465",
        "starttls:587",
    ]
    assert configuration.senders.file is not None
    relay = configuration.relay.options
    assert (relay.host, relay.port, relay.username) == (
        "smtp.example.net",
        465,
        "org@example.org",
    )
    assert relay.password_file.read_text() == "correct horse\n"
    for file in (
        configuration.tls.certificate,
        configuration.tls.key,
        configuration.users.options.file,
        configuration.senders.file,
        configuration.queue.options.path,
    ):
        assert file.exists(), file


def test_private_files_are_private(tmp_path: Path) -> None:
    """Keys, passwords and the queue are for the owner's eyes alone."""
    site = tmp_path / "site"
    init(site, "--relay-password-stdin", stdin="correct horse\n")
    for name in ("tls/privkey.pem", "users.htpasswd", "relay.password"):
        assert mode(site / name) == 0o600, name
    assert mode(site / "spool") == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_user_may_read_but_not_change(tmp_path: Path) -> None:
    """With --user the server's account reads what is private, and owns the queue alone."""
    site = tmp_path / "site"
    result = init(site, "--user", "nobody", relay="discard:")
    assert result.exit_code == 0, result.output
    key, spool = (site / "tls/privkey.pem").stat(), (site / "spool").stat()
    assert key.st_uid == 0
    assert key.st_gid == spool.st_gid != 0
    assert stat.S_IMODE(key.st_mode) == 0o640
    assert spool.st_uid != 0
    assert stat.S_IMODE(spool.st_mode) == 0o700


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Where any of its files exists, init changes nothing and names it."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "users.htpasswd").write_text("alice:hash\n")
    result = init(site, relay="discard:")
    assert result.exit_code == 1
    assert "users.htpasswd" in result.output
    assert [path.name for path in site.iterdir()] == ["users.htpasswd"]
    assert (site / "users.htpasswd").read_text() == "alice:hash\n"


def test_next_commands_are_told(tmp_path: Path) -> None:
    """The output ends with what to do next, and a warning where the certificate is our own."""
    result = init(tmp_path / "site", relay="discard:")
    assert "user add" in result.output
    assert "check --login" in result.output
    assert "every mail client will warn" in result.output


def test_what_the_systemd_unit_needs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the unit's own place, what keeps the unit from working is told with its remedy."""
    site = tmp_path / "site"
    monkeypatch.setattr("submitd.ctl.init.DEFAULT", site / "submitd.toml")
    result = init(site, relay="maildir:out/{user}")
    assert "run this command again with --user submitd" in result.output
    assert f"ReadWritePaths={site / 'out'}\n" in result.output


def test_password_to_be_filled_in(tmp_path: Path) -> None:
    """Where nobody can be asked for the relay's password, an empty file waits for it."""
    site = tmp_path / "site"
    result = init(site)
    assert f"write the relay's password into {site / 'relay.password'}" in result.output
    assert (site / "relay.password").read_text() == "\n"


def test_own_certificate_is_taken(tmp_path: Path) -> None:
    """A given certificate and key are copied in, once they are known to fit together."""
    init(tmp_path / "one", relay="discard:")
    init(tmp_path / "two", relay="discard:")
    first, second = tmp_path / "one/tls", tmp_path / "two/tls"
    pair = ("--certificate", f"{first}/fullchain.pem", "--key", f"{first}/privkey.pem")
    result = init(tmp_path / "three", *pair, relay="discard:")
    assert result.exit_code == 0, result.output
    assert "warn" not in result.output
    tls = tmp_path / "three/tls"
    assert (tls / "fullchain.pem").read_bytes() == (first / "fullchain.pem").read_bytes()
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
        tls / "fullchain.pem", tls / "privkey.pem"
    )

    mixed = ("--certificate", f"{first}/fullchain.pem", "--key", f"{second}/privkey.pem")
    result = init(tmp_path / "four", *mixed, relay="discard:")
    assert result.exit_code == 2
    assert "can't be used" in result.output
    assert not (tmp_path / "four").exists()


@pytest.mark.parametrize(
    ("url", "table"),
    [
        (
            "smtps://org@smtp.example.net",
            {
                "backend": "smarthost",
                "host": "smtp.example.net",
                "port": 465,
                "tls": "implicit",
                "username": "org",
                "password_file": "relay.password",
            },
        ),
        (
            "smtp+starttls://smtp.example.net:2587",
            {"backend": "smarthost", "host": "smtp.example.net", "port": 2587, "tls": "starttls"},
        ),
        ("maildir:///var/mail/out", {"backend": "maildir", "path": "/var/mail/out"}),
        ("maildir:mail", {"backend": "maildir", "path": "mail"}),
        ("discard:", {"backend": "discard"}),
    ],
)
def test_relay_urls(url: str, table: dict[str, object]) -> None:
    """Each form of a relay URL stands for one table."""
    assert parse_relay(url) == table


@pytest.mark.parametrize(
    "url",
    [
        "smtp.example.net",
        "smtp://smtp.example.net",
        "smtps://",
        "smtps://h/path",
        "maildir:",
        "smtps://h:port",
        "smtps://user:password@h",
    ],
)
def test_bad_relay_urls(tmp_path: Path, url: str) -> None:
    """Another URL, or one with a password in it, is a usage fault that writes nothing."""
    result = init(tmp_path / "site", relay=url)
    assert result.exit_code == 2
    assert not (tmp_path / "site").exists()


def test_bad_hostname(tmp_path: Path) -> None:
    """A host name that the server would refuse is refused here, with the same words."""
    command = ["init", str(tmp_path / "site"), "--hostname", "mail", "--relay", "discard:"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 2
    assert "expected a fully qualified host name" in result.output
