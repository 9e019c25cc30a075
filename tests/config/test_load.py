"""submitd.config.load: what a good file becomes."""

from pathlib import Path

import pytest

from submitd.config.errors import ConfigurationError
from submitd.config.load import load

MINIMAL = """\
hostname = "mail.example.org"
[tls]
certificate = "tls/fullchain.pem"
key = "/etc/ssl/private/mail.pem"
[[listener]]
port = 465
tls = "implicit"
[users]
backend = "htpasswd"
file = "users.htpasswd"
[relay]
backend = "discard"
[queue]
path = "spool"
"""

# The promise to users: these names stay.
PROMISED = """\
hostname = "mail.example.org"            # greeting, EHLO, Received, Message-ID
workers = 1

[tls]
certificate = "tls/fullchain.pem"        # relative to this file
key = "tls/privkey.pem"
[[tls.sni]]
names = ["smtp.example.net"]
certificate = "tls/other.pem"
key = "tls/other.key"

[[listener]]
address = "::"                           # a host name, an address; "::" is both families
port = 465
tls = "implicit"

[[listener]]
port = 587
tls = "starttls"

[users]
backend = "htpasswd"
file = "users.htpasswd"

[senders]
file = "senders"

[limits]
message_size_bytes = 52428800
recipients_per_message = 1000
connections = 2000
connections_per_address = 100
failed_logins_per_connection = 5
errors_per_connection = 50

[queue]
store = "sqlite"
path = "spool"
retry_schedule_s = [60, 300, 900, 1800, 3600, 7200, 14400]
expire_s = 432000

[relay]
backend = "smarthost"
host = "smtp.example.net"
port = 465
tls = "implicit"
username = "org"
password_file = "relay.password"
"""


def site(tmp_path: Path, text: str) -> Path:
    """A configuration file with this text."""
    file = tmp_path / "submitd.toml"
    file.write_text(text, "utf-8")
    return file


def test_minimal_file_gets_defaults(tmp_path: Path) -> None:
    """A file with the required keys alone loads, all else at its defaults."""
    configuration = load(site(tmp_path, MINIMAL))
    assert configuration.workers == 1
    assert configuration.limits.message_size_bytes == 52_428_800
    assert configuration.delivery.expire_s == 432_000
    assert configuration.log.format == "human"
    assert configuration.senders.from_mismatch == "reject"
    assert configuration.queue.factory.name == "sqlite"


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every relative path comes out absolute, from the file's own directory; others stay."""
    site(tmp_path, MINIMAL)
    monkeypatch.chdir(tmp_path.parent)
    configuration = load(Path(tmp_path.name) / "submitd.toml")
    assert configuration.tls.certificate == tmp_path / "tls" / "fullchain.pem"
    assert configuration.tls.key == Path("/etc/ssl/private/mail.pem")
    assert configuration.users.options.file == tmp_path / "users.htpasswd"
    assert configuration.queue.options.path == tmp_path / "spool"


def test_the_promised_names_load(tmp_path: Path) -> None:
    """Every name that users were promised is read, and means what it says."""
    configuration = load(site(tmp_path, PROMISED))
    assert [listener.name for listener in configuration.listener] == [
        "implicit:465",
        "starttls:587",
    ]
    assert configuration.tls.sni[0].names == ("smtp.example.net",)
    assert configuration.users.factory.name == "htpasswd"
    assert configuration.senders.file == tmp_path / "senders"
    assert configuration.delivery.retry_schedule_s[-1] == 14_400
    assert configuration.relay.factory.name == "smarthost"
    assert configuration.relay.options.password_file == tmp_path / "relay.password"


def test_store_and_delivery_share_a_table(tmp_path: Path) -> None:
    """`[queue]` holds the store's own keys and those of delivery, whatever the store."""
    text = MINIMAL.replace('path = "spool"', 'store = "sqlite"\npath = "other"\nexpire_s = 7')
    configuration = load(site(tmp_path, text))
    assert configuration.queue.options.path == tmp_path / "other"
    assert configuration.delivery.expire_s == 7


def test_inline_tables_are_tables(tmp_path: Path) -> None:
    """TOML's other spellings of a table are as good."""
    text = MINIMAL.replace('[relay]\nbackend = "discard"\n', "")
    configuration = load(site(tmp_path, 'relay = {backend = "discard"}\n' + text))
    assert configuration.relay.factory.name == "discard"


@pytest.mark.parametrize("ports", ["0.0.0.0 ::1", "127.0.0.1 127.0.0.2", "a.example b.example"])
def test_listeners_that_can_share_a_port(tmp_path: Path, ports: str) -> None:
    """Different addresses may have the same port."""
    first, second = ports.split()
    text = MINIMAL.replace("port = 465", f'address = "{first}"\nport = 465')
    text += f'[[listener]]\naddress = "{second}"\nport = 465\ntls = "starttls"\n'
    assert len(load(site(tmp_path, text)).listener) == 2


def test_missing_file(tmp_path: Path) -> None:
    """A file that isn't there is a fault with its name, not a traceback."""
    with pytest.raises(ConfigurationError, match="can't be read: No such file"):
        load(tmp_path / "absent.toml")


def test_not_utf8(tmp_path: Path) -> None:
    """A file in another encoding is refused with the place of the first wrong octet."""
    file = tmp_path / "submitd.toml"
    file.write_bytes(b'hostname = "caf\xe9.example.org"\n')
    with pytest.raises(ConfigurationError, match="is not UTF-8 at octet 16"):
        load(file)


def test_passwords_within_urls_are_not_repeated(tmp_path: Path) -> None:
    """A URL in a fault message has lost its user and password."""
    with pytest.raises(ConfigurationError) as caught:
        load(site(tmp_path, MINIMAL.replace("465", '"https://user:geheim@example.org/"')))
    assert "geheim" not in str(caught.value)
    assert "https://...@example.org/" in str(caught.value)
