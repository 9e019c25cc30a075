"""`submitctl queue` shows and changes the queue, beside a server that has it open."""

import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from click.testing import CliRunner, Result

from submitd.ctl.queue import queue
from submitd.interfaces import QueuedMessage
from submitd.mail.address import Mailbox
from submitd.mail.envelope import DeliverBy, Envelope, Recipient
from submitd.mail.status import Action, DeliveryStatus
from submitd.queue.sqlite import SqliteFactory, SqliteOptions, SqliteStore
from tests.contracts.queue_store import DELAYED, RELAYED, Case, envelope, pattern
from tests.support.threads import ThreadClock

NOW_S = 1_700_000_000
ESCAPES = DeliveryStatus(Action.DELAYED, "4.0.0", "421 \x1b[2J wait\tnow", "mx.example.net", True)


class Desk:
    """A queue that a server has open, and an operator's terminal."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.clock = ThreadClock(NOW_S)
        self.store = SqliteStore(SqliteOptions(path=spool, reserve_bytes=0), self.clock)
        self.clock.wait(self.store.start())
        self.case = Case(self, self.store)  # type: ignore[arg-type]

    durable = True

    def wait(self, eventual: Any) -> Any:
        """As `StoreHost`."""
        return self.clock.wait(eventual)

    def now_s(self) -> float:
        """As `StoreHost`."""
        return self.clock.seconds()

    def run(self, *arguments: str, input: str | None = None) -> Result:
        """Run `submitctl queue` on the spool."""
        command, *rest = arguments
        return CliRunner().invoke(queue, [command, "--spool", str(self.spool), *rest], input=input)

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def ids(self, *arguments: str) -> list[str]:
        """The ids that `list` gives."""
        return [message["id"] for message in self.json("list", *arguments)]

    def was_noticed(self) -> bool:
        """Whether the server notices a change."""
        noticed: bool = self.wait(self.store.changed_elsewhere())
        return noticed


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A started store and an operator."""
    desk = Desk(tmp_path / "spool")
    yield desk
    desk.wait(desk.store.stop())


@pytest.fixture
def three(desk: Desk) -> list[QueuedMessage]:
    """Three messages: ann's, bob's with two recipients, and a report."""
    return [
        desk.case.put(login="ann"),
        desk.case.put(
            what=envelope("x@example.com", "y@sub.example.com", sender="bob@example.org"),
            login="bob",
        ),
        desk.case.put(what=envelope("ann@example.org", sender=None), login=None),
    ]


def test_list_filters(desk: Desk, three: list[QueuedMessage]) -> None:
    """Messages are listed in order, filtered by id, login, sender and recipient's domain."""
    first, second, third = [message.id for message in three]
    assert desk.ids() == [first, second, third]
    assert desk.ids("--login", "bob") == [second]
    assert desk.ids("--sender", "Ann@Example.org") == [first]
    assert desk.ids("--sender", "<>") == [third]
    assert desk.ids("--domain", "EXAMPLE.com") == [second]
    assert desk.ids("--domain", "sub.example.com") == [second]
    assert desk.ids("--domain", "le.com") == []
    assert desk.ids("--id", second[:11]) == [second]
    assert desk.ids("--id", "") == [first, second, third]


def test_list_pages(desk: Desk, three: list[QueuedMessage]) -> None:
    """A long list comes in pages, and says how to go on."""
    first, second, third = [message.id for message in three]
    page = desk.run("list", "--limit", "2")
    assert [line.split("\t")[0] for line in page.stdout.splitlines()] == [first, second]
    assert f"--after {second}" in page.stderr
    assert desk.ids("--limit", "2", "--after", second) == [third]
    assert "more" not in desk.run("list", "--limit", "3").stderr
    assert desk.run("list", "--after", "nonsense").exit_code == 2


def test_list_piped(desk: Desk, three: list[QueuedMessage]) -> None:
    """Piped, the list is a line for each message, its columns separated by tabs."""
    lines = desk.run("list", "--login", "bob").stdout.splitlines()
    assert len(lines) == 1
    columns = lines[0].split("\t")
    assert columns[0] == three[1].id
    assert columns[1] == "queued"
    assert columns[4:] == ["0", "21", "bob", "<bob@example.org>", "x@example.com +1"]


def test_show(desk: Desk, three: list[QueuedMessage]) -> None:
    """A message is shown with each recipient's state and the next hop's last words."""
    desk.case.record(three[1], {"x@example.com": RELAYED, "y@sub.example.com": DELAYED}, 60)
    shown = desk.json("show", three[1].id)
    assert shown["attempts"] == 1
    assert shown["next_attempt"] == "2023-11-14T22:14:20+00:00"
    assert shown["recipients"] == [
        {
            "mailbox": "x@example.com",
            "notify": None,
            "original": None,
            "state": "relayed",
            "status": "2.0.0",
            "diagnostic": "250 2.0.0 Ok",
            "next_hop": "mx.example.net",
            "tried": "2023-11-14T22:13:20+00:00",
        },
        {
            "mailbox": "y@sub.example.com",
            "notify": None,
            "original": None,
            "state": "delayed",
            "status": "4.4.1",
            "diagnostic": "connection refused",
            "next_hop": "mx.example.net",
            "tried": "2023-11-14T22:13:20+00:00",
        },
    ]
    text = desk.run("show", three[1].id).stdout
    assert "connection refused" in text
    assert "y@sub.example.com  delayed" in text


