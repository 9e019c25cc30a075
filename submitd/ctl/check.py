"""`submitctl check`: does it work, is it safe, and if not, what to do."""

import datetime
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from submitd.config.errors import ConfigurationError
from submitd.config.load import load
from submitd.ctl.check_server import Account, Client, check_listener
from submitd.ctl.check_site import check_site
from submitd.ctl.findings import Finding, Grade, fault, ok, warning
from submitd.ctl.main import Context
from submitd.ctl.prompts import ask_password

_COLOURS = {Grade.OK: "green", Grade.WARNING: "yellow", Grade.FAULT: "red"}
# Where `submitctl init` puts the authority of a certificate of our own making.
_AUTHORITY = "authority.pem"


def _check_all(
    path: Path, account: Account | None, ca_file: Path | None, *, online: bool
) -> Iterator[Finding]:
    try:
        configuration = load(path)
    except ConfigurationError as error:
        for line in error.lines:
            yield fault(path, line)
        return
    if path.stat().st_mode & 0o022:
        yield warning(path, f"can be changed by others; chmod go-w {path}")
    else:
        yield ok(path, "has no faults")
    yield from check_site(configuration, datetime.datetime.now(datetime.UTC))
    if not online:
        return
    if ca_file is None:
        own = configuration.tls.certificate.with_name(_AUTHORITY)
        ca_file = own if own.exists() else None
    client = Client(configuration.hostname, ca_file, account)
    for listener in configuration.listener:
        yield from check_listener(listener, client)


def _password(login: str, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    return ask_password(f"Password of {login}", "--password-stdin reads it from standard input")


@click.command(
    epilog="""\b
Examples:
  submitctl check --login alice@example.org
  submitctl check --offline    (before a restart)
"""
)
@click.option("--login", help="An account to log in with on each listener.")
@click.option("--password-stdin", is_flag=True, help="Read its password from standard input.")
@click.option("--mail-from", metavar="ADDRESS", help="A reverse-path to try; nothing is sent.")
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="PEM file of an authority to trust beside the system's.",
)
@click.option("--offline", is_flag=True, help="Check the files only, not the running server.")
@click.option("--json", "as_json", is_flag=True, help="Write the findings as one JSON object.")
@click.pass_obj
def check(
    obj: Context,
    login: str | None,
    password_stdin: bool,
    mail_from: str | None,
    ca_file: Path | None,
    offline: bool,
    as_json: bool,
) -> None:
    """Check the configuration, the files it names and the running server.

    Ends with 0 when nothing is wrong, warnings aside, and with 1 otherwise.
    """
    if mail_from is not None and login is None:
        raise click.UsageError("--mail-from needs --login")
    account = None
    if login is not None and not offline:
        account = Account(login, _password(login, password_stdin), mail_from)
    found = []
    for finding in _check_all(obj.path, account, ca_file, online=not offline):
        found.append(finding)
        if not as_json:
            grade = click.style(f"{finding.grade.value:<8}", fg=_COLOURS[finding.grade])
            click.echo(f"{grade} {finding.subject}: {finding.text}")
    good = all(finding.grade is not Grade.FAULT for finding in found)
    if as_json:
        findings = [
            {"grade": finding.grade.value, "subject": finding.subject, "text": finding.text}
            for finding in found
        ]
        click.echo(json.dumps({"ok": good, "findings": findings}, indent=2))
    if not good:
        sys.exit(1)
