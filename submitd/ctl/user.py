"""`submitctl user`: the users in the htpasswd file."""

import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from submitd.auth.hashing import (
    DEFAULT_KIND,
    KINDS_FOR_NEW,
    PASSWORD_OCTETS,
    check,
    hash_password,
    prepare_password,
)
from submitd.auth.htfile import User, parse, with_user, without_user
from submitd.ctl.prompts import ask_password
from submitd.files import locked, replace_file
from submitd.mail.login import login_fault

Command = TypeVar("Command", bound=Callable[..., Any])

# Without letters and digits that look alike in some font; 5 bits each.
_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
_GROUPS, _GROUP_LENGTH = 5, 4


def _configured_file(ctx: click.Context, _: click.Parameter, file: Path | None) -> Path:
    """The file that --file names, else the one of the configuration."""
    if file is not None:
        return file
    if ctx.obj is None:
        raise click.UsageError("there is no configuration: name the file with --file")
    users = ctx.obj.configuration.users
    if users.factory.name != "htpasswd":
        raise click.ClickException(
            f'the users are kept by "{users.factory.name}", which has tools of its own;'
            " --file names an htpasswd file"
        )
    path: Path = users.options.file
    return path


def _options(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def apply(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


_file = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    callback=_configured_file,
    help="An htpasswd file; no configuration is read then.",
)
_known_password = _options(
    click.option("--stdin", is_flag=True, help="Read the password from standard input, one line."),
    click.option("--password", help="The password itself. All users of this machine can see it."),
)
_new_password = _options(
    _known_password,
    click.option("--generate", is_flag=True, help="Make up a password and show it once."),
    click.option(
        "--hash",
        "kind",
        type=click.Choice(KINDS_FOR_NEW),
        default=DEFAULT_KIND,
        show_default=True,
        help="How the password is stored.",
    ),
)


@click.group(
    epilog="""\b
Examples:
  submitctl user add alice@example.org
  submitctl user add scanner-3@example.org --generate
  submitctl user disable alice@example.org
"""
)
def user() -> None:
    """Add, change, list and remove users.

    The file is the one that the configuration names, or the one that --file names.
    A running server reads it again within a second.
    """


@user.command()
@click.argument("login")
@_file
@_new_password
def add(login: str, file: Path, kind: str, **source: Any) -> None:
    """Add the user LOGIN, best a whole mail address."""
    fault = login_fault(login)
    if fault is not None:
        raise click.UsageError(f"the name {fault}")
    if file.exists():
        _absent(_read(file), login)
    password = _password(**source)
    stored = _hash(password, kind)

    def change(data: bytes) -> bytes:
        _absent(data, login)
        return with_user(data, login, stored)

    _edit(file, change, create=True)
    click.echo(f"{login}: added")
    if source["generate"]:
        click.echo(f"password: {password}")
    if "@" not in login:
        click.echo(
            f"{login} is no address: before it can send anything, the senders file needs a line"
            f" such as `{login}: {login}@example.org`",
            err=True,
        )


@user.command()
@click.argument("login")
@_file
@_new_password
def passwd(login: str, file: Path, kind: str, **source: Any) -> None:
    """Give LOGIN a new password. A user who was disabled stays disabled."""
    _present(_read(file), login)
    password = _password(**source)
    stored = _hash(password, kind)

    def change(data: bytes) -> bytes:
        return with_user(data, login, stored, disabled=_present(data, login).disabled)

    _edit(file, change)
    click.echo(f"{login}: password changed")
    if source["generate"]:
        click.echo(f"password: {password}")


@user.command(short_help="Say whether a password is LOGIN's.")
@click.argument("login")
@_file
@_known_password
def verify(login: str, file: Path, **source: Any) -> None:
    """Say whether a password is LOGIN's; exit status 1 if it is not."""
    found = _present(_read(file), login)
    password = _password(**source, twice=False)
    if found.disabled:
        raise click.ClickException(f"{found.name}: disabled")
    if found.kind is None:
        raise click.ClickException(f"{found.name}: no password can match the stored hash")
    try:
        prepare_password(password)
        good = check(password, found.stored)
    except ValueError:
        good = False
    if not good:
        raise click.ClickException(f"{found.name}: wrong password")
    click.echo(f"{found.name}: right password")


@user.command()
@click.argument("login")
@_file
def delete(login: str, file: Path) -> None:
    """Remove the user LOGIN."""

    def change(data: bytes) -> bytes:
        _present(data, login)
        return without_user(data, login)

    _edit(file, change)
    click.echo(f"{login}: deleted")


@user.command(short_help="Keep LOGIN from logging in.")
@click.argument("login")
@_file
def disable(login: str, file: Path) -> None:
    """Keep LOGIN from logging in; the password is kept for `enable`."""
    _set_disabled(file, login, True)
    click.echo(f"{login}: disabled")


@user.command()
@click.argument("login")
@_file
def enable(login: str, file: Path) -> None:
    """Let LOGIN log in again."""
    _set_disabled(file, login, False)
    click.echo(f"{login}: enabled")


@user.command("list", short_help="List the users, and who is disabled.")
@_file
@click.option("--json", "as_json", is_flag=True, help="A JSON array, for programs.")
def list_(file: Path, as_json: bool) -> None:
    """List the users, how their passwords are stored, and who is disabled."""
    users = parse(_read(file))
    rows = [
        {"login": each.name, "hash": each.kind, "disabled": each.disabled}
        for each in users.by_key.values()
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        width = max((len(each.name) for each in users.by_key.values()), default=0)
        for each in users.by_key.values():
            state = "  disabled" if each.disabled else ""
            click.echo(f"{each.name:{width}}  {each.kind or 'unusable'}{state}")
    for fault in users.faults:
        click.echo(f"{file}, line {fault.number}: {fault.reason}", err=True)


# ---- the file ---------------------------------------------------------------------


def _fail(file: Path, error: OSError) -> click.ClickException:
    return click.ClickException(f"{error.filename or file}: {error.strerror or error}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _fail(file, error) from None


def _edit(file: Path, change: Callable[[bytes], bytes], *, create: bool = False) -> None:
    """Replace the content, with no other `submitctl` in between."""
    try:
        with locked(file):
            data = b"" if create and not file.exists() else _read(file)
            replace_file(file, change(data))
    except OSError as error:
        raise _fail(file, error) from None


def _present(data: bytes, login: str) -> User:
    found = parse(data).get(login)
    if found is None:
        raise click.ClickException(f"{login}: no such user")
    return found


def _absent(data: bytes, login: str) -> None:
    found = parse(data).get(login)
    if found is not None:
        raise click.ClickException(f"{found.name}: already there; `passwd` changes the password")


def _set_disabled(file: Path, login: str, disabled: bool) -> None:
    def change(data: bytes) -> bytes:
        return with_user(data, login, _present(data, login).stored, disabled=disabled)

    _edit(file, change)


# ---- the password -----------------------------------------------------------------


def _hash(password: str, kind: str) -> str:
    try:
        return hash_password(password, kind)
    except ValueError as error:
        raise click.ClickException(str(error)) from None


def _password(stdin: bool, password: str | None, generate: bool = False, twice: bool = True) -> str:
    if stdin + generate + (password is not None) > 1:
        raise click.UsageError("--stdin, --generate and --password exclude each other")
    if generate:
        return _generated()
    if stdin:
        return _from_stdin()
    if password is not None:
        click.secho(
            "WARNING: a password on the command line is seen by all users of this machine and"
            " stays in the shell's history; use the prompt or --stdin.",
            fg="red",
            bold=True,
            err=True,
        )
        return password
    otherwise = "--stdin reads it from standard input"
    if twice:
        otherwise += ", --generate makes one up"
    return ask_password("Password", otherwise, twice=twice)


def _from_stdin() -> str:
    line = sys.stdin.buffer.readline(PASSWORD_OCTETS + 2)
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode()
    except UnicodeDecodeError:
        raise click.ClickException("the password is not UTF-8") from None


def _generated() -> str:
    groups = (
        "".join(secrets.choice(_ALPHABET) for _ in range(_GROUP_LENGTH)) for _ in range(_GROUPS)
    )
    return "-".join(groups)
