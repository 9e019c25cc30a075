"""submitd.ctl.check: it says what is wrong and what to do, and nothing wrong of what is well."""

import datetime
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from submitd.config.load import load
from submitd.ctl.certificates import Authority
from submitd.ctl.check_server import Account, Client, check_listener
from submitd.ctl.check_site import check_certificate, check_site
from submitd.ctl.findings import Finding, Grade
from submitd.ctl.main import cli
from submitd.transport.options import ListenerOptions
from tests.support.server import HOSTNAME, LOGIN, PASSWORD, Server

NOW = datetime.datetime.now(datetime.UTC)
DISCARD = 'backend = "discard"'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server."""
    made = Server.make(tmp_path_factory.mktemp("check") / "site", DISCARD)
    with made.running():
        yield made


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site whose files are all in order, no server running."""
    return Server.make(tmp_path / "site", DISCARD).site


def run(site: Path, *arguments: str, stdin: str | None = None) -> Result:
    """Run `submitctl check`."""
    command = ["--config", str(site / "submitd.toml"), "check", *arguments]
    return CliRunner().invoke(cli, command, input=stdin)


def bad(site: Path) -> list[str]:
    """What the checks of the files find that is not well, by file and text."""
    return [
        f"{Path(finding.subject).name}: {finding.text}"
        for finding in check_site(load(site / "submitd.toml"), NOW)
        if finding.grade is not Grade.OK
    ]


def texts(findings: Iterator[Finding], grade: Grade) -> list[str]:
    """The texts of the findings of one grade."""
    return [finding.text for finding in findings if finding.grade is grade]


# ---- the files --------------------------------------------------------------------


def test_a_good_site(site: Path) -> None:
    """Nothing is found wrong with a site in order, and the exit status is 0."""
    assert bad(site) == []
    result = run(site, "--offline")
    assert result.exit_code == 0, result.output
    assert "FAULT" not in result.output


def test_every_fault_of_the_configuration(site: Path) -> None:
    """Faults of the configuration are findings, each its own, and the exit status is 1."""
    file = site / "submitd.toml"
    file.write_text(file.read_text().replace("hostname =", "workers = 0\nhostnme ="))
    result = run(site, "--offline", "--json")
    assert result.exit_code == 1
    report = json.loads(result.output)
    assert report["ok"] is False
    assert [finding["grade"] for finding in report["findings"]] == ["FAULT"] * 3


def _mode(name: str, mode: int) -> Callable[[Path], None]:
    return lambda site: (site / name).chmod(mode)


def _text(name: str, text: str) -> Callable[[Path], None]:
    def write(site: Path) -> None:
        with (site / name).open("a") as file:
            file.write(text)

    return write


def _remove(name: str) -> Callable[[Path], None]:
    return lambda site: (site / name).unlink()


def _certificate(*names: str, days: int = 90) -> Callable[[Path], None]:
    def write(site: Path) -> None:
        issued = Authority.make("test authority", NOW).issue(names, NOW, days)
        (site / "tls/fullchain.pem").write_bytes(issued.certificate)
        (site / "tls/privkey.pem").write_bytes(issued.key)

    return write


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (_mode("tls/privkey.pem", 0o644), "privkey.pem: is open to everybody (mode 0644); chmod"),
        (_mode("users.htpasswd", 0o604), "users.htpasswd: is open to everybody (mode 0604)"),
        (_mode("spool", 0o755), "spool: is open to others (mode 0755); chmod 700"),
        (_remove("tls/fullchain.pem"), "fullchain.pem: can't be read: No such file"),
        (_remove("users.htpasswd"), "users.htpasswd: can't be read: No such file"),
        (_text("users.htpasswd", "no colon\n"), "users.htpasswd: line 2: "),
        (_certificate("other.example"), "fullchain.pem: is for other.example, not for"),
        (_certificate(HOSTNAME, days=10), "fullchain.pem: expires on "),
        (_certificate(HOSTNAME, days=-1), "fullchain.pem: expired on "),
        (_certificate("*.example", days=-1), "fullchain.pem: expired on "),
    ],
)
def test_what_is_wrong_with_files(site: Path, spoil: Callable[[Path], None], found: str) -> None:
    """One thing spoilt is one thing found, with what to do where that is not plain."""
    spoil(site)
    assert [text for text in bad(site) if text.startswith(found)], bad(site)


def test_no_users_yet(site: Path) -> None:
    """A site without users gets a warning that says how to add one."""
    (site / "users.htpasswd").write_text("")
    assert bad(site) == ["users.htpasswd: has no users; submitctl user add"]


def test_faulty_sender_rules(site: Path) -> None:
    """A line of the senders file that can't be used is a fault with its number."""
    _text("submitd.toml", '\n[senders]\nfile = "senders"\n')(site)
    (site / "senders").write_text("alice: sales@example.org\nno colon\n")
    [found] = bad(site)
    assert found.startswith("senders: line 2: ")


def test_relay_that_can_not_be_used(site: Path) -> None:
    """What a relay backend objects to is a fault, in its own words."""
    file = site / "submitd.toml"
    smarthost = 'backend = "smarthost"\nhost = "h.example"\nusername = "u"\npassword_file = "no"'
    file.write_text(file.read_text().replace(DISCARD, smarthost))
    assert any(text.startswith("smarthost: ") or "password_file" in text for text in bad(site))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_the_server_can_not_read(site: Path) -> None:
    """What the owner of the queue can't read is a fault: the server would not start."""
    os.chown(site / "spool", 65534, 65534)
    assert any(
        text.startswith("privkey.pem: can't be read by the owner of the queue")
        for text in bad(site)
    )
    os.chown(site / "tls/privkey.pem", -1, 65534)
    (site / "tls/privkey.pem").chmod(0o640)
    assert not any(text.startswith("privkey.pem") for text in bad(site))


