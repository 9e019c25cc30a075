"""`submitctl init`: a new site, ready to be started once it has a user."""

import datetime
import json
import os
import ssl
import sys
import tomllib
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from submitd.ctl.certificates import Authority
from submitd.ctl.main import DEFAULT
from submitd.ctl.site import Account, SiteWriter

CONFIGURATION = "submitd.toml"
AUTHORITY = "tls/authority.pem"
CERTIFICATE = "tls/fullchain.pem"
KEY = "tls/privkey.pem"
USERS = "users.htpasswd"
SENDERS = "senders"
RELAY_PASSWORD = "relay.password"
SPOOL = "spool"

_RELAY_PORTS = {"smtps": ("implicit", 465), "smtp+starttls": ("starttls", 587)}
_RELAY_FORMS = (
    "smtps://user@host:port, smtp+starttls://user@host:port (user and port may be left out),"
    " maildir:/path or discard:"
)

_TEMPLATE = """\
# submitd. Every key with its meaning: docs/configuration.md.
# Relative paths are relative to this file. After a change: submitctl check --offline

hostname = {hostname}    # greeting, EHLO, Received, Message-ID

[tls]    # read again when the files change
certificate = "{certificate}"    # the certificate, then its chain
key = "{key}"
{listeners}
[users]    # submitctl user add|passwd|delete|list
backend = "htpasswd"
file = "{users}"

[senders]    # who may send as whom
file = "{senders}"

[queue]
store = "sqlite"
path = "{spool}"

[relay]    # where messages go
{relay}"""

_LISTENER = """
[[listener]]
address = {address}
port = {port}
tls = {tls}
"""

_SENDERS = b"""\
# Who may send as whom, beside themselves: login: address or pattern ...
# alice@example.org: sales@example.org support-*@example.org
# newsletter: @news.example.org
"""

RelayTable = dict[str, str | int]


def parse_relay(url: str) -> RelayTable:
    """The `[relay]` table that a URL stands for.

    :raises ValueError: with a message for the operator.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "discard" and not parts.path and not parts.netloc:
        return {"backend": "discard"}
    if parts.scheme == "maildir" and parts.path and not parts.netloc:
        return {"backend": "maildir", "path": urllib.parse.unquote(parts.path)}
    if parts.scheme not in _RELAY_PORTS or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"expected {_RELAY_FORMS}")
    if parts.password is not None:
        raise ValueError(
            "a password here shows in the list of processes; leave it out and it is asked for"
        )
    tls, port = _RELAY_PORTS[parts.scheme]
    table: RelayTable = {
        "backend": "smarthost",
        "host": parts.hostname,
        "port": parts.port or port,
        "tls": tls,
    }
    if parts.username:
        table["username"] = urllib.parse.unquote(parts.username)
        table["password_file"] = RELAY_PASSWORD
    return table


def configuration_text(
    hostname: str, listeners: Sequence[tuple[str, int, str]], relay: Mapping[str, str | int]
) -> str:
    """The text of a short configuration file.

    :param listeners: address, port and kind of TLS of each.
    """
    # What JSON writes for a text or a number, TOML reads as the same.
    return _TEMPLATE.format(
        hostname=json.dumps(hostname),
        certificate=CERTIFICATE,
        key=KEY,
        listeners="".join(
            _LISTENER.format(address=json.dumps(address), port=port, tls=json.dumps(tls))
            for address, port, tls in listeners
        ),
        users=USERS,
        senders=SENDERS,
        spool=SPOOL,
        relay="".join(f"{key} = {json.dumps(value)}\n" for key, value in relay.items()),
    )


def write_site(
    writer: SiteWriter, text: str, certificate: bytes, key: bytes, authority: bytes | None
) -> None:
    """Write a configuration and the files it names, but for the relay's password.

    :param authority: the authority to trust for a certificate of our own making, PEM.
    :raises FileExistsError: when one of them is there already.
    """
    writer.make_directory()
    writer.make_directory("tls")
    writer.make_directory(SPOOL, spool=True)
    writer.write(CERTIFICATE, certificate)
    writer.write(KEY, key, private=True)
    if authority is not None:
        writer.write(AUTHORITY, authority)
    writer.write(USERS, b"", private=True)
    writer.write(SENDERS, _SENDERS)
    writer.write(CONFIGURATION, text.encode())  # last: with it the site is whole


def _check_text(text: str, directory: Path) -> None:
    from submitd.config.errors import Faults
    from submitd.config.load import read

    try:
        read(tomllib.loads(text), directory.absolute())
    except Faults as error:
        raise click.UsageError("\n".join(map(str, error.faults))) from None


def _given_certificate(certificate: Path, key: Path) -> tuple[bytes, bytes]:
    """The contents of the operator's own certificate and key, once they fit together."""

    def no_passphrase() -> str:
        raise click.UsageError(f"{key} has a passphrase; give a key without one")

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, no_passphrase)
        return certificate.read_bytes(), key.read_bytes()
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None) or error.strerror
        raise click.UsageError(f"{certificate} and {key} can't be used: {reason}") from None


