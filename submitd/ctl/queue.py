"""`submitctl queue`: the messages in the SQLite queue, beside a running server."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from submitd.queue.operator import Filter, Operator, StoredMessage, UnknownMessage

Command = TypeVar("Command", bound=Callable[..., Any])

_COLUMNS = ("id", "state", "arrived", "next attempt", "tries", "size", "login", "sender", "to")


def _configured_spool(ctx: click.Context, _: click.Parameter, spool: Path | None) -> Path:
    """The folder that --spool names, else the one of the configuration."""
    if spool is not None:
        return spool
    if ctx.obj is None:
        raise click.UsageError("there is no configuration: name the folder with --spool")
    queue = ctx.obj.configuration.queue
    if queue.factory.name != "sqlite":
        raise click.ClickException(
            f'the queue is kept by "{queue.factory.name}", which has tools of its own;'
            " --spool names the folder of an sqlite queue"
        )
    path: Path = queue.options.path
    return path


_spool = click.option(
    "--spool",
    type=click.Path(path_type=Path, file_okay=False),
    callback=_configured_spool,
    help="The folder of an sqlite queue; no configuration is read then.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_ids = click.argument("ids", nargs=-1, required=True, metavar="ID...")


@contextmanager
def _at_work(spool: Path) -> Iterator[Operator]:
    """The spool, opened; faults of it and unknown ids end the command with status 1."""
    try:
        with Operator(spool) as operator:
            yield operator
    except (UnknownMessage, OSError) as error:
        raise click.ClickException(str(error)) from None


@click.group(
    epilog="""\b
Examples:
  submitctl queue list --domain example.net
  submitctl queue show 1j0qao0om0ljlsc
  submitctl queue retry --all