def test_key_of_another_certificate(tmp_path: Path) -> None:
    """A key that doesn't belong to the certificate is a fault."""
    authority = Authority.make("test authority", NOW)
    (tmp_path / "chain").write_bytes(authority.issue(["a.example"], NOW).certificate)
    (tmp_path / "key").write_bytes(authority.issue(["a.example"], NOW).key)
    found = check_certificate(tmp_path / "chain", tmp_path / "key", ["a.example"], NOW)
    assert texts(found, Grade.FAULT) == ["does not belong to the certificate"]


def test_order_of_the_chain(tmp_path: Path) -> None:
    """The chain is in order when each certificate is followed by its issuer, and not otherwise."""
    authority = Authority.make("test authority", NOW)
    issued = authority.issue(["a.example"], NOW)
    stranger = Authority.make("stranger", NOW)
    (tmp_path / "key").write_bytes(issued.key)
    for chain, faults in (
        (issued.certificate + authority.certificate, 0),
        (issued.certificate + stranger.certificate, 1),
        (issued.certificate + issued.certificate + authority.certificate, 1),
    ):
        (tmp_path / "chain").write_bytes(chain)
        found = check_certificate(tmp_path / "chain", tmp_path / "key", ["a.example"], NOW)
        assert len(texts(found, Grade.FAULT)) == faults


@pytest.mark.parametrize(
    ("name", "good"),
    [("Mail.Example.org", True), ("a.wild.example", True), ("a.b.wild.example", False)],
)
def test_names(tmp_path: Path, name: str, good: bool) -> None:
    """Names are compared without case, and a wildcard stands for one label."""
    issued = Authority.make("a", NOW).issue(["mail.example.org", "*.wild.example"], NOW)
    (tmp_path / "chain").write_bytes(issued.certificate)
    (tmp_path / "key").write_bytes(issued.key)
    found = list(check_certificate(tmp_path / "chain", tmp_path / "key", [name], NOW))
    assert all(finding.grade is Grade.OK for finding in found) is good


# ---- the running server -----------------------------------------------------------


def test_everything_in_order(server: Server) -> None:
    """Against a good server every check passes: login on each port, nothing of value before TLS."""
    arguments = ["--login", LOGIN, "--password-stdin", "--mail-from", LOGIN]
    result = run(
        server.site, *arguments, "--ca-file", str(server.authority_file), stdin=f"{PASSWORD}\n"
    )
    assert result.exit_code == 0, result.output
    for port, promise in (
        (f"implicit:{server.implicit_port}", "says nothing in clear"),
        (f"starttls:{server.starttls_port}", "neither offers nor accepts AUTH before TLS (538)"),
    ):
        assert f"{port}: {promise}" in result.output
        assert f"{port}: login of {LOGIN} accepted" in result.output
        assert f"{port}: {LOGIN} as <{LOGIN}>: 250" in result.output
    assert PASSWORD not in result.output
    assert not server.log_lines("message")


def test_wrong_password_and_foreign_sender(server: Server) -> None:
    """A refused login, or reverse-path, is a fault with the server's own words."""
    arguments = ["--login", LOGIN, "--password-stdin", "--ca-file", str(server.authority_file)]
    result = run(server.site, *arguments, stdin="wrong\n")
    assert result.exit_code == 1
    assert f"login of {LOGIN}: 535 5.7.8" in result.output
    foreign = ["--mail-from", "boss@example.org"]
    result = run(server.site, *arguments, *foreign, stdin=f"{PASSWORD}\n")
    assert result.exit_code == 1
    assert f"{LOGIN} as <boss@example.org>: 553 5.7.1" in result.output


def test_unknown_authority_gets_no_password(server: Server) -> None:
    """A certificate that clients would refuse is a fault, and no login is tried."""
    result = run(server.site, "--login", LOGIN, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert result.exit_code == 1
    assert "clients will refuse the certificate" in result.output
    assert "accepted" not in result.output


def test_other_name_gets_no_password(server: Server) -> None:
    """A certificate for another name is refused on both ports, as by clients."""
    client = Client("other.example", server.authority_file, Account(LOGIN, PASSWORD))
    for listener in load(server.site / "submitd.toml").listener:
        [text] = texts(check_listener(listener, client), Grade.FAULT)
        assert "other.example" in text
        assert "no password was sent" in text


def test_no_server(site: Path) -> None:
    """A port that nobody listens on is a fault that asks whether the server runs."""
    result = run(site)
    assert result.exit_code == 1
    assert result.output.count("is the server running?") == 2


def test_listeners_mixed_up(server: Server) -> None:
    """A listener of the other kind on a port is told, without a traceback or an endless wait."""
    client = Client(HOSTNAME, server.authority_file)
    wrong = ListenerOptions(address="127.0.0.1", port=server.starttls_port, tls="implicit")
    faults = texts(check_listener(wrong, client), Grade.FAULT)
    assert faults[0].startswith("answers a client without TLS")
    assert len(faults) == 2  # the second is the handshake's, in words of OpenSSL's


def test_systemd_sockets_are_left_alone() -> None:
    """A listener whose port only systemd knows gets a warning, not a guess."""
    listener = ListenerOptions(systemd="submissions", tls="implicit")
    [finding] = check_listener(listener, Client(HOSTNAME))
    assert finding.grade is Grade.WARNING