def _relay_password(from_stdin: bool, username: str | int) -> str | None:
    """The relay's password, or None when nobody can be asked."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if sys.stdin.isatty():
        password: str = click.prompt(f"Password of {username} at the relay", hide_input=True)
        return password
    return None


@click.command(
    epilog="""\b
Examples:
  submitctl init /etc/submitd --user submitd --hostname mail.example.org \\
      --certificate fullchain.pem --key privkey.pem \\
      --relay smtps://org@smtp.example.net
  submitctl init trial --hostname mail.example.org --relay maildir:out
"""
)
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--hostname", required=True, help="The server's name, such as mail.example.org.")
@click.option("--relay", required=True, metavar="URL", help=f"Where mail goes: {_RELAY_FORMS}.")
@click.option(
    "--relay-password-stdin", is_flag=True, help="Read the relay's password from standard input."
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file: the certificate, then its chain. Without it, one is made that clients warn of.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file: the certificate's private key.",
)
@click.option("--user", metavar="NAME", help="System user the server will run as; needs root.")
def init(
    directory: Path,
    hostname: str,
    relay: str,
    relay_password_stdin: bool,
    certificate: Path | None,
    key: Path | None,
    user: str | None,
) -> None:
    """Write a new site into DIRECTORY: configuration, certificate, users, queue.

    Nothing that exists is overwritten. For a relay in other ways, such as without TLS on
    this machine, take discard: and change [relay] in the configuration.
    """
    try:
        table = parse_relay(relay)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--relay") from None
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key go together")
    text = configuration_text(hostname, [("::", 465, "implicit"), ("::", 587, "starttls")], table)
    _check_text(text, directory)
    writer = SiteWriter(directory, _account(user))
    files = (CONFIGURATION, CERTIFICATE, KEY, AUTHORITY, USERS, SENDERS, RELAY_PASSWORD)
    if existing := writer.existing(*files):
        names = ", ".join(map(str, existing))
        raise click.ClickException(f"there already, and never overwritten: {names}")

    authority = None
    if certificate is not None and key is not None:
        chain, private = _given_certificate(certificate, key)
    else:
        now = datetime.datetime.now(datetime.UTC)
        made = Authority.make(f"submitd's own authority for {hostname}", now)
        issued = made.issue([hostname], now)
        chain, private, authority = issued.certificate, issued.key, made.certificate
    password: str | None = ""
    if "username" in table:
        password = _relay_password(relay_password_stdin, table["username"])
    try:
        writer.make_directory()
        if "username" in table:
            writer.write(RELAY_PASSWORD, f"{password or ''}\n".encode(), private=True)
        write_site(writer, text, chain, private, authority)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    _tell_next(directory, password is None, authority is not None)
    if (directory.absolute() / CONFIGURATION) == DEFAULT:
        _tell_unit(table, user)


def _account(user: str | None) -> Account | None:
    if user is None:
        return None
    if os.geteuid() != 0:
        raise click.UsageError("--user needs root: it gives files to somebody else")
    try:
        return Account.named(user)
    except KeyError:
        raise click.UsageError(
            f"there is no system user {user}; make one:"
            f" useradd --system --shell /usr/sbin/nologin {user}"
        ) from None


def _tell_next(directory: Path, no_password: bool, own_certificate: bool) -> None:
    file = directory.absolute() / CONFIGURATION
    command = "submitctl" if file == DEFAULT else f"submitctl --config {file}"
    click.echo(f"Wrote {file} and the files it names.\n\nNext:")
    if no_password:
        click.echo(f"  write the relay's password into {directory.absolute() / RELAY_PASSWORD}")
    click.echo(f"  {command} user add alice@example.org")
    if file == DEFAULT:
        click.echo("  systemctl enable --now submitd")
    else:
        click.echo(f"  twistd -n submitd --config {file}")
    click.echo(f"  {command} check --login alice@example.org")
    if own_certificate:
        click.echo(
            "\nThe certificate is of our own making: every mail client will warn, or refuse it,"
            f"\nuntil it is told to trust {directory.absolute() / AUTHORITY},"
            f"\nor until a real one is in {CERTIFICATE} with its key in {KEY}."
        )


def _tell_unit(relay: RelayTable, user: str | None) -> None:
    """What the systemd unit, which runs as a user of its own and may write little, needs."""
    if user is None:
        click.echo(
            "\nThe systemd unit runs as user submitd, who can't read these files: to use it,"
            "\nremove them and run this command again with --user submitd."
        )
    if relay["backend"] == "maildir":
        path = str(relay["path"]).partition("{")[0]
        click.echo(
            f"\n{path} must belong to the server's user. For the systemd unit to write there:"
            "\nsystemctl edit submitd, then the lines"
            f"\n  [Service]\n  ReadWritePaths={DEFAULT.parent / path}"
        )