"""
)
def queue() -> None:
    """List, show, retry, hold and delete messages.

    All of it works with and without a server running; a running server notices
    changes within seconds.
    """


# ---- looking ----------------------------------------------------------------------


@queue.command("list")
@_spool
@_json
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="How many.")
@click.option("--after", metavar="ID", help="Go on behind this one.")
@click.option("--id", "queue_id", metavar="ID", help="Only ids that begin so.")
@click.option("--login", help="Only messages of this user.")
@click.option("--sender", metavar="ADDRESS", help='Only from this reverse-path; "<>" for none.')
@click.option("--domain", help="Only for a recipient at this domain who is still waiting.")
def list_(
    spool: Path,
    as_json: bool,
    limit: int,
    after: str | None,
    queue_id: str | None,
    login: str | None,
    sender: str | None,
    domain: str | None,
) -> None:
    """List messages, the first to arrive first.

    To a terminal a table; otherwise a line for each message, its columns
    separated by tabs.
    """
    which = Filter(id=queue_id, login=login, sender="" if sender == "<>" else sender, domain=domain)
    with _at_work(spool) as operator:
        try:
            # One more tells whether there is more.
            messages = operator.messages(which, limit + 1, after)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--after") from None
    shown, more = messages[:limit], len(messages) > limit
    if as_json:
        _print_json([_summary(message) for message in shown])
    elif sys.stdout.isatty():
        _print_table(shown)
    else:
        for message in shown:
            click.echo("\t".join(_cells(message)))
    if more:
        click.echo(f"There are more: --after {shown[-1].id}", err=True)


@queue.command(short_help="Show a message: envelope, times, recipients.")
@_spool
@_json
@click.argument("queue_id", metavar="ID")
@click.option("--content", is_flag=True, help="Print the message itself, and nothing else.")
def show(spool: Path, as_json: bool, queue_id: str, content: bool) -> None:
    """Show the envelope of a message, and how it stands with each recipient."""
    if content and as_json:
        raise click.UsageError("--content prints the message as it is, not as JSON")
    with _at_work(spool) as operator:
        if content:
            for piece in operator.content(queue_id):
                sys.stdout.buffer.write(piece)
            return
        message = operator.show(queue_id)
    if as_json:
        _print_json(_detail(message))
    else:
        _print_detail(message)


# ---- changing ---------------------------------------------------------------------


@queue.command()
@_spool
@_json
@click.argument("ids", nargs=-1, metavar="[ID...]")
@click.option(
    "--all", "everything", is_flag=True, help="All that are not on hold or to be sent later."
)
def retry(spool: Path, as_json: bool, ids: Sequence[str], everything: bool) -> None:
    """Try to deliver messages now."""
    if everything == bool(ids):
        raise click.UsageError("name messages, or give --all")
    with _at_work(spool) as operator:
        done = operator.retry(None if everything else ids, time.time())
    _print_done(
        "due now", done, ids, "on hold, or to be sent later; release it to have it tried", as_json
    )


@queue.command(short_help="Put messages on hold, not to be tried.")
@_spool
@_json
@_ids
def hold(spool: Path, as_json: bool, ids: Sequence[str]) -> None:
    """Put messages on hold: they stay, and are not tried until released.

    An attempt that is under way goes on.
    """
    with _at_work(spool) as operator:
        done = operator.hold(ids)
    _print_done("on hold", done, ids, "not in the queue any more", as_json)


@queue.command()
@_spool
@_json
@_ids
def release(spool: Path, as_json: bool, ids: Sequence[str]) -> None:
    """Take messages off hold, to be tried now.

    A message that its sender wants to be sent later (FUTURERELEASE) is sent now. One
    that was on hold besides keeps its time, until it is released once more.
    """
    with _at_work(spool) as operator:
        done = operator.release(ids, time.time())
    _print_done("released", done, ids, "not on hold, nor to be sent later", as_json)


@queue.command()
@_spool
@_json
@_ids
@click.option("--yes", is_flag=True, help="Don't ask.")
def delete(spool: Path, as_json: bool, ids: Sequence[str], yes: bool) -> None:
    """Delete messages. Nobody is told, the sender neither.

    An attempt that is under way may still deliver the message.
    """
    with _at_work(spool) as operator:
        if not yes:
            for queue_id in ids:
                message = operator.show(queue_id)
                click.echo("  ".join(_cells(message)), err=True)
            click.confirm(f"Delete {len(ids)} for good?", abort=True, err=True)
        done = operator.delete(ids)
    _print_done("deleted", done, ids, "not in the queue any more", as_json)


# ---- printing ---------------------------------------------------------------------


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _print_done(
    what: str, done: Sequence[str], asked: Sequence[str], otherwise: str, as_json: bool
) -> None:
    if as_json:
        _print_json(list(done))
        return
    for queue_id in done:
        click.echo(f"{queue_id}: {what}")
    for queue_id in sorted(set(asked) - set(done)):
        click.echo(f"{queue_id}: {otherwise}", err=True)


def _printable(text: str) -> str:
    """*text* from outside, without what would control a terminal."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _local(when_s: float) -> str:
    return datetime.fromtimestamp(when_s).astimezone().strftime("%Y-%m-%d %H:%M:%S%z")


def _utc(when_s: float | None) -> str | None:
    if when_s is None:
        return None
    return datetime.fromtimestamp(when_s, UTC).isoformat(timespec="seconds")


def _next_attempt(message: StoredMessage) -> str:
    return "" if message.state == "held" else _local(message.next_attempt_s)


def _state(message: StoredMessage) -> str:
    """The state in words; what is "held until" is so until its next attempt."""
    if message.state == "queued" and message.is_held_until(time.time()):
        return "held until"
    return message.state


def _cells(message: StoredMessage) -> list[str]:
    """The columns of the list."""
    pending = [each.mailbox for each in message.recipients if each.is_pending]
    more = f" +{len(pending) - 1}" if len(pending) > 1 else ""
    cells = [
        message.id,
        _state(message),
        _local(message.arrived_s),
        _next_attempt(message),
        str(message.attempts),
        str(message.size),
        message.login or "",
        f"<{message.reverse_path or ''}>",
        f"{pending[0] if pending else ''}{more}",
    ]
    return [_printable(cell) for cell in cells]