FULL = Envelope(
    Mailbox.parse("ann@example.org"),
    (Recipient(Mailbox.parse("x@example.com"), frozenset({"DELAY", "FAILURE"}), "rfc822;o+2Bx"),),
    "8BITMIME",
    utf8=True,
    ret="HDRS",
    envelope_id="E1",
    require_tls=True,
    deliver_by=DeliverBy(NOW_S + 60.0, "R", trace=True),
    priority=3,
)


def test_show_tells_all_parameters(desk: Desk) -> None:
    """All that MAIL and RCPT said is shown, to people and to programs."""
    message = desk.case.put(what=FULL)
    shown = desk.json("show", message.id)
    expected = {
        "body": "8BITMIME",
        "utf8": True,
        "ret": "HDRS",
        "envelope_id": "E1",
        "require_tls": True,
        "tls_optional": False,
        "deliver_by": {"at": "2023-11-14T22:14:20+00:00", "mode": "R", "trace": True},
        "priority": 3,
        "hold_until": None,
    }
    assert {key: shown[key] for key in expected} == expected
    (recipient,) = shown["recipients"]
    assert recipient["notify"] == ["DELAY", "FAILURE"]
    assert recipient["original"] == "rfc822;o+2Bx"
    text = desk.run("show", message.id).stdout
    for said in ("mode R traced", "RET=HDRS", "E1", "SMTPUTF8", "NOTIFY=DELAY,FAILURE", "o+2Bx"):
        assert said in text


def test_show_of_damaged_parameters(desk: Desk) -> None:
    """A message whose parameters are damaged can be shown all the same."""
    message = desk.case.put(what=FULL)
    with sqlite3.connect(desk.spool / "queue.sqlite") as db:
        db.execute("UPDATE messages SET parameters = '{'")
        db.execute("UPDATE recipients SET parameters = '[1]'")
    db.close()
    assert desk.json("show", message.id)["ret"] is None
    assert desk.json("release", message.id) == []


def test_held_until(desk: Desk) -> None:
    """What is to be sent later is seen to be, is not hurried by `retry`, and can be cancelled."""
    until_s = time.time() + 86_400
    queue_id = desk.case.put(what=attrs.evolve(envelope(), hold_until_s=until_s)).id
    assert desk.run("list").stdout.split("\t")[1] == "held until"
    assert "hold until" in desk.run("show", queue_id).stdout
    (listed,) = desk.json("list")
    assert listed["hold_until"] == listed["next_attempt"]
    assert desk.json("retry", "--all") == []
    assert "sent later" in desk.run("retry", queue_id).stderr
    assert desk.json("delete", queue_id, "--yes") == [queue_id]


def test_release_of_what_is_to_be_sent_later(desk: Desk) -> None:
    """`release` sends it now; if it was on hold too, that ends first and the time stays."""
    until_s = time.time() + 86_400
    queue_id = desk.case.put(what=attrs.evolve(envelope(), hold_until_s=until_s)).id
    assert desk.json("hold", queue_id) == [queue_id]
    assert desk.json("release", queue_id) == [queue_id]
    assert desk.case.next_due_s() == until_s
    assert desk.json("release", queue_id) == [queue_id]
    assert desk.json("release", queue_id) == []
    (message,) = desk.case.due(after_s=time.time() - NOW_S)
    assert message.envelope.hold_until_s == pytest.approx(time.time(), abs=60)


def test_show_is_safe_for_terminals(desk: Desk, three: list[QueuedMessage]) -> None:
    """What a next hop said can't send control characters to the operator's terminal."""
    desk.case.record(three[0], {"bob@example.net": ESCAPES}, 60)
    text = desk.run("show", three[0].id).stdout
    assert "\x1b" not in text
    assert "421 ?[2J wait?now" in text


@pytest.mark.parametrize("size", [100, 300_000])
def test_content_only_when_asked(desk: Desk, size: int) -> None:
    """The message itself is printed with --content, to the octet, and never without."""
    message = desk.case.put(pattern(size))
    assert desk.run("show", message.id, "--content").stdout_bytes == pattern(size)
    for arguments in (["show", message.id], ["show", message.id, "--json"], ["list"]):
        assert b"Subject" not in desk.run(*arguments).stdout_bytes


def test_retry(desk: Desk, three: list[QueuedMessage]) -> None:
    """A delayed message is due at once after `retry`, and the server notices."""
    desk.case.record(three[0], {"bob@example.net": DELAYED}, 1e9)
    assert three[0].id not in desk.case.ids(after_s=1e6)
    assert not desk.was_noticed()
    assert desk.json("retry", three[0].id) == [three[0].id]
    assert desk.was_noticed()
    assert not desk.was_noticed()
    # The operator's command goes by the real clock.
    assert three[0].id in desk.case.ids(after_s=5e8)