def _print_table(messages: Sequence[StoredMessage]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in _COLUMNS:
        numeric = column in ("tries", "size")
        table.add_column(
            column,
            justify="right" if numeric else "left",
            overflow="fold",
            no_wrap=column == "id",  # it is there to be copied
        )
    for message in messages:
        table.add_row(*map(Text, _cells(message)))
    Console().print(table)


def _print_detail(message: StoredMessage) -> None:
    lines = [
        ("id", message.id),
        ("state", _state(message)),
        ("arrived", _local(message.arrived_s)),
        ("next attempt", _next_attempt(message) or "none while on hold"),
        ("attempts", str(message.attempts)),
        ("login", message.login or "none: a report of the server's own"),
        ("sender", f"<{message.reverse_path or ''}>"),
        ("size", f"{message.size} octets, {message.body}"),
        *_wishes(message),
    ]
    for name, value in lines:
        click.echo(_printable(f"{name + ':':14}{value}"))
    for each in message.recipients:
        click.echo(_printable(f"{'recipient:':14}{each.mailbox}  {each.state}"))
        if each.notify is not None:
            click.echo(f"{'':14}NOTIFY={','.join(sorted(each.notify))}")
        if each.original is not None:
            click.echo(_printable(f"{'':14}ORCPT={each.original}"))
        if each.tried_s is not None:
            by = f" ({each.next_hop})" if each.next_hop else ""
            click.echo(_printable(f"{'':14}{_local(each.tried_s)}  {each.status}{by}"))
            click.echo(_printable(f"{'':14}{each.diagnostic}"))


def _wishes(message: StoredMessage) -> list[tuple[str, str]]:
    """What else MAIL said, where it is not as usual."""
    said = message.parameters
    by = said.deliver_by
    lines = [
        ("hold until", said.hold_until_s and _local(said.hold_until_s)),
        ("deliver by", by and f"{_local(by.at_s)}, mode {by.mode}{' traced' * by.trace}"),
        ("priority", message.priority and str(message.priority)),
        ("reports", said.ret and f"RET={said.ret}"),
        ("envelope id", said.envelope_id),
        ("needs", said.utf8 and "SMTPUTF8"),
        ("needs", said.require_tls and "REQUIRETLS"),
        ("TLS", said.tls_optional and "not required"),
    ]
    return [(name, str(value)) for name, value in lines if value]


def _summary(message: StoredMessage) -> dict[str, object]:
    return {
        "id": message.id,
        "state": message.state,
        "arrived": _utc(message.arrived_s),
        "next_attempt": None if message.state == "held" else _utc(message.next_attempt_s),
        "hold_until": _utc(message.parameters.hold_until_s),
        "attempts": message.attempts,
        "priority": message.priority,
        "size": message.size,
        "login": message.login,
        "sender": message.reverse_path,
        "recipients": [each.mailbox for each in message.recipients if each.is_pending],
    }


def _detail(message: StoredMessage) -> dict[str, object]:
    recipients = [
        {
            "mailbox": each.mailbox,
            "notify": None if each.notify is None else sorted(each.notify),
            "original": each.original,
            "state": each.state,
            "status": each.status,
            "diagnostic": each.diagnostic,
            "next_hop": each.next_hop,
            "tried": _utc(each.tried_s),
        }
        for each in message.recipients
    ]
    said = message.parameters
    by = said.deliver_by
    deliver_by = by and {"at": _utc(by.at_s), "mode": by.mode, "trace": by.trace}
    return _summary(message) | {
        "body": message.body,
        "utf8": said.utf8,
        "ret": said.ret,
        "envelope_id": said.envelope_id,
        "require_tls": said.require_tls,
        "tls_optional": said.tls_optional,
        "deliver_by": deliver_by,
        "recipients": recipients,
    }