def test_retry_all(desk: Desk, three: list[QueuedMessage]) -> None:
    """`retry --all` leaves out what is on hold."""
    first, second, third = [message.id for message in three]
    desk.run("hold", second)
    assert desk.json("retry", "--all") == [first, third]
    assert desk.run("retry").exit_code == 2
    assert desk.run("retry", "--all", first).exit_code == 2
    held = desk.run("retry", second)
    assert held.exit_code == 0
    assert "on hold" in held.stderr


def test_hold_and_release(desk: Desk, three: list[QueuedMessage]) -> None:
    """A message on hold is not due until it is released."""
    first = three[0].id
    assert desk.json("hold", first) == [first]
    assert desk.was_noticed()
    assert first not in desk.case.ids(after_s=1e9)
    assert desk.json("show", first)["state"] == "held"
    assert desk.json("release", first) == [first]
    assert first in desk.case.ids(after_s=1e9)
    assert desk.json("release", first) == []


def test_hold_during_an_attempt(desk: Desk, three: list[QueuedMessage]) -> None:
    """A message put on hold during an attempt stays on hold when the attempt ends in delay."""
    desk.run("hold", three[0].id)
    desk.case.record(three[0], {"bob@example.net": DELAYED}, 1)
    assert three[0].id not in desk.case.ids(after_s=100)
    assert desk.json("show", three[0].id)["attempts"] == 1


@pytest.mark.parametrize("size", [100, 300_000])
def test_delete(desk: Desk, size: int) -> None:
    """A deleted message is gone, its file too; the server notices."""
    message, other = desk.case.put(pattern(size)), desk.case.put(pattern(size))
    assert desk.json("delete", message.id, "--yes") == [message.id]
    assert desk.was_noticed()
    assert desk.case.ids() == [other.id]
    files = [path.name for path in (desk.spool / "bodies").iterdir()]
    assert files == ([] if size == 100 else [other.id])


@pytest.mark.parametrize("retry_in_s", [None, 10])
def test_delete_during_an_attempt(desk: Desk, retry_in_s: float | None) -> None:
    """A message deleted during an attempt does not come back with the attempt's outcome."""
    message = desk.case.put(pattern(300_000))
    desk.run("delete", message.id, "--yes")
    with pytest.raises(OSError):
        desk.case.read(message)
    status = RELAYED if retry_in_s is None else DELAYED
    desk.case.record(message, {"bob@example.net": status}, retry_in_s)
    assert desk.case.ids(after_s=100) == []


def test_delete_asks(desk: Desk, three: list[QueuedMessage]) -> None:
    """Without --yes, `delete` shows what it would delete and asks."""
    refused = desk.run("delete", three[0].id, input="n\n")
    assert refused.exit_code == 1
    assert "bob@example.net" in refused.stderr
    assert len(desk.ids()) == 3
    assert desk.run("delete", three[0].id, input="y\n").exit_code == 0
    assert len(desk.ids()) == 2


@pytest.mark.parametrize("command", ["show", "retry", "hold", "release", "delete"])
@pytest.mark.parametrize("unknown", ["0000000000000xy", "nonsense"])
def test_unknown_id(desk: Desk, three: list[QueuedMessage], command: str, unknown: str) -> None:
    """An unknown id is named, the status is 1, and nothing is changed."""
    known = [] if command == "show" else [three[0].id]
    yes = ["--yes"] if command == "delete" else []
    result = desk.run(command, *known, unknown, *yes)
    assert result.exit_code == 1
    assert f"not in the queue: {unknown}" in result.stderr
    assert not desk.was_noticed()
    assert [message["state"] for message in desk.json("list")] == ["queued"] * 3


def test_without_a_queue(tmp_path: Path) -> None:
    """A folder without a queue is named, and no queue is made there."""
    result = CliRunner().invoke(queue, ["list", "--spool", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert str(tmp_path / "none") in result.stderr
    assert list(tmp_path.iterdir()) == []


class _Table:
    def __init__(self, factory: Any, options: Any) -> None:
        self.factory = factory
        self.options = options


class _Context:
    def __init__(self, queue: _Table) -> None:
        self.configuration = self
        self.queue = queue


def test_the_configured_queue(desk: Desk, three: list[QueuedMessage]) -> None:
    """Without --spool the queue is the configuration's, if it is an sqlite queue."""
    table = _Table(SqliteFactory(), SqliteOptions(path=desk.spool))
    result = CliRunner().invoke(queue, ["list"], obj=_Context(table))
    assert len(result.stdout.splitlines()) == 3

    class Other:
        name = "other"

    result = CliRunner().invoke(queue, ["list"], obj=_Context(_Table(Other(), None)))
    assert result.exit_code == 1
    assert '"other"' in result.stderr
    assert isinstance(queue, click.Group)
    assert CliRunner().invoke(queue, ["list"]).exit_code == 2


def test_without_a_server(desk: Desk, three: list[QueuedMessage]) -> None:
    """The commands work when no server has the queue open."""
    desk.wait(desk.store.stop())
    assert desk.ids() == [message.id for message in three]
    assert desk.run("delete", "--yes", three[0].id).exit_code == 0
    assert len(desk.ids()) == 2
